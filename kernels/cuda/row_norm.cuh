// Layer norm and RMS norm: y = (x - mean) * rstd * weight + bias per row of x (M, C).
//
// Forward, a warp or a block holds the row, so x is read once and the variance needs no second read.
// Backward, see row_norm_backward.cuh; rows that are too long to be held take the two kernels here.
#pragma once

#include "cuda/row_norm_backward.cuh"
#include "cuda/rows.cuh"

namespace reprise::kernels::cuda {

template <bool kCentred, class T, class Shape>
__global__ void __launch_bounds__(Shape::kMaxThreads, Shape::kMinBlocks)
    norm_forward_kernel(const T* __restrict__ x, const T* __restrict__ weight, const T* __restrict__ bias,
                        T* __restrict__ y, float* __restrict__ means, float* __restrict__ rstds,
                        std::int64_t rows, int columns, float eps) {
  constexpr int kVec = Shape::kVec;
  const std::int64_t row = Shape::row();
  if (row >= rows) return;
  const RowPacks<T, Shape> packs(x + row * columns, columns);
  RowShare<T, Shape> share(packs, x + row * columns, 0);
  const auto mean_of = [&](auto term) {
    float sum = 0;
    for_each_pack<Shape>(
        packs,
        [&](int slot, int) {
          float values[kVec];
          share.values(slot, values);
#pragma unroll
          for (int i = 0; i < kVec; ++i) sum += term(values[i]);
        },
        share);
    return Shape::sum(sum) / static_cast<float>(columns);
  };
  const float mean = kCentred ? mean_of([](float value) { return value; }) : 0.0f;
  const float variance = mean_of([=](float value) { return (value - mean) * (value - mean); });
  const float rstd = 1.0f / sqrtf(variance + eps);
  if (threadIdx.x == 0) {
    if (kCentred) means[row] = mean;
    rstds[row] = rstd;
  }
  for_each_pack<Shape>(
      packs,
      [&](int slot, int pack) {
        float values[kVec], w[kVec], b[kVec];
        share.values(slot, values);
        read_parameters<kVec>(weight, pack * kVec, 1.0f, w);
        read_parameters<kVec>(bias, pack * kVec, 0.0f, b);
#pragma unroll
        for (int i = 0; i < kVec; ++i) values[i] = (values[i] - mean) * rstd * w[i] + b[i];
        packs.write(y + row * columns, pack, values, false);
      },
      share);
}

/// dx of one row whose shares are loaded, or are loaded twice.
template <bool kCentred, class T, class Shape>
__device__ __forceinline__ void norm_dx_of_row(const NormGradients<T>& call, std::int64_t row, float mean,
                                               float rstd, const RowPacks<T, Shape>& packs,
                                               RowShare<T, Shape>& x, RowShare<T, Shape>& dy) {
  constexpr int kVec = Shape::kVec;
  float offset = 0, slope = 0;
  const auto load = [&](int slot, int pack, float(&distance)[kVec], float(&grad)[kVec]) {
    float w[kVec];
    read_parameters<kVec>(call.weight, pack * kVec, 1.0f, w);
    x.values(slot, distance);
    dy.values(slot, grad);
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      distance[i] -= mean;
      grad[i] *= w[i];
    }
  };
  for_each_pack<Shape>(
      packs,
      [&](int slot, int pack) {
        float distance[kVec], grad[kVec];
        load(slot, pack, distance, grad);
#pragma unroll
        for (int i = 0; i < kVec; ++i) {
          if (kCentred) offset += grad[i];
          slope += grad[i] * distance[i];
        }
      },
      x, dy);
  const float n = static_cast<float>(call.columns);
  if (kCentred) offset = Shape::sum(offset) / n;
  slope = Shape::sum(slope) * rstd / n * rstd;
  for_each_pack<Shape>(
      packs,
      [&](int slot, int pack) {
        float distance[kVec], grad[kVec];
        load(slot, pack, distance, grad);
#pragma unroll
        for (int i = 0; i < kVec; ++i) grad[i] = rstd * ((grad[i] - offset) - distance[i] * slope);
        packs.write(call.dx + row * call.columns, pack, grad, call.accumulate);
      },
      x, dy);
}

/// dx where rows are too long to be held.
template <bool kCentred, class T, class Shape>
__global__ void __launch_bounds__(Shape::kMaxThreads, Shape::kMinBlocks)
    norm_dx_kernel(NormGradients<T> call) {
  const std::int64_t row = Shape::row();
  const RowPacks<T, Shape> packs(call.x + row * call.columns, call.columns);
  RowShare<T, Shape> x(packs, call.x + row * call.columns, 0), dy(packs, call.dy + row * call.columns, 0);
  norm_dx_of_row<kCentred, T, Shape>(call, row, kCentred ? call.mean[row] : 0.0f, call.rstd[row], packs, x,
                                     dy);
}

