// Cross entropy of logits (M, V): sum = sum(exp(row - max)), loss = max - row[target] + log(sum), and
//   dlogits = (exp(logits - max) / sum - onehot(target)) * dloss (/ count)
// Each pass reads the logits once and stores no probability. A warp or a block takes a row, in packs that
// begin at 16-byte boundaries even where rows do not (V = 50257).
#include "cuda/exponentials.cuh"
#include "cuda/indices.cuh"
#include "reprise/kernels/softmax.h"

namespace reprise::kernels::cuda {

namespace {

/// Blocks of a multiprocessor, at least: as many as their registers leave room for.
constexpr int kMinBlocks = 4;

/// The targets, and which of them count.
struct Targets {
  Indices index;
  std::int64_t ignored;
  std::int64_t classes;

  Targets(const ConstView& targets, std::int64_t ignore_index, std::int64_t class_count)
      : index(targets), ignored(ignore_index), classes(class_count) {}
  __device__ bool counts(std::int64_t target) const {
    return target != ignored && target >= 0 && target < classes;
  }
};

/// Rows `stride` elements apart.
template <class T>
struct Logits {
  const T* data;
  std::int64_t stride, rows;
  int columns;

  explicit Logits(const ConstView& view)
      : data(view.as<T>()),
        stride(view.strides[0]),
        rows(view.sizes[0]),
        columns(static_cast<int>(view.sizes[1])) {}
};

template <class T, class Shape>
__global__ void __launch_bounds__(Shape::kMaxThreads, kMinBlocks)
    row_losses_kernel(Logits<T> logits, Targets targets, float* __restrict__ row_loss,
                      float2* __restrict__ statistics, DeviceReport* report) {
  const std::int64_t row = Shape::row();
  if (row >= logits.rows) return;
  const T* const x = logits.data + row * logits.stride;
  const RowPacks<T, Shape> packs(x, logits.columns);
  RowShare<T, Shape> share(packs, x, -INFINITY);
  const Exponentials exponentials = row_exponentials<Shape>(packs, share);
  if (threadIdx.x != 0) return;
  const float log_sum = logf(exponentials.sum);
  const std::int64_t target = targets.index[row];
  const bool counts = targets.counts(target);
  statistics[row] = make_float2(exponentials.largest, exponentials.sum);
  row_loss[row] = counts ? (exponentials.largest - to_compute(x[target])) + log_sum : 0.0f;
  if (!counts && target != targets.ignored)
    report_fault(report, DeviceFault::cross_entropy_target, target, targets.classes);
}

constexpr int kTotalThreads = 1024;

/// count, and the total in float64 where it is wanted, by one block: threads take rows in turn and are added
/// up in order.
__global__ void __launch_bounds__(kTotalThreads, 1)
    total_loss_kernel(const float* __restrict__ row_loss, Targets targets, std::int64_t rows, bool mean,
                      float* __restrict__ total, float* __restrict__ count) {
  double sum = 0;
  int used = 0;
#pragma unroll 4
  for (std::int64_t row = threadIdx.x; row < rows; row += kTotalThreads) {
    sum += static_cast<double>(row_loss[row]);
    used += targets.counts(targets.index[row]) ? 1 : 0;
  }
  sum = block_sum(sum);
  used = block_sum(used);
  if (threadIdx.x != 0) return;
  *count = static_cast<float>(used);
  if (total != nullptr) *total = static_cast<float>(mean ? sum / static_cast<double>(used) : sum);
}

/// What dlogits are made from, beside the logits.
struct LossGradient {
  Targets targets;
  const float2* statistics;    // largest and sum of each row
  const float *dloss, *count;  // count is null where the loss is no mean
  bool per_row;                // dloss is (M)

