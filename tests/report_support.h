// Reports of training steps that never ran: real pools and traces, made-up sizes and times.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/format.h"
#include "cli/report/report.h"
#include "reprise/memory.h"

namespace report_test {

using namespace reprise;
using namespace reprise::cli;

inline constexpr std::int64_t kMicrosecond = 1000;

/// A pool, what lives in it, and a clock that moves when work is done.
class Step {
 public:
  explicit Step(std::string name, PoolOptions options = {.passthrough = false})
      : pool_(std::make_unique<Pool>(host_source(), options)) {
    run.segments = std::move(name);
  }
  ~Step() {
    trace_.reset();
    for (MemoryBlock* block : everything_) pool_->free(block);
  }
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;

  /// What is allocated and spans from now on belong there.
  void at(Phase phase, const Place* place, std::string_view segment = {}) {
    phase_ = phase;
    place_ = place;
    segment_ = segment;
  }

  MemoryBlock* allocate(std::string_view operation, const Shape& shape, Category category) {
    const bool scratch = category == Category::workspace;
    const Origin origin{
        .operation = operation, .phase = phase_, .scratch = scratch, .shape = shape, .place = place_};
    MemoryTag* const tag = segment_.empty() ? nullptr : pool_->tag(segment_);
    const auto bytes = static_cast<std::size_t>(shape.numel()) * (scratch ? 1 : sizeof(float));
    everything_.push_back(pool_->allocate(bytes, category, tag, origin));
    note_times();
    return everything_.back();
  }

  void free(MemoryBlock* block) {
    std::erase(everything_, block);
    pool_->free(block);
    note_times();
  }

  void recategorise(MemoryBlock* block, Category category) {
    pool_->recategorise(block, category);
    note_times();
  }

  void release_cached() {
    pool_->release_cached();
    note_times();
  }

  void work(std::string_view operation, std::int64_t microseconds) {
    const std::int64_t end = now_ + microseconds * kMicrosecond;
    run.spans.push_back({operation, phase_, place_, segment_, now_, end});
    now_ = end;
  }

  /// From here on events are traced, until `finish`.
  void begin(std::size_t most = 100000) {
    trace_ = std::make_unique<MemoryTrace>(*pool_, most);
    now_ = 0;
    run.spans.clear();
  }

  void finish() {
    run.before = trace_->before();
    run.events = trace_->events();
    run.truncated = trace_->truncated();
    for (std::size_t i = 0; i < run.events.size(); ++i) run.events[i].time_ns = times_[i];
    run.peak_activations = pool_->statistics().activations.allocated.peak;
    run.step_ms = static_cast<double>(now_) / 1e6;
    trace_.reset();
  }

  const Pool& pool() const { return *pool_; }
  RunReport run;

 private:
  /// Events get the time of the made-up clock.
  void note_times() {
    if (trace_ != nullptr) times_.resize(trace_->events().size(), now_);
  }

  std::unique_ptr<Pool> pool_;
  std::unique_ptr<MemoryTrace> trace_;
  std::vector<MemoryBlock*> everything_;
  std::vector<std::int64_t> times_;
  std::int64_t now_ = 0;
  Phase phase_ = Phase::other;
  const Place* place_ = nullptr;
  std::string_view segment_;
};

/// A stack of blocks with a residual stream. With `segments` each block drops its intermediates when it
/// closes, and computes them again on the way back.
class Transformer {
 public:
  Transformer(Step& step, int layers, std::int64_t width, bool segments)
      : step_(step), layers_(layers), width_(width), segments_(segments) {
    const Place* const model = place_in(nullptr, "transformer", "src/nn/models/gpt.cpp", 130);
    for (int i = 0; i < layers; ++i) {
      const std::string name = "h." + std::to_string(i);
      places_.push_back(place_in(model, name, "src/nn/models/gpt.cpp", 118));
      tags_.push_back("block " + std::to_string(i + 1));
    }
    make_parameters();
  }

  void run() {
    for (std::size_t i = 0; i < places_.size(); ++i) forward(i);
    for (std::size_t i = places_.size(); i-- > 0;) backward(i);
    step_.at(Phase::optimiser, nullptr);
    step_.work("AdamW", 120L * layers_);
  }

 private:
  using Kept = std::vector<MemoryBlock*>;

