// Embedding: rows copied by id, and their gradients added up by id.
#include "reprise/kernels/embedding.h"

#include <array>
#include <cstring>

#include "parallel.h"
#include "rows.h"

namespace reprise::kernels::cpu {

using namespace cpu;

namespace {

/// Calls f(ids) with the ids in their own type.
template <class F>
void with_ids(const ConstView& ids, F&& f) {
  if (ids.dtype == DType::int32)
    f(ids.as<std::int32_t>());
  else
    f(ids.as<std::int64_t>());
}

/// to[i] += from[i]
template <class T>
void add_row(const T* from, T* to, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) to[i] += from[i];
}

/// Adds columns [begin, end) of dy's rows one after the other.
template <class T, class Id>
void add_rows_directly(const Id* ids, const ConstView& dy, const View& dweight, std::int64_t begin,
                       std::int64_t end) {
  for (std::int64_t i = 0; i < dy.sizes[0]; ++i) {
    const std::int64_t id = ids[i];
    add_row(dy.as<T>() + i * dy.strides[0] + begin, dweight.as<T>() + id * dweight.strides[0] + begin,
            end - begin);
  }
}

/// As add_rows_directly, for types that are too narrow for sums: the rows of one id among the next kBlock
/// ones are added in the type of computation, and their sum is rounded once.
template <class T, class Id>
void add_rows_by_id(const Id* ids, const ConstView& dy, const View& dweight, std::int64_t begin,
                    std::int64_t end) {
  using C = Compute<T>;
  constexpr std::int64_t kBlock = 2048;
  std::array<std::int32_t, kBlock> order;
  alignas(64) C sum[kPiece], buffer[kPiece];
  for (std::int64_t block = 0; block < dy.sizes[0]; block += kBlock) {
    const std::int64_t rows = std::min(kBlock, dy.sizes[0] - block);
    const Id* const block_ids = ids + block;
    for (std::int64_t i = 0; i < rows; ++i) order[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(i);
    const auto last = order.begin() + rows;
    std::sort(order.begin(), last, [&](std::int32_t a, std::int32_t b) {
      return block_ids[a] != block_ids[b] ? block_ids[a] < block_ids[b] : a < b;
    });
    for (auto run = order.begin(); run != last;) {
      const std::int64_t id = block_ids[*run];
      const auto run_end = std::find_if(run, last, [&](std::int32_t i) { return block_ids[i] != id; });
      for_each_piece(end - begin, [&](std::int64_t first, std::int64_t count) {
        T* const to = dweight.as<T>() + id * dweight.strides[0] + begin + first;
        load_row(to, sum, count);
        for (auto i = run; i != run_end; ++i) {
          load_row(dy.as<T>() + (block + *i) * dy.strides[0] + begin + first, buffer, count);
          add_row(buffer, sum, count);
        }
        store_row(sum, to, count);
      });
      run = run_end;
    }
  }
}

void clear(const View& dweight) {
  const std::size_t row_bytes = static_cast<std::size_t>(dweight.sizes[1]) * size_of(dweight.dtype);
  const std::int64_t stride_bytes = dweight.strides[0] * static_cast<std::int64_t>(size_of(dweight.dtype));
  parallel_for(dweight.sizes[0], grain_of_rows(kGrainElements, dweight.sizes[1]),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t row = begin; row < end; ++row) {
                   std::memset(static_cast<std::byte*>(dweight.data) + row * stride_bytes, 0, row_bytes);
                 }
               });
}

}  // namespace

std::optional<std::int64_t> embedding_forward(const Queue&, const ConstView& weight, const ConstView& ids,
                                              const View& y) {
  const std::int64_t rows = y.sizes[0], columns = y.sizes[1];
  const auto element_bytes = static_cast<std::int64_t>(size_of(weight.dtype));
  std::optional<std::int64_t> bad;
  with_ids(ids, [&](const auto* id) {
    for (std::int64_t i = 0; i < rows && !bad; ++i) {
      if (id[i] < 0 || id[i] >= weight.sizes[0]) bad = id[i];
    }
    if (bad || columns == 0) return;
    parallel_for(rows, grain_of_rows(kGrainElements, columns), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        std::memcpy(static_cast<std::byte*>(y.data) + i * y.strides[0] * element_bytes,
                    static_cast<const std::byte*>(weight.data) + id[i] * weight.strides[0] * element_bytes,
                    static_cast<std::size_t>(columns * element_bytes));
      }
    });
  });
  return bad;
}

std::size_t embedding_backward_workspace_bytes(DeviceKind, const ConstView&, const View&) { return 0; }

void embedding_backward(const Queue&, const ConstView& ids, const ConstView& dy, const Target& dweight,
                        const Workspace&) {
  if (!dweight || dweight.view.numel() == 0) return;
  if (dweight.write == Write::overwrite) clear(dweight.view);
  if (dy.sizes[0] == 0) return;
  dispatch_floating(dy.dtype, [&]<class T>() {
    // Threads share out the columns: every row of dweight is then summed in the order of the ids by each of
    // them.
    constexpr std::int64_t kMinColumns = 64;
    const std::int64_t grain = std::max(kMinColumns, grain_of_rows(kGrainElements, dy.sizes[0]));
    parallel_for(dy.sizes[1], grain, [&](std::int64_t begin, std::int64_t end) {
      with_ids(ids, [&](const auto* id) {
        if constexpr (kIsCompute<T>)
          add_rows_directly<T>(id, dy, dweight.view, begin, end);
        else
          add_rows_by_id<T>(id, dy, dweight.view, begin, end);
      });
    });
  });
}

}  // namespace reprise::kernels::cpu
