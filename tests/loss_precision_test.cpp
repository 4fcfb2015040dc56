// The precision of losses and of attention where logits are large and chunks are many, against double.
#include "tape_support.h"

#include <algorithm>

#include "reprise/kernels/dtype.h"

using namespace tape_test;

namespace {

/// The largest difference in units of the largest expected element.
double error(const Tensor& found, const Doubles& expected) {
  const Doubles elements = found.to(DType::float64).to_vector<double>();
  double worst = 0, largest = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double difference = std::fabs(elements.at(i) - expected[i]);
    worst = std::isnan(difference) ? difference : std::max(worst, difference);
    largest = std::max(largest, std::fabs(expected[i]));
  }
  return worst / largest;
}

Tensor leaf_of(const Tensor& x, DType dtype) { return x.to(dtype).detach().set_requires_grad(true); }

struct Gradients {
  Doubles x, weight;
};

/// Of the sum of cross_entropy(x weight^T, targets) over all rows, in double.
Gradients formula(const Doubles& x, const Doubles& weight, const std::vector<std::int64_t>& targets,
                  std::size_t channels) {
  const std::size_t rows = targets.size(), classes = weight.size() / channels;
  Gradients result{Doubles(x.size()), Doubles(weight.size())};
  for (std::size_t row = 0; row < rows; ++row) {
    Doubles logits(classes);
    for (std::size_t v = 0; v < classes; ++v) {
      for (std::size_t c = 0; c < channels; ++c)
        logits[v] += x[row * channels + c] * weight[v * channels + c];
    }
    const double largest = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (const double logit : logits) sum += std::exp(logit - largest);
    for (std::size_t v = 0; v < classes; ++v) {
      const bool hit = targets[row] == static_cast<std::int64_t>(v);
      const double slope = std::exp(logits[v] - largest) / sum - (hit ? 1 : 0);
      for (std::size_t c = 0; c < channels; ++c) {
        result.x[row * channels + c] += slope * weight[v * channels + c];
        result.weight[v * channels + c] += slope * x[row * channels + c];
      }
    }
  }
  return result;
}

}  // namespace

TEST_CASE("cross entropy's gradient is exact beside large logits", "[loss-precision]") {
  const NothingLeft check;
  for (const double offset : {1e4, 1e8, -1e8}) {
    CAPTURE(offset);
    const Tensor x = full({1, 3}, offset).set_requires_grad(true);
    const Tensor loss = cross_entropy(x, tensor<std::int64_t>({0}, {1}));
    loss.backward();
    CHECK(loss.item<float>() == Approx(std::log(3.0)));
    CHECK(error(x.grad(), {-2.0 / 3, 1.0 / 3, 1.0 / 3}) < 2e-7);
  }
}

TEST_CASE("linear cross entropy's gradients are exact beside large logits", "[loss-precision]") {
  const NothingLeft check;
  // A channel of ones carries the offset; every logit is exact in float32.
  const std::vector<std::int64_t> targets = {0, 1, 2, 3, 1};
  for (const double offset : {1e4, 1e8}) {
    for (const std::int64_t chunk : {1, 2, 5}) {
      CAPTURE(offset, chunk);
      Doubles x, weight;
      for (int row = 0; row < 5; ++row) x.insert(x.end(), {offset, static_cast<double>(row % 3)});
      for (int v = 0; v < 4; ++v) weight.insert(weight.end(), {1, 8.0 * v});
      const Tensor rows = leaf_of(tensor<double>(x, {5, 2}), DType::float32);
      const Tensor classes = leaf_of(tensor<double>(weight, {4, 2}), DType::float32);
      linear_cross_entropy(rows, classes, tensor<std::int64_t>(targets, {5}), chunk, Reduction::sum)
          .backward();
      const Gradients expected = formula(x, weight, targets, 2);
      CHECK(error(rows.grad(), expected.x) < 1e-6);
      CHECK(error(classes.grad(), expected.weight) < 1e-6);
    }
  }
}

TEST_CASE("softmax and attention are exact beside large scores", "[loss-precision]") {
  const NothingLeft check;
  for (const bool causal : {true, false}) {
    for (const double sign : {1.0, -1.0}) {
      CAPTURE(causal, sign);
      // Scores 2^23 + 0, 2 or 4: exact in float32, as is everything on the way to them.
      constexpr std::int64_t kLength = 70;
      Doubles keys, queries;
      for (std::int64_t j = 0; j < kLength; ++j) {
        queries.insert(queries.end(), {8192, 1});
        keys.insert(keys.end(), {1024, 2.0 * static_cast<double>(j % 3)});
      }
      const Shape shape{1, 1, kLength, 2};
      const AttentionOptions options{.causal = causal, .scale = sign};
      const auto run = [&](DType dtype, auto&& attend) {
        const Tensor q = leaf_of(tensor<double>(queries, shape), dtype);
        const Tensor k = leaf_of(tensor<double>(keys, shape), dtype);
        const Tensor v = leaf_of(values(shape), dtype);
        const Tensor out = attend(q, k, v, options);
        out.backward(values(shape, 0.7).to(dtype));
        return std::vector{out.detach(), q.grad(), k.grad(), v.grad()};
      };
      const std::vector<Tensor> expected = run(DType::float64, composed_attention);
      for (const auto& attend : {attention, composed_attention}) {
        const std::vector<Tensor> found = run(DType::float32, attend);
        for (std::size_t i = 0; i < found.size(); ++i) {
          CAPTURE(i);
          // Gradients of scores add up to 0 over the keys: beside keys of 1024 each rounding counts 1024
          // times.
          constexpr double kRounding = kLength * 0x1p-24;  // of a sum over the keys, or queries
          constexpr double kBounds[] = {kRounding, 2e-3, 3e-5, kRounding};  // out, dq, dk, dv
          CHECK(error(found[i], elements_of(expected[i])) < kBounds[i]);
        }
      }
    }
  }
}

TEST_CASE("chunks of a 16-bit weight's gradient add up in float32", "[loss-precision]") {
  const NothingLeft check;
  constexpr std::int64_t kRows = 2048, kChannels = 8, kClasses = 16;
  const std::vector<std::int64_t> targets(kRows, 0);  // all addends of an element have one sign
  for (const DType dtype : {DType::bfloat16, DType::float16}) {
    const Tensor x = ((values({kRows, kChannels}) + 2.0) * 0.25).to(dtype).detach();
    const Tensor weight = (values({kClasses, kChannels}, 0.6) * 0.25).to(dtype).detach();
    const Gradients expected = formula(elements_of(x.to(DType::float64)),
                                       elements_of(weight.to(DType::float64)), targets, kChannels);
    for (const std::int64_t chunks : {1, 2, 256, 2048}) {
      for (const bool accumulate : {false, true}) {
        CAPTURE(name_of(dtype), chunks, accumulate);
        const Tensor rows = leaf_of(x, dtype);
        Tensor classes = leaf_of(weight, dtype);
        Doubles wanted = expected.weight;
        if (accumulate) {
          classes.set_grad(full({kClasses, kChannels}, 64, {.dtype = dtype}));
          for (double& element : wanted) element += 64;
        }
        linear_cross_entropy(rows, classes, tensor<std::int64_t>(targets, {kRows}), kRows / chunks,
                             Reduction::sum)
            .backward();
        const double unit = dtype == DType::bfloat16 ? 1.0 / 256 : 1.0 / 2048;
        CHECK(error(classes.grad(), wanted) < unit);
        CHECK(error(rows.grad(), expected.x) < 4 * unit);
      }
    }
  }
}