/// Sums for dweight and dbias of a chunk of rows, where rows are too long to be held.
template <bool kCentred, class T, int kVec>
__global__ void __launch_bounds__(kColumnThreads, kColumnBlocks)
    norm_parameters_kernel(NormGradients<T> call, std::int64_t chunk_rows) {
  const ColumnTask task(kVec, call.rows, chunk_rows);
  const bool inside = task.column < call.columns;
  float sums[2 * kVec] = {};
  for (std::int64_t row = task.begin; row < task.end && inside; row += blockDim.y) {
    const float mean = kCentred ? call.mean[row] : 0.0f, rstd = call.rstd[row];
    float values[kVec], grad[kVec];
    convert(read_pack<kVec>(call.x + row * call.columns + task.column), values);
    convert(read_pack<kVec>(call.dy + row * call.columns + task.column), grad);
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      sums[i] += grad[i] * ((values[i] - mean) * rstd);
      if (kCentred) sums[kVec + i] += grad[i];
    }
  }
  add_up_rows(sums);
  if (threadIdx.y != 0 || !inside) return;
  float* const to = call.partials + std::int64_t{blockIdx.y} * 2 * call.columns + task.column;
#pragma unroll
  for (int i = 0; i < kVec; ++i) {
    to[i] = sums[i];
    to[call.columns + i] = sums[kVec + i];
  }
}

template <bool kCentred>
void norm_forward(const char* operation, const Queue& queue, double eps, const ConstView& x,
                  const ConstView& weight, const ConstView& bias, const View& y, const View& mean,
                  const View& rstd) {
  const std::int64_t rows = x.sizes[0], columns = x.sizes[1];
  dispatch_trained(operation, x.dtype, [&]<class T>() {
    if (rows == 0 || columns == 0) return;
    const bool packed = lines_aligned16<T>(x.data, columns) && aligned16(y.data) && aligned16(weight.data) &&
                        aligned16(bias.data);
    dispatch_pack<T>(packed, [&]<int kVec>() {
      const std::int64_t packs = ceil_div(columns, kVec);
      dispatch_row_shape<kVec, true, 1>(packs, [&]<class Shape>() {
        launch(operation, queue, norm_forward_kernel<kCentred, T, Shape>, Shape::grid(rows),
               Shape::block(packs), 0, x.as<T>(), weight.as<T>(), bias.as<T>(), y.as<T>(), mean.as<float>(),
               rstd.as<float>(), rows, static_cast<int>(columns), static_cast<float>(eps));
      });
    });
  });
}

/// Launches the kernels that make dx and the partial sums; returns how many of the latter there are.
template <bool kCentred, class T, int kVec>
int launch_norm_gradients(const char* operation, const Queue& queue, const NormGradients<T>& call) {
  const NormPlan norm_plan(multiprocessors(), call.rows, call.columns, kVec);
  if (norm_plan.packs > 0) {
    dispatch_norm_shape<kVec>(norm_plan, [&]<class Shape>() {
      launch(operation, queue, norm_backward_kernel<kCentred, T, Shape>,
             dim3(static_cast<unsigned>(norm_plan.blocks)),
             dim3(static_cast<unsigned>(norm_plan.width), static_cast<unsigned>(norm_plan.height)), 0, call);
    });
    return static_cast<int>(norm_plan.blocks);
  }
  if (call.dx != nullptr) {
    using Shape = RowShape<kVec, kVec == 1 ? 8 : 2, false, true, true>;
    launch(operation, queue, norm_dx_kernel<kCentred, T, Shape>, Shape::grid(call.rows),
           Shape::block(ceil_div(call.columns, kVec)), 0, call);
  }
  if (call.partials == nullptr) return 0;
  const ColumnPlan plan(multiprocessors(), call.rows, call.columns, kVec);
  launch(operation, queue, norm_parameters_kernel<kCentred, T, kVec>, grid_of(plan), block_of(plan), 0, call,
         plan.chunk_rows);
  return plan.chunks;
}

template <bool kCentred>
void norm_backward(const char* operation, const Queue& queue, const ConstView& x, const ConstView& weight,
                   const ConstView& mean, const ConstView& rstd, const ConstView& dy, const Target& dx,
                   const Target& dweight, const Target& dbias, const Workspace& workspace) {
  const std::int64_t rows = x.sizes[0], columns = x.sizes[1];
  dispatch_trained(operation, x.dtype, [&]<class T>() {
    if (columns == 0) return;
    const bool sums = dweight || dbias;
    if (sums) require_workspace(operation, workspace, norm_partials_bytes(x));
    const NormGradients<T> call{x.as<T>(),
                                weight.as<T>(),
                                mean.as<float>(),
                                rstd.as<float>(),
                                dy.as<T>(),
                                dx.view.as<T>(),
                                sums ? static_cast<float*>(workspace.data) : nullptr,
                                rows,
                                static_cast<int>(columns),
                                dx.write == Write::accumulate};
    int chunks = 0;
    const bool packed = lines_aligned16<T>(x.data, columns) && aligned16(dy.data) &&
                        aligned16(dx.view.data) && aligned16(weight.data);
    dispatch_pack<T>(packed, [&]<int kVec>() {
      if (rows > 0) chunks = launch_norm_gradients<kCentred, T, kVec>(operation, queue, call);
    });
    combine_chunks<T>(operation, queue, call.partials, chunks, 2 * columns, columns, {0, dweight},
                      {columns, dbias});
  });
}

}  // namespace reprise::kernels::cuda
