// Events: points in streams that others wait for.
#pragma once

#include <cstddef>
#include <string>

namespace simt::runtime {

std::size_t event_count();
std::string list_events();

}  // namespace simt::runtime
