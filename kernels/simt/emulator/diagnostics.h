// Faults: every report goes through here. Internal to the emulator and the race checker.
#pragma once

#include <string>

#include "simt/emulator/thread.h"

namespace simt {

/// printf into a string.
[[gnu::format(printf, 1, 2)]] std::string format(const char* pattern, ...);

/// "file.cu:12".
std::string describe(const Site& site);

/// "threads 0..39: wait in __syncthreads at file.cu:12", one line for each group of threads.
std::string census();

/// Writes down a fault: prints it, and adds it to `last_error`. `where` is the source line, or empty for the
/// line where the current thread synchronised last.
void report_fault(const char* kind, const std::string& where, const std::string& text);

/// Reports, and ends the launch: aborts, or goes back to run_kernel.
[[noreturn, gnu::cold]] void fail(const char* kind, const Site& site, const std::string& text);
[[noreturn, gnu::cold]] void fail(const char* kind, const std::string& where, const std::string& text);

/// Aborts where the configuration says so; otherwise marks the launch as failed.
void launch_has_failed();

}  // namespace simt
