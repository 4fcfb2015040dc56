// Index arithmetic of CUDA kernels: division by multiplication, and tensors cut into pieces.
#include "cuda/strided.cuh"

#include <catch2/catch.hpp>
#include <vector>

using namespace reprise;
using namespace reprise::kernels;

TEST_CASE("cuda divisors divide", "[simt][cuda]") {
  const std::int64_t largest = (std::int64_t{1} << 31) - 1;
  for (const std::int64_t divisor :
       {std::int64_t{1}, std::int64_t{2}, std::int64_t{3}, std::int64_t{7}, std::int64_t{641},
        std::int64_t{65536}, std::int64_t{1} << 30, largest}) {
    const cuda::Divisor by(divisor);
    for (std::int64_t around = 0; around <= largest; around += 99999989) {
      const std::int64_t multiple = around / divisor * divisor;
      for (const std::int64_t n : {around, multiple, multiple - 1, largest}) {
        if (n >= 0) CHECK(by.quotient(static_cast<std::uint32_t>(n)) == n / divisor);
      }
    }
  }
}

TEST_CASE("cuda pieces make up the whole in order", "[simt][cuda]") {
  const std::vector<std::vector<std::int64_t>> cases = {{5},     {64},       {1000},    {3, 70},
                                                        {70, 3}, {2, 5, 33}, {9, 1, 64}};
  for (const auto& sizes : cases) {
    for (const std::int64_t limit : {4, 16, 64, 1024}) {
      cuda::Axes<1> axes = cuda::no_axes<1>();
      for (const std::int64_t size : sizes) axes.append(size, {1});
      std::int64_t step = 1;
      for (int axis = axes.inner(); axis >= 0; --axis) {
        axes.strides[0][axis] = step;
        step *= axes.sizes[axis];
      }
      std::vector<std::int64_t> seen;
      cuda::for_each_piece(
          axes,
          [&](const cuda::Axes<1>& piece, const auto& offsets) {
            CHECK(piece.numel() <= limit);
            const cuda::Walk<1> walk(piece);
            for (std::uint32_t i = 0; i < walk.numel; ++i) seen.push_back(offsets[0] + walk.locate(i).at[0]);
          },
          limit);
      CAPTURE(sizes, limit);
      REQUIRE(static_cast<std::int64_t>(seen.size()) == axes.numel());
      for (std::size_t i = 0; i < seen.size(); ++i) CHECK(seen[i] == static_cast<std::int64_t>(i));
    }
  }
}
