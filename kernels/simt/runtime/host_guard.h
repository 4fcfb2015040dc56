// Device memory that the host must not touch.
#pragma once

namespace simt::runtime {

/// Makes all device memory inaccessible, where the settings ask for it and nothing runs.
void shut_device_memory();

/// Changes the protection of every live block.
void protect_live_blocks(int protection);

}  // namespace simt::runtime
