#include "reprise/captured_work.h"

#include <fmt/format.h>

#include <cstdio>
#include <utility>

#include "devices/cuda_state.h"
#include "reprise/context.h"

namespace reprise {
namespace {

/// While it lives, everything on the device's compute stream is recorded.
class Recording {
 public:
  Recording(detail::CudaState& state, const std::uint64_t* node_offset) : state_(state) {
    state_.begin_capture(node_offset);
  }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  ~Recording() {
    if (!ended_) state_.abandon_capture();
  }
  kernels::cuda::Graph end() {
    kernels::cuda::Graph const graph = state_.end_capture();
    ended_ = true;
    return graph;
  }

 private:
  detail::CudaState& state_;
  bool ended_ = false;
};

TapeCounters difference(const TapeCounters& after, const TapeCounters& before) {
  return {.recorded_nodes = after.recorded_nodes - before.recorded_nodes,
          .backward_nodes = after.backward_nodes - before.backward_nodes,
          .replayed_nodes = after.replayed_nodes - before.replayed_nodes,
          .replayed_bytes = after.replayed_bytes - before.replayed_bytes};
}

}  // namespace

CapturedWork::CapturedWork(Device device, std::function<std::shared_ptr<Pool>()> next_pool)
    : device_(device), next_pool_(std::move(next_pool)) {
  if (device.kind != DeviceKind::cuda)
    throw TypeError(fmt::format("[capture] {} has no graphs; give a CUDA device", to_string(device)));
  require_device(device);
  node_offset_ = zeros({}, {.dtype = DType::int64, .device = device});
}

CapturedWork::~CapturedWork() {
  if (graph_ == nullptr) return;
  const auto quietly = [](auto&& f) {
    try {
      f();
    } catch (const Error&) {  // NOLINT(bugprone-empty-catch): whoever waits next is told
    }
  };
  quietly([&] { synchronise(device_); });
  quietly([&] { kernels::cuda::destroy_graph(graph_); });
}

void CapturedWork::run(const Work& work) {
  switch (state_) {
    case State::fresh:
      work();
      state_ = State::warm;
      return;
    case State::warm:
      state_ = capture(work) ? State::captured : State::given_up;
      if (state_ == State::captured) return launch();
      std::fprintf(stderr, "reprise: runs without a CUDA graph: %s\n", obstacle_.c_str());
      work();
      return;
    case State::captured:
      return launch();
    case State::given_up:
      work();
      return;
  }
}

bool CapturedWork::capture(const Work& work) {
  Generator& numbers = generator();
  const Generator before = numbers;
  const TapeCounters counters_before = tape_counters();
  const auto nothing_ran = [&] {
    numbers = before;
    context().counters = counters_before;
  };
  try {
    Recording recording(detail::cuda_state(device_.index),
                        reinterpret_cast<const std::uint64_t*>(node_offset_.data<std::int64_t>()));
    work();
    graph_ = recording.end();
  } catch (const OutOfMemory&) {
    nothing_ran();
    throw;
  } catch (const Error& error) {
    nothing_ran();
    obstacle_ = error.what();
    return false;
  }
  first_node_ = before.next;
  nodes_per_run_ = numbers.next - before.next;
  counters_per_run_ = difference(tape_counters(), counters_before);
  nothing_ran();  // yet: `launch` counts it
  pool_ = default_pool(device_);
  set_default_pool(next_pool_ ? next_pool_() : nullptr, device_);
  return true;
}

void CapturedWork::launch() {
  Generator& numbers = generator();
  if (nodes_per_run_ > 0) {
    const NoGrad no_grad;
    node_offset_.fill_(static_cast<double>(numbers.next - first_node_));
  }
  kernels::cuda::launch_graph(graph_, detail::cuda_state(device_.index).compute());
  numbers.next += nodes_per_run_;
  TapeCounters& counters = context().counters;
  counters.recorded_nodes += counters_per_run_.recorded_nodes;
  counters.backward_nodes += counters_per_run_.backward_nodes;
  counters.replayed_nodes += counters_per_run_.replayed_nodes;
  counters.replayed_bytes += counters_per_run_.replayed_bytes;
}

}  // namespace reprise
