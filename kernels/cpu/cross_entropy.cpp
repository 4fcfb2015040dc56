// Cross entropy: log-softmax and the choice of the target, without storing a probability.
#include "reprise/kernels/softmax.h"

#include "parallel.h"
#include "row_exponentials.h"

namespace reprise::kernels::cpu {

using namespace cpu;

namespace {

/// Targets of either integer type.
class Targets {
 public:
  explicit Targets(const ConstView& view)
      : narrow_(view.dtype == DType::int32 ? view.as<std::int32_t>() : nullptr),
        wide_(view.dtype == DType::int32 ? nullptr : view.as<std::int64_t>()) {}
  std::int64_t operator[](std::int64_t row) const { return narrow_ != nullptr ? narrow_[row] : wide_[row]; }

 private:
  const std::int32_t* narrow_;
  const std::int64_t* wide_;
};

/// The sum or mean of the rows' losses, in the order of the rows.
template <class C>
void reduce_losses(Reduction reduction, const C* row_loss, std::int64_t rows, std::int64_t count,
                   const View& total) {
  if (reduction == Reduction::none || !total) return;
  double sum = 0;
  for (std::int64_t row = 0; row < rows; ++row) sum += static_cast<double>(row_loss[row]);
  if (reduction == Reduction::mean) sum /= static_cast<double>(count);
  *total.as<C>() = static_cast<C>(sum);
}

/// dx (=, +=) (exp(x - largest) / sum - onehot(target)) * factor for one row.
template <class T>
void cross_entropy_backward_row(const T* x, T* dx, std::int64_t n, std::int64_t target,
                                RowExponentials<Compute<T>> row, Compute<T> factor, Write write) {
  using C = Compute<T>;
  const C largest = row.largest, scale = factor / row.sum;
  alignas(64) C buffer[kPiece];
  for_each_piece(n, [&](std::int64_t first, std::int64_t count) {
    const C* const in = read_piece(x + first, count, buffer);
    write_piece(dx + first, count, write, [=](C* out) {
#pragma omp simd
      for (std::int64_t i = 0; i < count; ++i) out[i] = math::exp(in[i] - largest) * scale;
      if (first <= target && target < first + count) out[target - first] -= factor;
    });
  });
}

}  // namespace

std::int64_t cross_entropy_forward(const Queue&, Reduction reduction, std::int64_t ignore_index,
                                   const ConstView& logits, const ConstView& targets, const View& row_loss,
                                   const View& statistics, const View& total, const View& count) {
  const std::int64_t rows = logits.sizes[0], classes = logits.sizes[1];
  const Targets target(targets);
  std::int64_t used = 0;
  for (std::int64_t row = 0; row < rows; ++row) {
    if (target[row] == ignore_index) continue;
    if (target[row] < 0 || target[row] >= classes) return target[row];
    ++used;
  }
  dispatch_floating(logits.dtype, [&]<class T>() {
    using C = Compute<T>;
    const std::int64_t grain = grain_of_rows(kGrainExponentials, classes);
    parallel_for(rows, grain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        const T* const x = logits.as<T>() + row * logits.strides[0];
        const RowExponentials<C> exponentials = row_exponentials(x, classes);
        const C log_sum = exponentials.log_sum();
        statistics.as<C>()[2 * row] = exponentials.largest;
        statistics.as<C>()[2 * row + 1] = exponentials.sum;
        row_loss.as<C>()[row] = target[row] == ignore_index
                                    ? C{0}
                                    : (exponentials.largest - static_cast<C>(x[target[row]])) + log_sum;
      }
    });
    *count.as<C>() = static_cast<C>(used);
    reduce_losses(reduction, row_loss.as<C>(), rows, used, total);
  });
  return ignore_index;
}

void cross_entropy_backward(const Queue&, Reduction reduction, std::int64_t ignore_index,
                            const ConstView& logits, const ConstView& targets, const ConstView& statistics,
                            const ConstView& count, const ConstView& dloss, const Target& dlogits) {
  if (!dlogits || logits.numel() == 0) return;
  const std::int64_t classes = logits.sizes[1];
  const Targets target(targets);
  dispatch_floating(logits.dtype, [&]<class T>() {
    using C = Compute<T>;
    const C divisor = reduction == Reduction::mean ? *count.as<C>() : C{1};
    const std::int64_t grain = grain_of_rows(kGrainExponentials, classes);
    parallel_for(logits.sizes[0], grain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        T* const dx = dlogits.view.as<T>() + row * dlogits.view.strides[0];
        if (target[row] == ignore_index) {
          if (dlogits.write == Write::overwrite) std::fill_n(dx, classes, T(0.0f));
          continue;
        }
        const C factor = dloss.as<C>()[reduction == Reduction::none ? row : 0] / divisor;
        const C* const of_row = statistics.as<C>() + 2 * row;
        cross_entropy_backward_row(logits.as<T>() + row * logits.strides[0], dx, classes, target[row],
                                   {of_row[0], of_row[1]}, factor, dlogits.write);
      }
    });
  });
}

}  // namespace reprise::kernels::cpu
