// What the commands do around their steps: threads, memory limits, output files, what comes after the work.
#pragma once

#include <exception>
#include <new>
#include <string>
#include <string_view>

#include "cli/options.h"
#include "reprise/memory.h"

namespace reprise::cli {

/// Applies threads, device and memory capacity. Throws where the machine does not give them.
void begin(const RunOptions& options);

/// Sets the number of CPU threads; throws ValueError where the machine does not give as many, and says so
/// where OpenMP is told to start fewer.
void set_threads(const RunOptions& options);

/// Bytes that the options let a pool reserve; kUnlimited where they say nothing.
std::size_t capacity_of(const RunOptions& options);

/// A pool with the capacity that the options ask for, which follows `plan` if there is one.
std::shared_ptr<Pool> make_pool(const RunOptions& options, std::shared_ptr<const MemoryPlan> plan = {});

/// Throws Error when `needed` bytes are more than the machine has: the system would end the program without a
/// word.
void require_memory(const RunOptions& options, std::int64_t needed);

/// Says that `what` failed, after work whose results are safe.
void complain_about(std::string_view what, std::string_view why);

/// Runs what comes after the work. What fails there is said, and costs no result; false then.
template <class F>
bool attempt(std::string_view what, F&& work) {
  try {
    std::forward<F>(work)();
    return true;
  } catch (const std::bad_alloc&) {
    complain_about(what, "the machine has no memory left");
  } catch (const std::exception& error) {
    complain_about(what, error.what());
  }
  return false;
}

/// A remark on a last loss that no run that learns has; else empty.
std::string remark_on_loss(double loss);

/// Milliseconds of a steady clock.
double now_ms();

}  // namespace reprise::cli
