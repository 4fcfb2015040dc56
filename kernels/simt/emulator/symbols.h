// Names and source lines of addresses in this program, for messages.
#pragma once

#include <string>

namespace simt {

/// The function that starts at this address, without its parameters; "kernel at 0x..." when the program has
/// no symbols.
const char* kernel_name(const void* function);

/// "file.cu:12" of an instruction: the innermost line that belongs to no header of the emulator or the
/// system. Runs addr2line.
std::string source_line(const void* instruction);

/// The same for the address that a call returns to.
std::string caller_line(const void* return_address);

}  // namespace simt
