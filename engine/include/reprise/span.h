// What a thread is doing: which node or other piece of work, in which part of a step, and for how long.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "reprise/detail/work_scope.h"
#include "reprise/memory/origin.h"

namespace reprise {

struct MemoryTag;

/// One run of one node, or of another piece of work that has a name ("AdamW").
struct Span {
  std::string_view operation;  // of static storage
  Phase phase = Phase::other;
  const Place* place = nullptr;  // in the model
  std::string_view segment{};    // the innermost checkpoint segment, as long as the trace or the pool lives
  std::int64_t start_ns = 0;     // since the trace began
  std::int64_t end_ns = 0;
};

/// Writes down every span of this thread while it lives; one at a time. A span that is open when the trace
/// begins or ends is no part of it. On CUDA the device is waited for
/// after each node, so that spans are times of the device; a step then takes longer than without.
class SpanTrace {
 public:
  SpanTrace();
  SpanTrace(const SpanTrace&) = delete;
  SpanTrace& operator=(const SpanTrace&) = delete;
  ~SpanTrace();
  const std::vector<Span>& spans() const { return spans_; }

 private:
  friend class SpanScope;
  std::uint64_t number_;  // of all traces of the process
  std::int64_t start_ns_;
  std::vector<Span> spans_;
  std::vector<std::shared_ptr<const MemoryTag>> segments_;  // whose names the spans have
};

/// What this thread does while it lives is one piece of work on `device`: its memory and its time are booked
/// under `operation` (of static storage), and on CUDA it is an NVTX range.
class SpanScope : detail::WorkScope {
 public:
  SpanScope(std::string_view operation, Phase phase, const Place* place, Device device,
            const MemoryTag* segment = nullptr);
  /// At the place where the thread is.
  SpanScope(std::string_view operation, Phase phase, Device device = default_device());
  SpanScope(const SpanScope&) = delete;
  SpanScope& operator=(const SpanScope&) = delete;
  ~SpanScope();

 private:
  void begin_span(const MemoryTag* segment);
  void end_span() noexcept;

  Device device_;
  bool has_range_;
  std::uint64_t trace_ = 0;  // the number of the trace that has it; 0: none
  std::size_t span_ = 0;     // where in that trace
};

/// What this thread does while it lives, beside the nodes that it runs, belongs to `phase`; on CUDA an NVTX
/// range around all of it.
class PhaseScope : detail::WorkScope {
 public:
  explicit PhaseScope(Phase phase, Device device = default_device());
  PhaseScope(const PhaseScope&) = delete;
  PhaseScope& operator=(const PhaseScope&) = delete;
  ~PhaseScope();

 private:
  bool has_range_;
};

}  // namespace reprise
