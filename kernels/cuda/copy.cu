// y (=, +=) x between any two layouts and element types, and y = value.
//
// Copies of one type move words: the widest ones, up to 16 bytes, that the layouts allow, so that a dense
// copy and one of rows are the same kernel. Where x is contiguous along another axis than y, square tiles
// pass through shared memory, and both sides are read and written along their own contiguous axis.
// Conversions between float types go in packs (elementwise.cuh), all others by elements.
#include "cuda/elementwise.cuh"

namespace reprise::kernels::cuda {

namespace {

struct alignas(16) Word16 {
  std::uint64_t half[2];
};

/// Calls f.template operator()<Word>() for the word of so many bytes.
template <class F>
void dispatch_word(std::size_t bytes, F&& f) {
  switch (bytes) {
    case 1:
      return f.template operator()<std::uint8_t>();
    case 2:
      return f.template operator()<std::uint16_t>();
    case 4:
      return f.template operator()<std::uint32_t>();
    case 8:
      return f.template operator()<std::uint64_t>();
    default:
      return f.template operator()<Word16>();
  }
}

constexpr std::size_t kWidestWord = 16;
constexpr int kWords = 4;  // of a thread, all under way at once

template <class Word>
__global__ void __launch_bounds__(kElementwiseBlock)
    copy_words_kernel(const __grid_constant__ Walk<2> walk, const Word* x, Word* y) {
  const std::uint32_t start = blockIdx.x * (kElementwiseBlock * kWords) + threadIdx.x;
  Word words[kWords];
  std::int64_t to[kWords];
#pragma unroll
  for (int k = 0; k < kWords; ++k) {
    const std::uint32_t index = start + static_cast<std::uint32_t>(k * kElementwiseBlock);
    if (index >= walk.numel) continue;
    const Offsets<2> offsets = walk.locate(index);
    to[k] = offsets.at[0];
    words[k] = x[offsets.at[1]];
  }
#pragma unroll
  for (int k = 0; k < kWords; ++k) {
    if (start + static_cast<std::uint32_t>(k * kElementwiseBlock) < walk.numel) y[to[k]] = words[k];
  }
}

template <class Word>
__global__ void __launch_bounds__(kElementwiseBlock)
    fill_words_kernel(const __grid_constant__ Walk<1> walk, Word word, Word* y) {
  const std::uint32_t start = blockIdx.x * (kElementwiseBlock * kWords) + threadIdx.x;
#pragma unroll
  for (int k = 0; k < kWords; ++k) {
    const std::uint32_t index = start + static_cast<std::uint32_t>(k * kElementwiseBlock);
    if (index < walk.numel) y[walk.locate(index).at[0]] = word;
  }
}

/// Words along a side of a tile: a row of it is 128 bytes of memory or as near as 64 words come.
template <class Word>
inline constexpr int kTile = sizeof(Word) <= 2 ? 64 : 32;

/// One matrix of a batched transpose: y's contiguous axis runs along `cols`, x's along `rows`.
struct Transpose {
  std::uint32_t rows, cols;
  std::int64_t x_col, y_row;  // strides of the axes that are not contiguous
  Divisor tiles_down, tiles_across;

