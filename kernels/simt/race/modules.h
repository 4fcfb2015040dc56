// The program and its libraries in memory.
#pragma once

#include <cstdint>

namespace simt::race {

/// True for code, constants and static variables of the program or a library.
bool in_module(std::uintptr_t address);

/// The program counter with these lower 32 bits.
const void* expand_pc(std::uint32_t low);

}  // namespace simt::race
