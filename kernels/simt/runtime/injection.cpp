// Counts of calls, and calls that a test makes fail.
#include <map>
#include <string>

#include "simt/runtime/call.h"
#include "simt/runtime/capture.h"
#include "simt/runtime/control.h"

namespace simt::runtime {

thread_local bool in_host_function = false;

namespace {

struct Counts {
  std::map<std::string, std::int64_t, std::less<>> by_name;
  std::map<unsigned, std::int64_t> by_epilogue;
  std::int64_t failable = 0;
  std::int64_t allocations = 0;
  std::int64_t synchronisations = 0;
  std::int64_t uneven_convolutions = 0;
};
// Never destroyed: programs release memory and handles while they exit.
Counts& counts = *new Counts;
thread_local bool injected = false;

bool counts_down_to_zero(std::int64_t& left) { return left >= 0 && left-- == 0; }

bool must_fail(const char* name, unsigned traits) {
  if ((traits & kAllocates) != 0) {
    ++counts.allocations;
    if (counts_down_to_zero(control().fail_allocation)) return true;
  }
  if ((traits & kInquiry) != 0) return false;
  if ((traits & kRelease) != 0 && !control().fail_releases) return false;
  ++counts.failable;
  return (control().fail_name.empty() || control().fail_name == name) &&
         counts_down_to_zero(control().fail_call);
}

}  // namespace

std::recursive_mutex& runtime_mutex() {
  static auto& mutex = *new std::recursive_mutex;
  return mutex;
}

cudaError_t begin_call(const char* name, unsigned traits) {
  const auto found = counts.by_name.find(std::string_view(name));
  if (found != counts.by_name.end()) {
    ++found->second;
  } else {
    counts.by_name.emplace(name, 1);
  }
  if ((traits & kSynchronises) != 0) ++counts.synchronisations;
  const bool allocation_fails = control().fail_allocation == 0 && (traits & kAllocates) != 0;
  injected = must_fail(name, traits);
  if ((traits & kInquiry) != 0) return cudaSuccess;
  if (control().devices == 0) return cudaErrorInsufficientDriver;
  if (in_host_function) {
    return fault(cudaErrorNotPermitted, "call-from-host-function",
                 std::string(name) + " was called by a function that cudaLaunchHostFunc runs");
  }
  if (sticky_error() != cudaSuccess) return sticky_error();
  if (injected) {
    const auto error =
        allocation_fails ? cudaErrorMemoryAllocation : static_cast<cudaError_t>(control().fail_cuda);
    if (control().fail_for_good) set_sticky_error(error);
    return error;
  }
  if ((traits & kUnsafe) != 0 && unsafe_call_is_captured()) return cudaErrorStreamCaptureUnsupported;
  return cudaSuccess;
}

bool call_was_injected() { return injected; }

bool releases_in_spite_of(cudaError_t error) { return injected || error == sticky_error(); }

void count_synchronisation() { ++counts.synchronisations; }

void count_epilogue(unsigned epilogue) { ++counts.by_epilogue[epilogue]; }

void count_uneven_convolution() { ++counts.uneven_convolutions; }

std::int64_t calls(std::string_view name) {
  const std::lock_guard lock(runtime_mutex());
  const auto found = counts.by_name.find(name);
  return found != counts.by_name.end() ? found->second : 0;
}

std::int64_t products_with_epilogue(unsigned epilogue) {
  const std::lock_guard lock(runtime_mutex());
  const auto found = counts.by_epilogue.find(epilogue);
  return found != counts.by_epilogue.end() ? found->second : 0;
}

std::int64_t uneven_convolutions() {
  const std::lock_guard lock(runtime_mutex());
  return counts.uneven_convolutions;
}

std::int64_t calls_total() { return counts.failable; }

std::int64_t allocations_total() { return counts.allocations; }

std::int64_t synchronisations() { return counts.synchronisations; }

void reset_calls() {
  const std::lock_guard lock(runtime_mutex());
  counts = Counts();
}

}  // namespace simt::runtime
