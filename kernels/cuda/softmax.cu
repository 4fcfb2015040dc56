// Softmax and log-softmax over the rows of (M, V):
//   y = exp(x - max) / sum(exp(x - max)),  dx = y * (dy - sum(dy * y))
//   y = x - max - log(sum(exp(x - max))),  dx = dy - exp(y) * sum(dy)
// A warp or a block holds the row, see rows.cuh; rows too long for that are read twice.
#include "cuda/exponentials.cuh"
#include "reprise/kernels/softmax.h"

namespace reprise::kernels::cuda {

namespace {

/// Rows `stride` elements apart.
template <class T>
struct RowsOf {
  T* data;
  std::int64_t stride;

  explicit RowsOf(const ConstView& view)
      : data(static_cast<T*>(const_cast<void*>(view.data))), stride(view.strides[0]) {}
  __device__ T* row(std::int64_t row) const { return data + row * stride; }
};

template <class T, class Shape>
__global__ void __launch_bounds__(Shape::kMaxThreads, Shape::kMinBlocks)
    softmax_forward_kernel(RowsOf<T> x, RowsOf<T> y, std::int64_t rows, int columns, bool log) {
  constexpr int kVec = Shape::kVec;
  const std::int64_t row = Shape::row();
  if (row >= rows) return;
  const RowPacks<T, Shape> packs(x.row(row), columns);
  RowShare<T, Shape> share(packs, x.row(row), -INFINITY);
  const Exponentials exponentials = row_exponentials<Shape>(packs, share);
  const float largest = exponentials.largest;
  const float last = log ? logf(exponentials.sum) : 1.0f / exponentials.sum;
  for_each_pack<Shape>(
      packs,
      [&](int slot, int pack) {
        float values[kVec];
        share.values(slot, values);
#pragma unroll
        for (int i = 0; i < kVec; ++i)
          values[i] = log ? (values[i] - largest) - last : exp_for<T>(values[i] - largest) * last;
        packs.write(y.row(row), pack, values, false);
      },
      share);
}

template <class T, class Shape>
__global__ void __launch_bounds__(Shape::kMaxThreads, Shape::kMinBlocks)
    softmax_backward_kernel(RowsOf<T> y, RowsOf<T> dy, RowsOf<T> dx, std::int64_t rows, int columns, bool log,
                            bool accumulate) {
  constexpr int kVec = Shape::kVec;
  const std::int64_t row = Shape::row();
  if (row >= rows) return;
  const RowPacks<T, Shape> packs(y.row(row), columns);
  RowShare<T, Shape> results(packs, y.row(row), 0), grads(packs, dy.row(row), 0);
  float sum = 0;
  for_each_pack<Shape>(
      packs,
      [&](int slot, int) {
        float p[kVec], g[kVec];
        results.values(slot, p);
        grads.values(slot, g);
#pragma unroll
        for (int i = 0; i < kVec; ++i) sum += log ? g[i] : p[i] * g[i];
      },
      results, grads);
  sum = Shape::sum(sum);
  for_each_pack<Shape>(
      packs,
      [&](int slot, int pack) {
        float p[kVec], g[kVec];
        results.values(slot, p);
        grads.values(slot, g);
#pragma unroll
        for (int i = 0; i < kVec; ++i) g[i] = log ? g[i] - exp_for<T>(p[i]) * sum : p[i] * (g[i] - sum);
        packs.write(dx.row(row), pack, g, accumulate);
      },
      results, grads);
}

/// Calls f.template operator()<Shape>(packs) with a shape for x's rows, beside which `others` lie; rows that
/// lie differently to 16 bytes are read element by element.
template <class T, class F, class... Views>
void dispatch_rows(const ConstView& x, F&& f, const Views&... others) {
  const auto place = [](const auto& view) { return reinterpret_cast<std::uintptr_t>(view.data) % 16; };
  const auto step = [](const auto& view) { return view.strides[0] % kPack<T>; };
  const bool alike = ((place(others) == place(x) && step(others) == step(x)) && ...);
  dispatch_pack<T>(alike, [&]<int kVec>() {
    const bool straddles = kVec > 1 && !lines_aligned16<T>(x.data, x.strides[0]);
    const std::int64_t packs = ceil_div(x.sizes[1], kVec) + (straddles ? 1 : 0);
    dispatch_row_shape<kVec, false, sizeof...(others)>(
        packs, [&]<class Shape>() { f.template operator()<Shape>(packs); });
  });
}

void forward(const char* operation, const Queue& queue, const ConstView& x, const View& y, bool log) {
  dispatch_trained(operation, x.dtype, [&]<class T>() {
    if (x.numel() == 0) return;
    const auto f = [&]<class Shape>(std::int64_t packs) {
      launch(operation, queue, softmax_forward_kernel<T, Shape>, Shape::grid(x.sizes[0]), Shape::block(packs),
             0, RowsOf<T>(x), RowsOf<T>(y), x.sizes[0], static_cast<int>(x.sizes[1]), log);
    };
    dispatch_rows<T>(x, f, y);
  });
}

void backward(const char* operation, const Queue& queue, const ConstView& y, const ConstView& dy,
              const Target& dx, bool log) {
  dispatch_trained(operation, y.dtype, [&]<class T>() {
    if (!dx || y.numel() == 0) return;
    const auto f = [&]<class Shape>(std::int64_t packs) {
      launch(operation, queue, softmax_backward_kernel<T, Shape>, Shape::grid(y.sizes[0]),
             Shape::block(packs), 0, RowsOf<T>(y), RowsOf<T>(dy), RowsOf<T>(dx.view), y.sizes[0],
             static_cast<int>(y.sizes[1]), log, dx.write == Write::accumulate);
    };
    dispatch_rows<T>(y, f, dy, dx.view);
  });
}

}  // namespace

void softmax_forward(const Queue& queue, const ConstView& x, const View& y) {
  forward("softmax", queue, x, y, false);
}

void log_softmax_forward(const Queue& queue, const ConstView& x, const View& y) {
  forward("log_softmax", queue, x, y, true);
}

void softmax_backward(const Queue& queue, const ConstView& y, const ConstView& dy, const Target& dx) {
  backward("softmax", queue, y, dy, dx, false);
}

void log_softmax_backward(const Queue& queue, const ConstView& y, const ConstView& dy, const Target& dx) {
  backward("log_softmax", queue, y, dy, dx, true);
}

}  // namespace reprise::kernels::cuda
