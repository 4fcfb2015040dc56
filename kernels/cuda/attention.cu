// Attention on CUDA: checks, the choice of kernels, and delta_i = sum_d dout_id out_id, which both passes of
// the backward need. Forward keeps nothing but two statistics of each row; the backward's scratch is delta,
// so memory is linear in the sequence.
#include <cmath>

#include "cuda/attention_tile.cuh"

namespace reprise::kernels::cuda {

using namespace attention;

namespace {

constexpr int kDeltaThreads = 256;

/// delta (B, H, T) = row sums of dout * out. 2^shift lanes share a row, each takes 16 bytes of both.
template <class T>
__global__ void __launch_bounds__(kDeltaThreads)
    delta_kernel(Problem problem, Heads<const T> dout, Heads<const T> out, std::int64_t rows, int shift,
                 float* __restrict__ delta) {
  const std::int64_t thread = static_cast<std::int64_t>(blockIdx.x) * kDeltaThreads + threadIdx.x;
  const std::int64_t row = thread >> shift;
  const int column = static_cast<int>(thread & ((1 << shift) - 1)) * kPack<T>;
  float sum = 0.0f;
  if (row < rows && column < problem.size) {
    const int sequence = static_cast<int>(row / problem.length);
    const std::int64_t of_head = row % problem.length;
    const T* const x = dout.of(sequence, problem.heads) + of_head * dout.row + column;
    const T* const y = out.of(sequence, problem.heads) + of_head * out.row + column;
    if (dout.packed && out.packed) {
      float a[kPack<T>], b[kPack<T>];
      load_pack<T>(x, a);
      load_pack<T>(y, b);
#pragma unroll
      for (int i = 0; i < kPack<T>; ++i) sum = fmaf(a[i], b[i], sum);
    } else {
      for (int i = 0; i < kPack<T> && column + i < problem.size; ++i)
        sum = fmaf(to_compute(x[i]), to_compute(y[i]), sum);
    }
  }
  for (int step = 1; step < 1 << shift; step *= 2) sum += __shfl_xor_sync(kAllLanes, sum, step);
  if (row < rows && column == 0) delta[row] = sum;
}

template <class T>
void launch_delta(const Queue& queue, const Problem& problem, const Heads<const T>& dout,
                  const Heads<const T>& out, float* delta) {
  const std::int64_t rows = problem.sequences * problem.length;
  int shift = 0;
  while ((kPack<T> << shift) < problem.size) ++shift;
  const auto blocks = static_cast<unsigned>(ceil_div(rows << shift, kDeltaThreads));
  launch("attention", queue, delta_kernel<T>, blocks, kDeltaThreads, 0, problem, dout, out, rows, shift,
         delta);
}

Problem problem_of(const Queue& queue, const AttentionParams& params, RandomKey key, const ConstView& q) {
  constexpr double kLog2E = 1.4426950408889634;
  if (q.sizes[3] > kLargestHead) {
    throw ShapeError("[attention] heads of size " + std::to_string(q.sizes[3]) +
                     " are not available on cuda, at most " + std::to_string(kLargestHead) +
                     "; use more heads or the CPU");
  }
  const auto exponent = static_cast<float>(params.scale * kLog2E);
  return {q.sizes[0] * q.sizes[1],
          static_cast<int>(q.sizes[1]),
          static_cast<int>(q.sizes[2]),
          static_cast<int>(q.sizes[3]),
          group_of(q.sizes[0] * q.sizes[1], q.sizes[2], q.sizes[3], q.dtype),
          params.causal,
          params.dropout > 0.0,
          static_cast<float>(params.scale),
          exponent,
          exponent > 0.0f   ? 1.0f
          : exponent < 0.0f ? -1.0f
                            : 0.0f,
          exponent == 0.0f ? 1.0f : std::fabs(exponent),
          key,
          queue.node_offset,
          philox::drop_rule(params.dropout),
          static_cast<float>(philox::keep_scale(params.dropout))};
}

}  // namespace

void attention_forward(const Queue& queue, const AttentionParams& params, RandomKey key, const ConstView& q,
                       const ConstView& k, const ConstView& v, const View& out, const View& statistics,
                       const Workspace&) {
  if (q.numel() == 0) return;
  const Problem problem = problem_of(queue, params, key, q);
  dispatch_trained("attention", q.dtype, [&]<class T>() {
    launch_forward(queue, problem,
                   Forward<T>{heads_of<const T>(q), heads_of<const T>(k), heads_of<const T>(v),
                              heads_of<T>(out), statistics.as<float2>()});
  });
}

void attention_backward(const Queue& queue, const AttentionParams& params, RandomKey key, const ConstView& q,
                        const ConstView& k, const ConstView& v, const ConstView& out,
                        const ConstView& statistics, const ConstView& dout, const Target& dq,
                        const Target& dk, const Target& dv, const Workspace& workspace) {
  if (q.numel() == 0 || !(dq || dk || dv)) return;
  const Problem problem = problem_of(queue, params, key, q);
  require_workspace("attention", workspace, delta_bytes(q));
  dispatch_trained("attention", q.dtype, [&]<class T>() {
    const auto target = [](const Target& to) { return to ? heads_of<T>(to.view, to.write) : Heads<T>{}; };
    float* const delta = static_cast<float*>(workspace.data);
    const Backward<T> tensors{heads_of<const T>(q),
                              heads_of<const T>(k),
                              heads_of<const T>(v),
                              heads_of<const T>(dout),
                              target(dq),
                              target(dk),
                              target(dv),
                              statistics.as<float2>(),
                              delta};
    launch_delta<T>(queue, problem, tensors.dout, heads_of<const T>(out), delta);
    if (dk || dv) launch_key_gradients(queue, problem, tensors);
    if (dq) launch_query_gradient(queue, problem, tensors);
  });
}

}  // namespace reprise::kernels::cuda