  __device__ float factor(std::int64_t row) const {
    const float divisor = count == nullptr ? 1.0f : *count;
    return dloss[per_row ? row : 0] / divisor;
  }
};

/// Loads that a thread has under way.
template <int kVec>
constexpr int kLoads = kVec == 1 ? 8 : 4;

/// A block or warp makes one of `parts` parts of a row: blocks that run at once then work on neighbouring
/// memory, and none waits for its stores. dlogits may be the logits' memory.
template <class T, class Shape>
__global__ void __launch_bounds__(Shape::kMaxThreads, kMinBlocks)
    cross_entropy_backward_kernel(Logits<T> logits, LossGradient loss, T* dlogits, std::int64_t stride,
                                  int parts, bool accumulate) {
  constexpr int kVec = Shape::kVec;
  const std::int64_t row = Shape::row() / parts;
  const int base = static_cast<int>(Shape::row() % parts) * Shape::kPacks * static_cast<int>(blockDim.x);
  if (row >= logits.rows) return;
  const std::int64_t target = loss.targets.index[row];
  const bool counts = loss.targets.counts(target);
  if (!counts && accumulate) return;
  const T* const x = logits.data + row * logits.stride;
  const RowPacks<T, Shape> packs(x, logits.columns);
  RowShare<T, Shape> share(packs, x, 0);
  share.load(packs, base);
  const float2 statistics = loss.statistics[row];
  const float largest = statistics.x, factor = counts ? loss.factor(row) : 0.0f,
              scale = counts ? factor / statistics.y : 0.0f;
  const int hit = counts ? static_cast<int>(target) : -kVec;
  for_each_slot(packs, base, [&](int slot, int pack) {
    float values[kVec];
    share.values(slot, values);
#pragma unroll
    for (int i = 0; i < kVec; ++i) values[i] = exp_for<T>(counts ? values[i] - largest : -INFINITY) * scale;
    const int at = hit - packs.column(pack);
    if (at >= 0 && at < kVec) {
#pragma unroll
      for (int i = 0; i < kVec; ++i) values[i] -= i == at ? factor : 0.0f;
    }
    packs.write(dlogits + row * stride, pack, values, accumulate);
  });
}

/// Calls f.template operator()<Shape>(packs): a warp for a short row, else a block that reads as it goes, as
/// a row is needed once only.
template <int kVec, class F>
void dispatch_rows(std::int64_t columns, F&& f) {
  const std::int64_t packs = ceil_div(columns, kVec) + 1;
  if (packs <= kWarp * kLoads<kVec>)
    f.template operator()<RowShape<kVec, kLoads<kVec>, false, false>>(packs);
  else
    f.template operator()<RowShape<kVec, kLoads<kVec>, false, true>>(packs);
}

}  // namespace

std::int64_t cross_entropy_forward(const Queue& queue, Reduction reduction, std::int64_t ignore_index,
                                   const ConstView& logits, const ConstView& targets, const View& row_loss,
                                   const View& statistics, const View& total, const View& count) {
  constexpr const char* kOperation = "cross_entropy";
  const std::int64_t rows = logits.sizes[0], classes = logits.sizes[1];
  const Targets all(targets, ignore_index, classes);
  dispatch_trained(kOperation, logits.dtype, [&]<class T>() {
    if (rows == 0) return;
    dispatch_rows<kPack<T>>(classes, [&]<class Shape>(std::int64_t packs) {
      launch(kOperation, queue, row_losses_kernel<T, Shape>, Shape::grid(rows), Shape::block(packs), 0,
             Logits<T>(logits), all, row_loss.as<float>(), statistics.as<float2>(), queue.report);
    });
  });
  float* const sum = reduction == Reduction::none ? nullptr : total.as<float>();
  launch(kOperation, queue, total_loss_kernel, dim3(1), dim3(kTotalThreads), 0, row_loss.as<float>(), all,
         rows, reduction == Reduction::mean, sum, count.as<float>());
  return ignore_index;
}

void cross_entropy_backward(const Queue& queue, Reduction reduction, std::int64_t ignore_index,
                            const ConstView& logits, const ConstView& targets, const ConstView& statistics,
                            const ConstView& count, const ConstView& dloss, const Target& dlogits) {
  constexpr const char* kOperation = "cross_entropy";
  dispatch_trained(kOperation, logits.dtype, [&]<class T>() {
    if (!dlogits || logits.numel() == 0) return;
    const LossGradient loss{Targets(targets, ignore_index, logits.sizes[1]), statistics.as<float2>(),
                            dloss.as<float>(), reduction == Reduction::mean ? count.as<float>() : nullptr,
                            reduction == Reduction::none};
    const View& to = dlogits.view;
    const bool alike =
        (reinterpret_cast<std::uintptr_t>(to.data) - reinterpret_cast<std::uintptr_t>(logits.data)) % 16 ==
            0 &&
        (to.strides[0] - logits.strides[0]) % kPack<T> == 0;
    dispatch_pack<T>(alike, [&]<int kVec>() {
      dispatch_rows<kVec>(logits.sizes[1], [&]<class Shape>(std::int64_t packs) {
        const auto parts = ceil_div(packs, std::int64_t{Shape::kPacks} * Shape::block(packs).x);
        launch(kOperation, queue, cross_entropy_backward_kernel<T, Shape>,
               Shape::grid(logits.sizes[0] * parts), Shape::block(packs), 0, Logits<T>(logits), loss,
               to.as<T>(), to.strides[0], static_cast<int>(parts), dlogits.write == Write::accumulate);
      });
    });
  });
}

}  // namespace reprise::kernels::cuda
