// What both commands do around their steps: threads, memory limits, interruption, output files.
#pragma once

#include <filesystem>
#include <string>

#include "cli/options.h"
#include "reprise/memory.h"

namespace reprise::cli {

/// Applies threads and the memory capacity, checks that every output file can be written, and listens for
/// Ctrl-C.
void begin(const RunOptions& options);

/// True once the user has pressed Ctrl-C.
bool interrupted();

/// Exit status of an interrupted program.
inline constexpr int kInterrupted = 130;

/// Throws Error unless a file can be made at `path`; empty paths are fine.
void require_writable(const std::filesystem::path& path);

/// Bytes that the options let a pool reserve; kUnlimited where they say nothing.
std::size_t capacity_of(const RunOptions& options);

/// A pool with the capacity that the options ask for, which follows `plan` if there is one.
std::shared_ptr<Pool> make_pool(const RunOptions& options, std::shared_ptr<const MemoryPlan> plan = {});

/// Milliseconds of a steady clock.
double now_ms();

}  // namespace reprise::cli
