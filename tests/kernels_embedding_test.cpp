// Embedding against plain loops in double.
#include <catch2/catch.hpp>

#include "kernel_checks.h"
#include "reprise/kernels/embedding.h"

using namespace reprise;
using namespace reprise::kernels;

namespace {

struct Table {
  std::int64_t vocabulary, columns, ids;
};
const Table kTables[] = {{1, 1, 1},     {5, 31, 40},  {7, 32, 3}, {100, 33, 1000}, {3, 1000, 33},
                         {50, 2100, 7}, {4, 3, 5000}, {5, 3, 0},  {5, 0, 4}};

Doubles some_ids(const Table& table) {
  Doubles ids = random_values(table.ids, 1, 0, 1000);
  for (double& id : ids) id = std::fmod(std::floor(std::abs(id)), static_cast<double>(table.vocabulary));
  return ids;
}

}  // namespace

TEST_CASE("embedding copies rows by id", "[kernels][embedding]") {
  for (const Table& table : kTables) {
    for (const DType dtype : kFloatTypes) {
      for (const DType integer : {DType::int32, DType::int64}) {
        CAPTURE(table.vocabulary, table.columns, table.ids, name_of(dtype), name_of(integer));
        const KernelTensor weight = tensor_of(dtype, {table.vocabulary, table.columns},
                                              random_values(table.vocabulary * table.columns, 2), {}, 3);
        const KernelTensor ids = tensor_of(integer, {table.ids}, some_ids(table));
        KernelTensor y(dtype, {table.ids, table.columns}, {}, 1);
        CHECK_FALSE(embedding_forward(kCpu, weight, ids, y).has_value());
        Doubles expected;
        for (std::int64_t i = 0; i < y.numel(); ++i) {
          const auto id = static_cast<std::int64_t>(ids.get(i / table.columns));
          expected.push_back(weight.get(id * table.columns + i % table.columns));
        }
        CHECK(y.values() == expected);
        CHECK(y.guards_intact());
      }
    }
  }
}

TEST_CASE("embedding finds the first id that is out of range", "[kernels][embedding]") {
  const KernelTensor weight = tensor_of(DType::float32, {5, 2}, random_values(10, 3));
  const std::pair<Doubles, std::optional<std::int64_t>> cases[] = {
      {{0, 4, 5, 1}, 5}, {{-1, 0, 9, 0}, -1}, {{0, 0, 0, -7}, -7}, {{0, 1, 2, 4}, std::nullopt}};
  for (const auto& [ids, bad] : cases) {
    for (const DType integer : {DType::int32, DType::int64}) {
      KernelTensor y(DType::float32, {4, 2});
      CAPTURE(ids);
      CHECK((embedding_forward(kCpu, weight, tensor_of(integer, {4}, ids), y) == bad));
    }
  }
}

TEST_CASE("the gradient of embedding adds rows by id, written and added", "[kernels][embedding]") {
  for (const Table& table : kTables) {
    for (const DType dtype : kFloatTypes) {
      for (const DType integer : {DType::int32, DType::int64}) {
        CAPTURE(table.vocabulary, table.columns, table.ids, name_of(dtype), name_of(integer));
        const std::int64_t n = table.vocabulary * table.columns;
        const KernelTensor ids = tensor_of(integer, {table.ids}, some_ids(table));
        const KernelTensor dy = tensor_of(dtype, {table.ids, table.columns},
                                          random_values(table.ids * table.columns, 4, 1, 1), {}, 2);
        Doubles expected(static_cast<std::size_t>(n), 0.0);
        for (std::int64_t i = 0; i < dy.numel(); ++i) {
          const auto id = static_cast<std::int64_t>(ids.get(i / table.columns));
          expected[static_cast<std::size_t>(id * table.columns + i % table.columns)] += dy.get(i);
        }
        // A sum of 16-bit floats is rounded once for every 2048 ids.
        const double scale = sizeof(float) * static_cast<double>(1 + table.ids / 100);
        const double rtol = 3 * unit_roundoff(dtype) + scale * unit_roundoff(compute_dtype(dtype));

        KernelTensor dweight(dtype, {table.vocabulary, table.columns}, {}, 1);
        embedding_backward(kCpu, ids, dy, {dweight, Write::overwrite}, {});
        CHECK(difference(dweight.values(), expected, 64 * scale * unit_roundoff(compute_dtype(dtype)),
                         rtol) == "");
        CHECK(dweight.guards_intact());

        KernelTensor added =
            tensor_of(dtype, {table.vocabulary, table.columns}, Doubles(static_cast<std::size_t>(n), 1.0));
        embedding_backward(kCpu, ids, dy, {added, Write::accumulate}, {});
        CHECK(difference(added.values(), sum_of(Doubles(static_cast<std::size_t>(n), 1.0), expected),
                         64 * scale * unit_roundoff(compute_dtype(dtype)), rtol) == "");
      }
    }
  }
}

TEST_CASE("the gradient of embedding has the same bits on any number of threads", "[kernels][embedding]") {
  const Table table{17, 300, 3000};
  for (const DType dtype : kFloatTypes) {
    const KernelTensor ids = tensor_of(DType::int64, {table.ids}, some_ids(table));
    const KernelTensor dy =
        tensor_of(dtype, {table.ids, table.columns}, random_values(table.ids * table.columns, 5));
    const auto gradient = [&](int threads) {
      const ThreadsScope scope(threads);
      KernelTensor dweight(dtype, {table.vocabulary, table.columns});
      embedding_backward(kCpu, ids, dy, {dweight, Write::overwrite}, {});
      return dweight.values();
    };
    CAPTURE(name_of(dtype));
    const Doubles expected = gradient(1);
    CHECK(gradient(2) == expected);
    CHECK(gradient(4) == expected);
  }
}
