// The sort of ids where one block scans the counts of more tiles than it has threads.
#include <catch2/catch.hpp>

#include "reprise/reprise.h"

namespace reprise::test {

TEST_CASE("the gradient of a table counts a quarter of a million ids", "[simt][engine]") {
  const OnDevice cuda(Device::cuda());
  constexpr std::int64_t kIds = 257 * 1024 + 5;
  std::vector<std::int32_t> ids(kIds);
  std::vector<float> counts(3);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    ids[i] = static_cast<std::int32_t>((i + i / 1000) % counts.size());
    ++counts[static_cast<std::size_t>(ids[i])];
  }
  Tensor table = ones({3, 1}).set_requires_grad(true);
  sum(embedding(table, from_host<std::int32_t>(ids, {kIds}, {.dtype = DType::int32}))).backward();
  CHECK(table.grad().to_vector<float>() == counts);
}

}  // namespace reprise::test