  void make_parameters() {
    for (std::size_t i = 0; i < places_.size(); ++i) {
      for (const char* name : {"attn.qkv.weight", "mlp.weight"}) {
        step_.at(Phase::other, place_in(nullptr, "h." + std::to_string(i) + "." + name, "", 0));
        step_.allocate("", {4 * width_, width_}, Category::parameters);
        step_.allocate("AdamW", {4 * width_, 2 * width_}, Category::optimiser);
      }
    }
    step_.at(Phase::other, nullptr);
    step_.allocate("from_host", {tokens_}, Category::other);
  }

  std::string_view tag(std::size_t i) const { return segments_ ? std::string_view(tags_[i]) : ""; }

  /// The intermediates of a block, each after some scratch.
  Kept compute(std::size_t i, Phase phase) {
    step_.at(phase, places_[i], tag(i));
    const Category category = phase == Phase::replay ? Category::recomputed : Category::activations;
    Kept kept;
    for (const auto& [operation, columns, microseconds] : operations()) {
      MemoryBlock* const scratch = step_.allocate(operation, {tokens_ * columns / 2}, Category::workspace);
      kept.push_back(step_.allocate(operation, {8, tokens_ / 8, columns}, category));
      step_.work(operation, microseconds);
      step_.free(scratch);
    }
    return kept;
  }

  void forward(std::size_t i) {
    saved_.push_back(compute(i, Phase::forward));
    const bool last = i + 1 == places_.size();
    if (!segments_ || last) return;
    for (std::size_t k = 0; k + 1 < saved_[i].size(); ++k) step_.free(saved_[i][k]);
    saved_[i].erase(saved_[i].begin(), saved_[i].end() - 1);
  }

  void backward(std::size_t i) {
    const bool last = i + 1 == places_.size();
    if (segments_ && !last) {
      const Kept restored = compute(i, Phase::replay);
      saved_[i].insert(saved_[i].begin(), restored.begin(), restored.end() - 1);
      saved_[i].insert(saved_[i].end() - 1, restored.back());
    }
    step_.at(Phase::backward, places_[i], tag(i));
    while (!saved_[i].empty()) {
      MemoryBlock* const gradient = step_.allocate("gelu", {8, tokens_ / 8, width_}, Category::gradients);
      step_.work("linear", 160);
      step_.free(saved_[i].back());
      saved_[i].pop_back();
      step_.free(gradient);
    }
    step_.allocate("linear", {4 * width_, width_}, Category::gradients);
    step_.work("sum", 20);
  }

  struct Operation {
    std::string_view name;
    std::int64_t columns;
    std::int64_t microseconds;
  };
  std::vector<Operation> operations() const {
    return {{"layer_norm", width_, 20}, {"linear", 3 * width_, 90}, {"attention", width_, 140},
            {"linear", width_, 40},     {"layer_norm", width_, 20}, {"linear", 4 * width_, 120},
            {"gelu", 4 * width_, 30},   {"linear", width_, 110},    {"add", width_, 10}};
  }

  Step& step_;
  int layers_;
  std::int64_t width_;
  std::int64_t tokens_ = 2048;
  bool segments_;
  std::vector<const Place*> places_;
  std::vector<std::string> tags_;
  std::vector<Kept> saved_;
};

inline std::vector<Column> columns() {
  return {{.title = "segments", .align = Align::left},
          {.title = "activations", .unit = "peak"},
          {.title = "", .unit = "of first"},
          {.title = "step", .unit = "median"},
          {.title = "losses", .unit = "digest"}};
}

/// A report of those runs, with the table that belongs to them.
inline Report report_of(std::vector<RunReport> runs) {
  Report report{.title = "Memory and time of a step",
                .description = "GPT, 6 layers of 192",
                .data = "made-up text",
                .device = "cpu, 2 threads",
                .verdict = "losses, gradients and parameters are equal to the last bit",
                .columns = columns(),
                .runs = std::move(runs)};
  for (RunReport& run : report.runs) {
    const auto first = static_cast<double>(report.runs.front().peak_activations);
    run.cells = {run.segments, format_bytes(run.peak_activations),
                 format_percent(static_cast<double>(run.peak_activations), first), format_ms(run.step_ms),
                 "0123abcd"};
  }
  return report;
}

}  // namespace report_test
