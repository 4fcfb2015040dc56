#include "tiles.h"

#include <cstddef>

#include "axes.h"
#include "convert.h"
#include "parallel.h"
#include "reprise/error.h"
#include "reprise/kernels/elementwise_functors.h"

namespace reprise::kernels::cpu {

namespace {

constexpr std::int64_t kTileElements = 1024;
constexpr std::size_t kOperands = kMaxTileInputs + kMaxTileOutputs;

/// Where a tile lies in one tensor, in elements.
struct Patch {
  std::int64_t rows, row_stride, cols, col_stride;

  bool is_contiguous() const { return (cols == 1 || col_stride == 1) && (rows == 1 || row_stride == cols); }
  /// The same elements as one row, where they lie in one.
  Patch merged() const { return is_contiguous() ? Patch{1, 0, rows * cols, 1} : *this; }
};

template <class T>
void load_patch(const void* from, void* to, const Patch& patch) {
  using C = Compute<T>;
  const T* row = static_cast<const T*>(from);
  C* out = static_cast<C*>(to);
  for (std::int64_t r = 0; r < patch.rows; ++r, row += patch.row_stride, out += patch.cols) {
    if (patch.col_stride == 1) {
      load_row(row, out, patch.cols);
    } else if (patch.col_stride == 0) {
      std::fill_n(out, patch.cols, static_cast<C>(*row));
    } else {
      for (std::int64_t c = 0; c < patch.cols; ++c) out[c] = static_cast<C>(row[c * patch.col_stride]);
    }
  }
}

template <class T>
void store_patch(const void* from, void* to, const Patch& patch) {
  using C = Compute<T>;
  const C* in = static_cast<const C*>(from);
  T* row = static_cast<T*>(to);
  for (std::int64_t r = 0; r < patch.rows; ++r, row += patch.row_stride, in += patch.cols) {
    if (patch.col_stride == 1) {
      store_row(in, row, patch.cols);
    } else {
      for (std::int64_t c = 0; c < patch.cols; ++c) row[c * patch.col_stride] = static_cast<T>(in[c]);
    }
  }
}

template <class T>
void add_row(const Compute<T>* from, T* to, std::int64_t n) {
  using C = Compute<T>;
  if constexpr (std::is_same_v<T, C>) {
#pragma omp simd
    for (std::int64_t i = 0; i < n; ++i) to[i] = functors::wrapping_add(to[i], from[i]);
  } else {
    constexpr std::int64_t kChunk = 128;
    C sum[kChunk];
    for (std::int64_t begin = 0; begin < n; begin += kChunk) {
      const std::int64_t count = std::min(kChunk, n - begin);
      load_row(to + begin, sum, count);
#pragma omp simd
      for (std::int64_t i = 0; i < count; ++i) sum[i] += from[begin + i];
      store_row(sum, to + begin, count);
    }
  }
}

template <class T>
void add_patch(const void* from, void* to, const Patch& patch) {
  using C = Compute<T>;
  const C* in = static_cast<const C*>(from);
  T* row = static_cast<T*>(to);
  for (std::int64_t r = 0; r < patch.rows; ++r, row += patch.row_stride, in += patch.cols) {
    if (patch.col_stride == 1) {
      add_row(in, row, patch.cols);
    } else {
      for (std::int64_t c = 0; c < patch.cols; ++c) {
        T& element = row[c * patch.col_stride];
        element = static_cast<T>(functors::wrapping_add(static_cast<C>(element), in[c]));
      }
    }
  }
}

/// What has to be known of an element type.
struct Traits {
  std::int64_t bytes = 0, compute_bytes = 0;
  bool native = false;  // stored as it is computed
  void (*load)(const void*, void*, const Patch&) = nullptr;
  void (*store)(const void*, void*, const Patch&) = nullptr;
  void (*add)(const void*, void*, const Patch&) = nullptr;
};

Traits traits_of(DType dtype) {
  Traits traits;
  dispatch_all(dtype, [&]<class T>() {
    traits = {sizeof(T),     sizeof(Compute<T>), std::is_same_v<T, Compute<T>>,
              load_patch<T>, store_patch<T>,     add_patch<T>};
  });
  return traits;
}

constexpr bool is_native(DType dtype) { return dtype != DType::bfloat16 && dtype != DType::float16; }

struct Operand {
  std::byte* data = nullptr;
  Traits traits;
};

struct Loop {
  std::span<const TileOutput> outputs;
  std::size_t inputs = 0;
  double alpha = 0;
  Axes<kOperands> axes;  // the outputs, then the inputs
  std::array<Operand, kOperands> operands;
};

using LoopTile = Tile<kOperands>;

struct Buffers {
  alignas(64) std::byte in[kMaxTileInputs][kTileElements * 8];
  alignas(64) std::byte out[kTileElements * 8];
  /// What the input buffers hold: a broadcast operand need not be loaded for every tile.
  std::array<const std::byte*, kMaxTileInputs> loaded{};
  std::array<std::pair<std::int64_t, std::int64_t>, kMaxTileInputs> loaded_size{};
};

Patch patch_of(const Loop& loop, const LoopTile& tile, std::size_t k) {
  const auto inner = static_cast<std::size_t>(loop.axes.rank) - 1;
  const auto& strides = loop.axes.strides[k];
  return Patch{tile.rows, inner > 0 ? strides[inner - 1] : 0, tile.cols, strides[inner]}.merged();
}

/// The tile of input i as contiguous elements: in place, in `into` (not cached there) or in its buffer.
const void* read_tile(const Loop& loop, const LoopTile& tile, std::size_t i, Buffers& buffers, void* into) {
  const std::size_t k = kMaxTileOutputs + i;
  const Operand& operand = loop.operands[k];
  if (operand.data == nullptr) return nullptr;
  const Patch patch = patch_of(loop, tile, k);
  const std::byte* from = operand.data + tile.offsets[k] * operand.traits.bytes;
  if (operand.traits.native && patch.is_contiguous()) return from;
  if (into) {
    operand.traits.load(from, into, patch);
    return into;
  }
  const std::pair size{tile.rows, tile.cols};
  if (buffers.loaded[i] != from || buffers.loaded_size[i] != size) {
    operand.traits.load(from, buffers.in[i], patch);
    buffers.loaded[i] = from;
    buffers.loaded_size[i] = size;
  }
  return buffers.in[i];
}

void compute_tile(const Loop& loop, const LoopTile& tile, Buffers& buffers) {
  const void* in[kMaxTileInputs] = {};
  std::byte* out[kMaxTileOutputs] = {};
  bool in_place[kMaxTileOutputs] = {};
  for (std::size_t k = 0; k < loop.outputs.size(); ++k) {
    const Operand& operand = loop.operands[k];
    out[k] = operand.data + tile.offsets[k] * operand.traits.bytes;
    in_place[k] = operand.traits.native && loop.outputs[k].target.write == Write::overwrite &&
                  patch_of(loop, tile, k).is_contiguous();
  }
  const bool plain_copy = loop.outputs.size() == 1 && loop.outputs[0].function == nullptr;
  for (std::size_t i = 0; i < loop.inputs; ++i) {
    in[i] = read_tile(loop, tile, i, buffers, plain_copy && in_place[0] ? out[0] : nullptr);
  }
  for (std::size_t k = 0; k < loop.outputs.size(); ++k) {
    const TileOutput& output = loop.outputs[k];
    const void* result = in[0];
    if (output.function) {
      void* to = in_place[k] ? static_cast<void*>(out[k]) : buffers.out;
      output.function(in, to, tile.rows * tile.cols, loop.alpha);
      result = to;
    }
    if (result == out[k]) continue;
    const Traits& traits = loop.operands[k].traits;
    (output.target.write == Write::overwrite ? traits.store : traits.add)(result, out[k],
                                                                          patch_of(loop, tile, k));
  }
}

/// All elements lie in the same order without gaps.
bool is_flat(TileInputs in, std::span<const TileOutput> out, std::int64_t numel) {
  if (numel == 1) return true;
  const Layout& lead = out[0].target.view;
  if (!lead.is_contiguous() && !lead.is_channels_last()) return false;
  for (const TileOutput& output : out.subspan(1)) {
    if (!lead.same_layout(output.target.view)) return false;
  }
  for (const ConstView* input : in) {
    if (*input && !lead.same_layout(*input)) return false;
  }
  return true;
}

bool is_direct(TileInputs in, std::span<const TileOutput> out) {
  for (const TileOutput& output : out) {
    if (!is_native(output.target.view.dtype) || output.target.write != Write::overwrite || !output.function)
      return false;
  }
  for (const ConstView* input : in) {
    if (*input && !is_native(input->dtype)) return false;
  }
  return true;
}

const std::byte* advance(const ConstView& view, std::int64_t elements) {
  if (!view) return nullptr;
  return static_cast<const std::byte*>(view.data) + elements * static_cast<std::int64_t>(size_of(view.dtype));
}

void compute_flat(TileInputs in, std::span<const TileOutput> out, double alpha, std::int64_t begin,
                  std::int64_t end) {
  const void* pointers[kMaxTileInputs] = {};
  for (std::size_t i = 0; i < in.size(); ++i) pointers[i] = advance(*in[i], begin);
  // Outputs alternate within a piece of the inputs that stays in the cache.
  if (out.size() > 1 && end - begin > kTileElements) {
    for (; begin < end; begin += kTileElements) {
      compute_flat(in, out, alpha, begin, std::min(end, begin + kTileElements));
    }
    return;
  }
  for (const TileOutput& output : out) {
    const View& view = output.target.view;
    auto* to = static_cast<std::byte*>(view.data) + begin * static_cast<std::int64_t>(size_of(view.dtype));
    output.function(pointers, to, end - begin, alpha);
  }
}

Loop make_loop(TileInputs in, std::span<const TileOutput> out, double alpha, bool flat) {
  Loop loop;
  loop.outputs = out;
  loop.inputs = in.size();
  loop.alpha = alpha;
  std::array<const Layout*, kOperands> layouts{};
  for (std::size_t k = 0; k < out.size(); ++k) {
    const View& view = out[k].target.view;
    loop.operands[k] = {static_cast<std::byte*>(view.data), traits_of(view.dtype)};
    layouts[k] = &view;
  }
  for (std::size_t i = 0; i < in.size(); ++i) {
    const ConstView& view = *in[i];
    if (!view) continue;
    // Inputs are only read; one pointer type serves both kinds of operand.
    auto* data = static_cast<std::byte*>(const_cast<void*>(view.data));
    loop.operands[kMaxTileOutputs + i] = {data, traits_of(view.dtype)};
    layouts[kMaxTileOutputs + i] = &view;
  }
  if (flat) {
    loop.axes.sizes[0] = layouts[0]->numel();
    for (auto& strides : loop.axes.strides) strides[0] = 1;
  } else {
    loop.axes = collapse(layouts);
  }
  return loop;
}

}  // namespace

void compute_tiles(TileInputs in, std::span<const TileOutput> out, double alpha, std::int64_t grain) {
  if (out.empty() || out.size() > kMaxTileOutputs || in.size() > kMaxTileInputs) {
    throw Error("[elementwise] a loop has 1 or 2 outputs and at most 3 inputs");
  }
  const std::int64_t numel = out[0].target.view.numel();
  if (numel == 0) return;
  const bool flat = is_flat(in, out, numel);
  if (flat && is_direct(in, out)) {
    parallel_for(numel, grain,
                 [&](std::int64_t begin, std::int64_t end) { compute_flat(in, out, alpha, begin, end); });
    return;
  }
  const Loop loop = make_loop(in, out, alpha, flat);
  parallel_for(numel, grain, [&](std::int64_t begin, std::int64_t end) {
    Buffers buffers;
    for_each_tile(loop.axes, begin, end, kTileElements,
                  [&](const LoopTile& tile) { compute_tile(loop, tile, buffers); });
  });
}

}  // namespace reprise::kernels::cpu
