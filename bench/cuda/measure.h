// Times work on a CUDA device by events, and says what that means beside a copy and a large matrix product.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "reprise/reprise.h"

namespace reprise::bench {

/// Milliseconds of many runs of the same work.
struct Times {
  double median = 0, least = 0, most = 0;
  std::vector<double> all;
};

Times summarise(std::vector<double> ms);

/// Runs `work` `warm_up` times, then `count` times between events that nobody waits for before the end.
Times time_on_device(const std::function<void()>& work, int warm_up, int count);

/// The range (NVTX) of the work that a profiler should look at.
inline constexpr const char* kProfiled = "profiled";

/// Runs `work` once within that range.
void run_profiled(const std::function<void()>& work);

/// What a run must move and compute, counted from its formula.
struct Cost {
  double bytes = 0, flops = 0;
};

/// Sizes: past every cache in a full run, tiny ones to prove that all runs.
struct Scale {
  bool smoke = false;
  bool profile = false;  // each kernel runs once in a range `kProfiled`, for a profiler, and is not timed

  std::int64_t pick(std::int64_t full, std::int64_t tiny) const { return smoke ? tiny : full; }
  /// Elements of an array of 256 MiB.
  std::int64_t elements(DType dtype) const {
    return pick(std::int64_t{1} << 28, 1 << 12) / static_cast<std::int64_t>(size_of(dtype));
  }
};

/// Collects what was measured, kernel by kernel.
class Suite {
 public:
  Suite(Scale sizes, nlohmann::json read) : scale(sizes), workloads(std::move(read)) {}

  const Scale scale;
  const nlohmann::json workloads;

  /// Measures one kernel. A failure is written down, and the next one goes on.
  void measure(const std::string& family, const std::string& name, DType dtype, const std::string& shape,
               Cost cost, const std::function<void(const kernels::Queue&)>& work);

  /// The same, of `cost.bytes` moved by the runtime's own copy: what the others are compared with.
  void measure_copy();

  /// All rows, with shares of the fastest copy and of the fastest matrix product in this run.
  nlohmann::json results() const;
  bool failed() const { return failed_; }

 private:
  nlohmann::json rows_ = nlohmann::json::array();
  bool failed_ = false;
};

/// The view of a tensor that is alive.
inline kernels::View view(const Tensor& tensor) { return view_of(*tensor.value()); }
inline kernels::Target into(const Tensor& tensor) { return {view(tensor), kernels::Write::overwrite}; }

/// Scratch of a kernel on the default device.
class Scratch {
 public:
  explicit Scratch(std::size_t bytes)
      : memory_(empty({static_cast<std::int64_t>(bytes)},
                      {.dtype = DType::boolean, .category = Category::workspace})),
        bytes_(bytes) {}
  kernels::Workspace get() const { return {bytes_ == 0 ? nullptr : view(memory_).data, bytes_}; }

 private:
  Tensor memory_;
  std::size_t bytes_;
};

/// Random ids in [0, bound).
Tensor random_ids(const Shape& shape, std::int64_t bound);

/// Reads the part of the file that describes full or tiny runs; throws Error.
nlohmann::json read_workloads(const std::string& path, bool smoke);

/// The device and the libraries of this run.
nlohmann::json describe_device();

}  // namespace reprise::bench
