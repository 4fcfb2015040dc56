// Small random models inside random trees of checkpoint segments.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <vector>

#include "reprise/reprise.h"

namespace reprise::test {

/// A random chain of small layers inside random nested segments; the same for the same seed.
class RandomModel {
 public:
  /// Without segments, what it computes is the same.
  explicit RandomModel(std::uint32_t seed, bool segments = true) : random_(seed), segments_(segments) {
    rows_ = draw(1, 9);
    for (std::int64_t i = draw(1, 4); i > 0; --i) {
      const std::int64_t width = draw(1, 40);
      const std::int64_t from = weights_.empty() ? width : weights_.back().size(1);
      weights_.push_back(randn({from, width}, {.category = Category::parameters}).set_requires_grad(true));
    }
    shape_seed_ = random_();
  }

  Tensor loss() {
    std::mt19937 shape(shape_seed_);
    Tensor x = randn({rows_, weights_.front().size(0)});
    for (const Tensor& weight : weights_) x = layers(matmul(x, weight), shape, 3);
    return mean(x * x);
  }
  std::vector<Tensor> parameters() const { return weights_; }

 private:
  std::int64_t draw(std::int64_t least, std::int64_t most) {
    return std::uniform_int_distribution<std::int64_t>(least, most)(random_);
  }

  Tensor layers(Tensor x, std::mt19937& shape, int depth) const {
    const auto one_of = [&](unsigned n) { return shape() % n; };
    if (depth > 0 && one_of(2) == 0) {
      const checkpoint::SegmentOptions options{
          .drop = one_of(2) == 0 ? checkpoint::Drop::everything : checkpoint::Drop::cheap,
          .spare_last = one_of(2) == 0};
      std::optional<checkpoint::Segment> segment;
      if (segments_) segment.emplace("segment", options);
      x = layers(std::move(x), shape, depth - 1);
      if (one_of(2) == 0) x = layers(std::move(x), shape, depth - 1);
      return x;
    }
    switch (one_of(6)) {
      case 0:
        return gelu(std::move(x));
      case 1:
        return softmax(x, -1);
      case 2:
        return dropout(std::move(x), 0.3);
      case 3:
        return x + exp(x);
      case 4:
        return relu(x) * x;
      default:
        return tanh(std::move(x)) * 2.0;
    }
  }

  std::mt19937 random_;
  bool segments_;
  std::int64_t rows_ = 1;
  std::vector<Tensor> weights_;
  std::mt19937::result_type shape_seed_ = 0;
};

}  // namespace reprise::test
