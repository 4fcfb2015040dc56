// Checkpoint segments: regions of the tape that free their intermediates when they close and replay on
// backward.
//
//   {
//     checkpoint::Segment block("block 3");
//     h = layers[3](h);
//   }                                            // intermediates are gone here
//   auto y = checkpoint::segment("head", [&] { return head(h); });
//
// A segment finds what it reads from the tape, so anything may be captured. It nests to any depth; an
// operation is replayed at most once for each segment around it. What the user still holds stays. Nothing is
// replayed that backward does not need.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "reprise/tape.h"

namespace reprise::checkpoint {

class SegmentRegion;

/// What a segment frees.
enum class Drop : std::uint8_t {
  everything,  // all intermediates
  cheap,  // only what cheap operations (elementwise, normalisation, copies) can compute again from what is
          // kept
};

struct SegmentOptions {
  Drop drop = Drop::everything;
  /// Keep the last segment before the loss as long as that does not raise the peak: backward needs it first.
  bool spare_last = true;
};

/// A checkpoint segment from here to the end of the scope. Does nothing under NoGrad. When the scope ends by
/// an exception nothing is dropped.
class Segment {
 public:
  explicit Segment(std::string_view name, const SegmentOptions& options = {});
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;
  ~Segment();

 private:
  std::shared_ptr<SegmentRegion> region_;
  int exceptions_ = 0;
};

/// Runs `f` inside a segment and returns what it returns.
template <class F>
decltype(auto) segment(std::string_view name, F&& f, const SegmentOptions& options = {}) {
  const Segment scope(name, options);
  return std::forward<F>(f)();
}

/// How a sequence of blocks is cut into segments.
enum class Strategy : std::uint8_t {
  none,    // no segments
  blocks,  // every block is one
  every,   // every k blocks are one
  sqrt,    // ceil(sqrt(n)) blocks are one (Chen et al. 2016): O(sqrt(n)) memory for one more forward
  nested,  // recursive halving: O(log n) memory for O(log n) more forwards
  cheap,   // halves as well, but only what is cheap to compute again is dropped
};

/// How a sequence is cut. `sequence` and `blocks_per_segment` throw ValueError for a strategy that is none of
/// the above, and for `every` below 1 where the strategy is `every`; the other strategies do not read it.
struct Setting {
  Strategy strategy = Strategy::none;
  int every = 1;  // blocks in a segment of Strategy::every
  bool operator==(const Setting&) const = default;
};

/// Reads "none", "blocks", "every:K", "sqrt", "nested" or "cheap"; throws ValueError.
Setting parse_setting(std::string_view text);
std::string to_string(const Setting& setting);

/// Blocks per segment of `setting` for n blocks (1 for blocks, n for none); throws ValueError for n below 0.
std::int64_t blocks_per_segment(const Setting& setting, std::int64_t n);

namespace detail {
using Body = void (*)(void* context, std::int64_t first, std::int64_t last);
void run_sequence(const Setting& setting, std::int64_t n, Body body, void* context);
/// Block i of the sequence under way begins.
void begin_block(std::int64_t i);
}  // namespace detail

/// Calls body(i) for i = 0 ... n - 1, cut into segments by `setting`. Throws ValueError, before the first
/// call, for n below 0 and for a setting that cuts nothing.
template <class F>
void sequence(const Setting& setting, std::int64_t n, F&& body) {
  detail::run_sequence(
      setting, n,
      [](void* context, std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first; i < last; ++i) {
          detail::begin_block(i);
          (*static_cast<std::remove_reference_t<F>*>(context))(i);
        }
      },
      const_cast<void*>(static_cast<const void*>(&body)));
}

}  // namespace reprise::checkpoint
