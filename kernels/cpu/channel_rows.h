// (N, C, H, W) or (N, C) tensors as rows of channels, cut into slabs that fit the fastest cache.
//
// Row r is one position (n, h, w). A line is several rows where there are few channels, and some of the
// channels of one row where there are many. A slab is several lines below each other, so that what belongs to
// a channel can stay in registers along a column of lines.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "lines.h"

namespace reprise::kernels::cpu {

/// Elements of a line, at most.
inline constexpr std::int64_t kLine = 256;

/// `lines` lines of `width` elements; each is `width / channels` rows of `channels` channels.
struct Slab {
  std::int64_t row, lines, channel, channels, width;
  std::int64_t rows_of_line() const { return width / channels; }
  /// True where lines are read in several columns, which hardware does not see through.
  bool has_columns() const { return width > static_cast<std::int64_t>(kLanes<float>); }
};

/// How a tensor is cut into tasks of `chunk_rows` rows by `strip` channels; the same whatever the number of
/// threads.
struct ChannelPlan {
  std::int64_t rows = 0, channels = 0;
  std::int64_t strip = 0, fold = 1;  // channels and rows of a line
  std::int64_t strips = 0, chunk_rows = 0, chunks = 0;

  explicit ChannelPlan(const Layout& x) : channels(x.sizes[1]) {
    constexpr std::int64_t kFewChannels = 64, kMinChunkRows = 256, kMaxChunks = 64;
    rows = channels == 0 ? 0 : x.numel() / channels;
    if (rows == 0) return;
    strip = std::min(channels, kLine);
    fold = (kFewChannels + channels - 1) / channels;
    strips = (channels + strip - 1) / strip;
    chunk_rows = std::max(kMinChunkRows, (rows + kMaxChunks - 1) / kMaxChunks);
    chunks = (rows + chunk_rows - 1) / chunk_rows;
  }
  std::int64_t tasks() const { return chunks * strips; }
  std::int64_t grain() const { return grain_of_rows(kGrainElements, chunk_rows * strip); }
};

/// Rows [begin, end) of a chunk, and some channels of them.
struct ChannelTask {
  std::int64_t chunk, begin, end, channel, channels;

  ChannelTask(const ChannelPlan& plan, std::int64_t task)
      : chunk(task / plan.strips),
        begin(chunk * plan.chunk_rows),
        end(std::min(plan.rows, begin + plan.chunk_rows)),
        channel(task % plan.strips * plan.strip),
        channels(std::min(plan.strip, plan.channels - channel)) {}
};

/// Calls f(slab) for the rows [begin, end) of a task. Rows that do not fill a line are a narrower slab at the
/// end.
template <class F>
void for_each_slab(const ChannelPlan& plan, const ChannelTask& task, std::int64_t begin, std::int64_t end,
                   F&& f) {
  const std::int64_t width = plan.fold * task.channels, whole_lines = (end - begin) / plan.fold;
  for (std::int64_t line = 0; line < whole_lines;) {
    const std::int64_t lines = std::min(kSlab / width, whole_lines - line);
    f(Slab{begin + line * plan.fold, lines, task.channel, task.channels, width});
    line += lines;
  }
  const std::int64_t row = begin + whole_lines * plan.fold;
  if (row < end) f(Slab{row, 1, task.channel, task.channels, (end - row) * task.channels});
}

/// True where the channels lie side by side and the rows without gaps.
inline bool has_dense_rows(const Layout& layout) {
  return layout.rank == 2 ? layout.is_contiguous() : layout.is_channels_last();
}

/// Calls f(offset, place) for the elements of a slab: where they are in memory, and in lines without gaps.
template <class F>
void for_each_offset(const Layout& layout, const Slab& slab, F&& f) {
  const bool image = layout.rank == 4;
  const std::int64_t height = image ? layout.sizes[2] : 1, width = image ? layout.sizes[3] : 1;
  const std::int64_t rows = slab.lines * slab.rows_of_line();
  std::int64_t place = 0;
  for (std::int64_t row = slab.row; row < slab.row + rows; ++row) {
    const std::int64_t position = row % (height * width);
    std::int64_t offset = row / (height * width) * layout.strides[0] + slab.channel * layout.strides[1];
    if (image) offset += position / width * layout.strides[2] + position % width * layout.strides[3];
    for (std::int64_t c = 0; c < slab.channels; ++c) f(offset + c * layout.strides[1], place++);
  }
}

/// Reads slabs of a tensor in any layout.
template <class T>
class SlabReader {
  using C = Compute<T>;

 public:
  explicit SlabReader(const ConstView& view) : view_(view), dense_(has_dense_rows(view)) {}

  /// The slab's elements, valid until the next call.
  Lines<const C> read(const Slab& slab) {
    const T* const data = view_.as<T>();
    if (!dense_) {
      for_each_offset(view_, slab, [&](std::int64_t offset, std::int64_t place) {
        buffer_[place] = static_cast<C>(data[offset]);
      });
      return {buffer_, slab.width};
    }
    const T* const from = data + slab.row * view_.sizes[1] + slab.channel;
    const std::int64_t stride = slab.rows_of_line() * view_.sizes[1];
    return read_lines(from, stride, slab.lines, slab.width, buffer_);
  }

 private:
  ConstView view_;
  bool dense_;
  alignas(64) C buffer_[kSlab];
};

/// Has f(lines) compute a slab's elements and stores or adds them, rounded once. f may compute in the
/// target's memory.
template <class T, class F>
void write_slab(const Target& target, const Slab& slab, F&& f) {
  using C = Compute<T>;
  const View& view = target.view;
  T* const data = view.as<T>();
  if (has_dense_rows(view)) {
    T* const to = data + slab.row * view.sizes[1] + slab.channel;
    write_lines(to, slab.rows_of_line() * view.sizes[1], slab.lines, slab.width, target.write, f);
    return;
  }
  alignas(64) C values[kSlab];
  f(Lines<C>{values, slab.width});
  for_each_offset(view, slab, [&](std::int64_t offset, std::int64_t place) {
    const C before = target.write == Write::accumulate ? static_cast<C>(data[offset]) : C{0};
    data[offset] = static_cast<T>(before + values[place]);
  });
}

/// A number per channel, repeated for the elements of a task's lines.
template <class C>
struct PerElement {
  alignas(64) C values[kLine] = {};

  /// A copy of those of one group of columns.
  ColumnGroup<C> group(std::int64_t first) const {
    return ColumnGroup<C>::load(values + first, static_cast<std::int64_t>(kLanes<C>));
  }
  /// values[i] = f(channel of element i)
  template <class F>
  void fill(const ChannelPlan& plan, const ChannelTask& task, F&& f) {
    for (std::int64_t c = 0; c < task.channels; ++c) values[c] = f(task.channel + c);
    for (std::int64_t i = task.channels; i < plan.fold * task.channels; ++i)
      values[i] = values[i - task.channels];
  }
};

}  // namespace reprise::kernels::cpu