  template <class Word>
  static Transpose of(std::int64_t rows, std::int64_t cols, std::int64_t x_col, std::int64_t y_row) {
    return {static_cast<std::uint32_t>(rows),     static_cast<std::uint32_t>(cols),    x_col, y_row,
            Divisor(ceil_div(rows, kTile<Word>)), Divisor(ceil_div(cols, kTile<Word>))};
  }
};

/// A block moves one tile of one matrix; `batch` finds the matrix. The pitch of the tile is an odd number of
/// banks, so that columns are read without conflicts.
template <class Word>
__global__ void __launch_bounds__(kElementwiseBlock)
    transpose_kernel(const __grid_constant__ Walk<2> batch, const __grid_constant__ Transpose matrix,
                     const Word* x, Word* y) {
  constexpr int kSide = kTile<Word>, kStep = kElementwiseBlock / kSide;
  constexpr int kPad = sizeof(Word) < 4 ? 4 / static_cast<int>(sizeof(Word)) : 1;
  SIMT_SHARED(Word, tile, [kSide][kSide + kPad]);
  const std::uint32_t band = matrix.tiles_across.quotient(blockIdx.x);
  const std::uint32_t index = matrix.tiles_down.quotient(band);
  const std::uint32_t col0 = (blockIdx.x - band * matrix.tiles_across.divisor) * kSide;
  const std::uint32_t row0 = (band - index * matrix.tiles_down.divisor) * kSide;
  const Offsets<2> base = batch.locate(index);
  const int lane = static_cast<int>(threadIdx.x) % kSide, line = static_cast<int>(threadIdx.x) / kSide;

  const std::uint32_t x_row = row0 + static_cast<std::uint32_t>(lane);
#pragma unroll
  for (int i = line; i < kSide; i += kStep) {
    const std::uint32_t col = col0 + static_cast<std::uint32_t>(i);
    if (col < matrix.cols && x_row < matrix.rows) tile[i][lane] = x[base.at[1] + col * matrix.x_col + x_row];
  }
  __syncthreads();
  const std::uint32_t y_col = col0 + static_cast<std::uint32_t>(lane);
#pragma unroll
  for (int i = line; i < kSide; i += kStep) {
    const std::uint32_t row = row0 + static_cast<std::uint32_t>(i);
    if (row < matrix.rows && y_col < matrix.cols) y[base.at[0] + row * matrix.y_row + y_col] = tile[lane][i];
  }
}

/// Axes of y and x (in elements of `bytes`), as axes of the widest words that both can be cut into; sets
/// `bytes` to the size of these.
template <std::size_t N>
Axes<N> in_words(Axes<N> axes, const std::array<const void*, N>& data, std::size_t& bytes) {
  const int inner = axes.inner();
  const auto can_double = [&] {
    if (bytes == kWidestWord || axes.sizes[inner] % 2 != 0) return false;
    for (std::size_t k = 0; k < N; ++k) {
      if (axes.strides[k][inner] != 1 || reinterpret_cast<std::uintptr_t>(data[k]) % (2 * bytes) != 0)
        return false;
      for (int axis = 0; axis < inner; ++axis) {
        if (axes.strides[k][axis] % 2 != 0) return false;
      }
    }
    return true;
  };
  while (can_double()) {
    bytes *= 2;
    axes.sizes[inner] /= 2;
    for (PerAxis& strides : axes.strides) {
      for (int axis = 0; axis < inner; ++axis) strides[axis] /= 2;
    }
  }
  return axes;
}

/// The axis along which x is contiguous where that is not y's innermost one, and y is contiguous along that;
/// -1 for none. Short axes are not worth a tile.
int transposed_axis(const Axes<2>& axes) {
  constexpr std::int64_t kWorthATile = 8;
  const int inner = axes.inner();
  if (axes.strides[0][inner] != 1 || axes.strides[1][inner] <= 1 || axes.sizes[inner] < kWorthATile)
    return -1;
  for (int axis = 0; axis < inner; ++axis) {
    if (axes.strides[1][axis] == 1 && axes.sizes[axis] >= kWorthATile) return axis;
  }
  return -1;
}

/// The axes of y and x without those of the matrices.
Axes<2> batch_of(const Axes<2>& axes, int across) {
  Axes<2> batch = no_axes<2>();
  for (int axis = 0; axis < axes.inner(); ++axis) {
    if (axis != across) batch.append(axes.sizes[axis], {axes.strides[0][axis], axes.strides[1][axis]});
  }
  finish(batch);
  return batch;
}

template <class Word>
void copy_words(const Queue& queue, const Axes<2>& all, const void* x, void* y) {
  const auto* from = static_cast<const Word*>(x);
  auto* to = static_cast<Word*>(y);
  for_each_piece(all, [&](const Axes<2>& axes, const auto& offsets) {
    const int across = transposed_axis(axes), inner = axes.inner();
    if constexpr (sizeof(Word) < kWidestWord) {
      if (across >= 0) {
        const auto matrix = Transpose::of<Word>(axes.sizes[across], axes.sizes[inner], axes.strides[1][inner],
                                                axes.strides[0][across]);
        const Axes<2> batch = batch_of(axes, across);
        const std::int64_t tiles = batch.numel() * matrix.tiles_down.divisor * matrix.tiles_across.divisor;
        return launch("copy", queue, transpose_kernel<Word>, dim3(static_cast<unsigned>(tiles)),
                      dim3(kElementwiseBlock), 0, Walk<2>(batch), matrix, from + offsets[1], to + offsets[0]);
      }
    }
    const Walk<2> walk(axes);
    launch("copy", queue, copy_words_kernel<Word>, elementwise_grid(walk.numel, kWords),
           dim3(kElementwiseBlock), 0, walk, from + offsets[1], to + offsets[0]);
  });
}

/// Calls f(axes, first element) for all elements, in two parts where dense elements fill no whole number of
/// the widest words.
template <std::size_t N, class F>
void for_words_and_rest(Axes<N> axes, std::size_t bytes, F&& f) {
  const std::int64_t rest = axes.sizes[0] % static_cast<std::int64_t>(kWidestWord / bytes);
  const bool dense = axes.rank == 1 && std::all_of(axes.strides.begin(), axes.strides.end(),
                                                   [](const PerAxis& strides) { return strides[0] == 1; });
  if (!dense || rest == 0 || rest == axes.sizes[0]) return f(axes, std::int64_t{0});
  axes.sizes[0] -= rest;
  f(axes, std::int64_t{0});
  const std::int64_t whole = axes.sizes[0];
  axes.sizes[0] = rest;
  f(axes, whole * static_cast<std::int64_t>(bytes));
}

void copy_same_type(const Queue& queue, const ConstView& x, const View& y) {
  const std::size_t bytes = size_of(y.dtype);
  for_words_and_rest(collapse<2>({&y, &x}), bytes, [&](const Axes<2>& part, std::int64_t first) {
    const auto* from = static_cast<const std::byte*>(x.data) + first;
    auto* to = static_cast<std::byte*>(y.data) + first;
    std::size_t word = bytes;
    const Axes<2> axes = in_words<2>(part, {to, from}, word);
    dispatch_word(word, [&]<class Word>() { copy_words<Word>(queue, axes, from, to); });
  });
}

/// `value` as an element of T, over and over.
template <class T>
Word16 pattern_of(double value) {
  T element;
  if constexpr (std::is_same_v<T, __nv_bfloat16>)
    element = __float2bfloat16_rn(static_cast<float>(value));
  else if constexpr (std::is_same_v<T, __half>)
    element = __float2half_rn(static_cast<float>(value));
  else
    element = static_cast<T>(value);
  Word16 pattern;
  for (std::size_t at = 0; at < sizeof pattern; at += sizeof element)
    std::memcpy(reinterpret_cast<std::byte*>(&pattern) + at, &element, sizeof element);
  return pattern;
}

template <class Word>
void fill_words(const Queue& queue, const Word16& pattern, const Axes<1>& all, void* y) {
  Word word;
  std::memcpy(&word, &pattern, sizeof word);
  for_each_piece(all, [&](const Axes<1>& axes, const auto& offsets) {
    const Walk<1> walk(axes);
    launch("fill", queue, fill_words_kernel<Word>, elementwise_grid(walk.numel, kWords),
           dim3(kElementwiseBlock), 0, walk, word, static_cast<Word*>(y) + offsets[0]);
  });
}

/// out = in, between types.
template <class C, class R>
struct Conversion : Operation<1, 1, kAdding, C, R> {
  __device__ __forceinline__ void operator()(const C (&in)[1], R (&out)[1]) const {
    out[0] = static_cast<R>(in[0]);
  }
};

}  // namespace

void copy(const Queue& queue, const ConstView& x, const Target& y) {
  if (!y || y.view.numel() == 0) return;
  if (x.dtype == y.view.dtype && y.write == Write::overwrite) return copy_same_type(queue, x, y.view);
  dispatch_compute_type(x.dtype, [&]<class C>() {
    dispatch_compute_type(y.view.dtype, [&]<class R>() {
      using Op = Conversion<C, R>;
      const Problem<Op> problem({y}, {&x});
      if constexpr (std::is_same_v<C, float> && std::is_same_v<R, float>) {
        dispatch_trained("copy", x.dtype, [&]<class From>() {
          dispatch_trained("copy", y.view.dtype, [&]<class To>() {
            launch_packs<Elements<To, From, From>>("copy", queue, Op(), problem);
          });
        });
      } else {
        launch_elements("copy", queue, Op(), problem);
      }
    });
  });
}

void fill(const Queue& queue, double value, const View& y) {
  if (y.numel() == 0) return;
  Word16 pattern;
  dispatch_any(y.dtype, [&]<class T>() { pattern = pattern_of<T>(value); });
  const std::size_t bytes = size_of(y.dtype);
  for_words_and_rest(collapse<1>({&y}), bytes, [&](const Axes<1>& part, std::int64_t first) {
    auto* to = static_cast<std::byte*>(y.data) + first;
    std::size_t word = bytes;
    const Axes<1> axes = in_words<1>(part, {to}, word);
    dispatch_word(word, [&]<class Word>() { fill_words<Word>(queue, pattern, axes, to); });
  });
}

}  // namespace reprise::kernels::cuda
