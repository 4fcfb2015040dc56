// Graphs: recorded work that is launched as a whole.
#pragma once

#include <cstddef>
#include <string>

namespace simt::runtime {

std::size_t graph_count();
std::string list_graphs();

}  // namespace simt::runtime
