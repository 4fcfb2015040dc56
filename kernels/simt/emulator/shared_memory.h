// Shared memory: an arena with red zones between variables, refilled with NaN for every block.
#pragma once

#include "simt/emulator/thread.h"

namespace simt {

/// The block's variable of this tag; made, and filled with NaN, when the block first comes here.
void* shared_variable(const void* tag, std::size_t bytes, std::size_t alignment, const char* name);

/// The dynamic shared memory of the launch, aligned to 128 bytes; it ends at a guard page.
unsigned char* dynamic_shared();

}  // namespace simt

#define SIMT_SHARED(type, name, dims)                       \
  using simt_type_##name = type dims;                       \
  static const char simt_tag_##name = 0;                    \
  simt_type_##name& name = *static_cast<simt_type_##name*>( \
      ::simt::shared_variable(&simt_tag_##name, sizeof(simt_type_##name), alignof(simt_type_##name), #name))
#define SIMT_DYN_SHARED(name) unsigned char* name = ::simt::dynamic_shared()
