// With SIMT_HOST_GUARD=1 device memory is shut to the host: a kernel of the CPU that is given it faults. It
// costs a system call or two at every launch.
#include <cstdlib>

#include "simt/runtime/control.h"

namespace {

const bool guarded = simt::runtime::control().host_guard = std::getenv("SIMT_HOST_GUARD") != nullptr;

}  // namespace
