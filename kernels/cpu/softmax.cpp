// Softmax and log-softmax, a row at a time.
#include "reprise/kernels/softmax.h"

#include "parallel.h"
#include "row_exponentials.h"

namespace reprise::kernels::cpu {

using namespace cpu;

namespace {

/// Calls f.template operator()<T>(row) for every row of x, in parallel.
template <class F>
void for_each_row(const Layout& x, DType dtype, F&& f) {
  if (x.numel() == 0) return;
  dispatch_floating(dtype, [&]<class T>() {
    parallel_for(x.sizes[0], grain_of_rows(kGrainExponentials, x.sizes[1]),
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t row = begin; row < end; ++row) f.template operator()<T>(row);
                 });
  });
}

template <class T>
void softmax_row(const T* x, T* y, std::int64_t n) {
  using C = Compute<T>;
  if constexpr (kIsCompute<T>) {
    // The exponentials wait in y for their sum.
    const C largest = lane_max(x, n);
    const C sum = lane_sum<C>(n, [=](std::int64_t i) { return y[i] = math::exp(x[i] - largest); });
    const C factor = C{1} / sum;
#pragma omp simd
    for (std::int64_t i = 0; i < n; ++i) y[i] *= factor;
  } else {
    const RowExponentials<C> row = row_exponentials(x, n);
    const C largest = row.largest, factor = C{1} / row.sum;
    alignas(64) C buffer[kPiece];
    for_each_piece(n, [&](std::int64_t first, std::int64_t count) {
      const C* const in = read_piece(x + first, count, buffer);
      write_piece(y + first, count, Write::overwrite, [=](C* out) {
#pragma omp simd
        for (std::int64_t i = 0; i < count; ++i) out[i] = math::exp(in[i] - largest) * factor;
      });
    });
  }
}

template <class T>
void log_softmax_row(const T* x, T* y, std::int64_t n) {
  using C = Compute<T>;
  const RowExponentials<C> row = row_exponentials(x, n);
  const C largest = row.largest, log_sum = row.log_sum();
  alignas(64) C buffer[kPiece];
  for_each_piece(n, [&](std::int64_t first, std::int64_t count) {
    const C* const in = read_piece(x + first, count, buffer);
    write_piece(y + first, count, Write::overwrite, [=](C* out) {
#pragma omp simd
      for (std::int64_t i = 0; i < count; ++i) out[i] = (in[i] - largest) - log_sum;
    });
  });
}

/// A row of y and one of dy, piece by piece: f(y, dy, first, count).
template <class T, class F>
void for_each_pair(const T* y, const T* dy, std::int64_t n, F&& f) {
  using C = Compute<T>;
  alignas(64) C y_buffer[kPiece], dy_buffer[kPiece];
  for_each_piece(n, [&](std::int64_t first, std::int64_t count) {
    f(read_piece(y + first, count, y_buffer), read_piece(dy + first, count, dy_buffer), first, count);
  });
}

template <class T>
void softmax_backward_row(const T* y, const T* dy, T* dx, std::int64_t n, Write write) {
  using C = Compute<T>;
  C sum = 0;
  for_each_pair(y, dy, n, [&](const C* p, const C* g, std::int64_t, std::int64_t count) {
    sum += lane_sum<C>(count, [=](std::int64_t i) { return p[i] * g[i]; });
  });
  for_each_pair(y, dy, n, [&](const C* p, const C* g, std::int64_t first, std::int64_t count) {
    write_piece(dx + first, count, write, [=](C* out) {
#pragma omp simd
      for (std::int64_t i = 0; i < count; ++i) out[i] = p[i] * (g[i] - sum);
    });
  });
}

template <class T>
void log_softmax_backward_row(const T* y, const T* dy, T* dx, std::int64_t n, Write write) {
  using C = Compute<T>;
  C sum = 0;
  alignas(64) C buffer[kPiece];
  for_each_piece(n, [&](std::int64_t first, std::int64_t count) {
    const C* const g = read_piece(dy + first, count, buffer);
    sum += lane_sum<C>(count, [=](std::int64_t i) { return g[i]; });
  });
  for_each_pair(y, dy, n, [&](const C* log_p, const C* g, std::int64_t first, std::int64_t count) {
    write_piece(dx + first, count, write, [=](C* out) {
#pragma omp simd
      for (std::int64_t i = 0; i < count; ++i) out[i] = g[i] - math::exp(log_p[i]) * sum;
    });
  });
}

}  // namespace

void softmax_forward(const Queue&, const ConstView& x, const View& y) {
  for_each_row(x, x.dtype, [&]<class T>(std::int64_t row) {
    softmax_row(x.as<T>() + row * x.strides[0], y.as<T>() + row * y.strides[0], x.sizes[1]);
  });
}

void log_softmax_forward(const Queue&, const ConstView& x, const View& y) {
  for_each_row(x, x.dtype, [&]<class T>(std::int64_t row) {
    log_softmax_row(x.as<T>() + row * x.strides[0], y.as<T>() + row * y.strides[0], x.sizes[1]);
  });
}

void softmax_backward(const Queue&, const ConstView& y, const ConstView& dy, const Target& dx) {
  if (!dx) return;
  for_each_row(y, y.dtype, [&]<class T>(std::int64_t row) {
    softmax_backward_row(y.as<T>() + row * y.strides[0], dy.as<T>() + row * dy.strides[0],
                         dx.view.as<T>() + row * dx.view.strides[0], y.sizes[1], dx.write);
  });
}

void log_softmax_backward(const Queue&, const ConstView& y, const ConstView& dy, const Target& dx) {
  if (!dx) return;
  for_each_row(y, y.dtype, [&]<class T>(std::int64_t row) {
    log_softmax_backward_row(y.as<T>() + row * y.strides[0], dy.as<T>() + row * dy.strides[0],
                             dx.view.as<T>() + row * dx.view.strides[0], y.sizes[1], dx.write);
  });
}

}  // namespace reprise::kernels::cpu
