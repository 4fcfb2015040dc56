// Matrix products through Eigen, which runs serially here: its own threads halve the speed of small products.
//
// Eigen packs panels of its operands into buffers of about the size of the second cache. Those up to 128 KiB
// lie on the stack; larger ones come from the heap for the time of one product, beside the pool, a few MiB
// per thread at most.
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own AVX-512 header reads variables that are undefined on purpose.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#define EIGEN_DONT_PARALLELIZE
#define EIGEN_MPL2_ONLY
#include <Eigen/Core>
#include <algorithm>

#include "parallel.h"
#include "product.h"

namespace reprise::kernels::cpu::eigen {

namespace {

/// Multiplications that take a thread some 20 microseconds.
constexpr double kTaskMultiplications = 500'000;

/// Pieces of one matrix begin at multiples of this, so that no vector is cut.
constexpr std::int64_t kPieceUnit = 16;

template <class T, int kOrder>
auto map(const Block<T>& block, std::int64_t rows, std::int64_t columns) {
  using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, kOrder>;
  return Eigen::Map<const Matrix, Eigen::Unaligned, Eigen::OuterStride<>>(
      block.data, rows, columns, Eigen::OuterStride<>(kOrder == Eigen::RowMajor ? block.row : block.column));
}

/// f(a as an Eigen expression of the right order).
template <class T, class F>
void with_order(const Block<T>& block, std::int64_t rows, std::int64_t columns, F&& f) {
  if (block.column == 1)
    f(map<T, Eigen::RowMajor>(block, rows, columns));
  else
    f(map<T, Eigen::ColMajor>(block, rows, columns));
}

/// How the threads share a product: each task is a range of rows or of columns of one matrix of c.
struct Tasks {
  std::int64_t pieces = 1;  // of each matrix
  std::int64_t piece = 0;   // rows or columns of a piece
  bool rows = true;
  std::int64_t grain = 1;  // tasks that a thread should have at least
};

Tasks divide(const Product& p) {
  Tasks tasks;
  const std::int64_t batches = p.batches(), threads = num_threads();
  const double work = p.multiplications();
  tasks.rows = p.m >= p.n;
  const std::int64_t length = tasks.rows ? p.m : p.n;
  const auto worthwhile = static_cast<std::int64_t>(work / kTaskMultiplications) + 1;
  const std::int64_t wanted = (std::min(threads, worthwhile) + batches - 1) / batches;
  const std::int64_t units = (length + kPieceUnit - 1) / kPieceUnit;
  tasks.piece = (units + wanted - 1) / wanted * kPieceUnit;
  tasks.pieces = (length + tasks.piece - 1) / tasks.piece;
  const double per_task = work / static_cast<double>(batches * tasks.pieces);
  tasks.grain = std::max<std::int64_t>(1, static_cast<std::int64_t>(kTaskMultiplications / per_task));
  return tasks;
}

std::int64_t batch_offset(const Product& p, const MatrixStrides& strides, std::int64_t index) {
  std::int64_t offset = 0;
  for (int axis = p.batch_rank - 1; axis >= 0; --axis) {
    offset += index % p.batch[axis] * strides.batch[axis];
    index /= p.batch[axis];
  }
  return offset;
}

template <class T>
void run_task(const Product& p, const ProductData& data, const Tasks& tasks, std::int64_t task) {
  const std::int64_t batch = task / tasks.pieces;
  const std::int64_t begin = task % tasks.pieces * tasks.piece;
  const std::int64_t row = tasks.rows ? begin : 0, column = tasks.rows ? 0 : begin;
  const std::int64_t m = tasks.rows ? std::min(tasks.piece, p.m - begin) : p.m;
  const std::int64_t n = tasks.rows ? p.n : std::min(tasks.piece, p.n - begin);

  const T* a = static_cast<const T*>(data.a) + batch_offset(p, p.a, batch) + row * p.a.row;
  const T* b = static_cast<const T*>(data.b) + batch_offset(p, p.b, batch) + column * p.b.column;
  T* c = static_cast<T*>(data.c) + batch_offset(p, p.c, batch) + row * p.c.row + column;
  if (p.bias) {
    const T* bias = static_cast<const T*>(data.bias) + column;
    for (std::int64_t i = 0; i < m; ++i) std::copy_n(bias, n, c + i * p.c.row);
  }
  multiply_block<T>(m, n, p.k, static_cast<T>(p.alpha), {a, p.a.row, p.a.column}, {b, p.b.row, p.b.column}, c,
                    p.c.row, p.accumulate || p.bias);
}

}  // namespace

template <class T>
void multiply_block(std::int64_t m, std::int64_t n, std::int64_t k, T alpha, Block<T> a, Block<T> b, T* c,
                    std::int64_t c_row, bool accumulate) {
  using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  Eigen::Map<Matrix, Eigen::Unaligned, Eigen::OuterStride<>> result(c, m, n, Eigen::OuterStride<>(c_row));
  with_order(a, m, k, [&](const auto& left) {
    with_order(b, k, n, [&](const auto& right) {
      if (accumulate)
        result.noalias() += alpha * left * right;
      else
        result.noalias() = alpha * left * right;
    });
  });
}

template void multiply_block(std::int64_t, std::int64_t, std::int64_t, float, Block<float>, Block<float>,
                             float*, std::int64_t, bool);
template void multiply_block(std::int64_t, std::int64_t, std::int64_t, double, Block<double>, Block<double>,
                             double*, std::int64_t, bool);

void multiply(const Product& p, const ProductData& data) {
  const Tasks tasks = divide(p);
  parallel_for(p.batches() * tasks.pieces, tasks.grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      if (p.dtype == DType::float64)
        run_task<double>(p, data, tasks, task);
      else
        run_task<float>(p, data, tasks, task);
    }
  });
}

}  // namespace reprise::kernels::cpu::eigen
