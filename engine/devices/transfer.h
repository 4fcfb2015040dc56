// Elements on their way from one device to another.
#pragma once

#include <string_view>

#include "reprise/shape.h"

namespace reprise::detail {

/// Throws TapeError on a dry device.
void require_values(Device device, std::string_view operation);

/// y = x, of the same sizes and type, on whatever devices. Waits for a device that is read by the host, and
/// throws what its kernels reported.
void copy_across(Device from, const kernels::ConstView& x, Device to, const kernels::View& y);

}  // namespace reprise::detail
