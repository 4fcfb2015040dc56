// CUDA graphs: work of fixed shapes that is launched as one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "reprise/device.h"
#include "reprise/memory.h"
#include "reprise/tape.h"
#include "reprise/tensor.h"

namespace reprise {

/// Runs the same work again and again on a CUDA device: as usual the first time, captured into a CUDA graph
/// the second time, and from then on as one launch of that graph, without the host's part of it.
///
/// The work may use no host data and read no value; what it reads from outside must stay where it is, and it
/// must leave the host as it found it (see `AdamW::step_with_rates`). Random operations draw what they would
/// have drawn without a graph. Segments and their replay are captured like everything else.
class CapturedWork {
 public:
  using Work = std::function<void()>;

  /// The memory that the work uses is the graph's own once it is captured: the device's default pool is then
  /// replaced by `next_pool()`, or by a fresh one where that is empty.
  explicit CapturedWork(Device device, std::function<std::shared_ptr<Pool>()> next_pool = {});
  CapturedWork(const CapturedWork&) = delete;
  CapturedWork& operator=(const CapturedWork&) = delete;
  ~CapturedWork();

  /// Runs `work`, which must be the same each time. Where it cannot be captured, it says so once on the
  /// standard error and runs as usual from then on.
  void run(const Work& work);

  bool captured() const { return graph_ != nullptr; }
  /// Why it could not be captured; empty otherwise.
  const std::string& obstacle() const { return obstacle_; }

 private:
  enum class State : std::uint8_t { fresh, warm, captured, given_up };
  bool capture(const Work& work);
  void launch();

  Device device_;
  std::function<std::shared_ptr<Pool>()> next_pool_;
  State state_ = State::fresh;
  void* graph_ = nullptr;
  std::shared_ptr<Pool> pool_;    // keeps the memory that the graph uses
  Tensor node_offset_;            // int64 scalar
  std::uint64_t first_node_ = 0;  // of the generator when the work was captured
  std::uint64_t nodes_per_run_ = 0;
  TapeCounters counters_per_run_;
  std::string obstacle_;
};

}  // namespace reprise
