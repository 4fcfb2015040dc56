// Sizes near 2^63: an error that says so, or the right value; never a wrapped one.
#include "tape_support.h"

#include <cstdint>

#include "reprise/checked.h"
#include "reprise/nn/data.h"
#include "sanitizers.h"

using namespace tape_test;

namespace {

constexpr std::int64_t kMost = INT64_MAX, kLeast = INT64_MIN;

struct Refused {
  const char* message;
  std::function<void()> call;
};

Tensor long_booleans() { return expand(zeros({1}, {.dtype = DType::boolean}), {kMost / 8}); }

/// `n` of these and one more.
std::vector<Tensor> copies(const Tensor& x, std::size_t n, const Tensor& last) {
  std::vector<Tensor> all(n, x);
  all.push_back(last);
  return all;
}

}  // namespace

TEST_CASE("sizes that do not fit are refused in words", "[extreme-sizes]") {
  const NothingLeft check;
  const Tensor v = values({8}), x = values({1, 1, 4, 4}), w = values({1, 1, 3, 3});
  const auto conv = [&](const Conv2dParams& params) { conv2d(x, w, {}, params); };
  const Refused cases[] = {
      {"[pad] 8 + 9223372036854775807 does not fit", [&] { pad(v, 0, kMost, kMost); }},
      {"[pad] 9223372036854775804 + ", [&] { pad(v, 0, kMost - 11, kMost - 2); }},
      {"[shape] (9223372036854775807)", [&] { pad(v, 0, kMost - 8, 0); }},
      {"[pad] negative padding", [&] { pad(v, 0, kLeast, 0); }},
      {"[shape] (",
       [] { concatenate(copies(long_booleans(), 16, zeros({100}, {.dtype = DType::boolean})), 0); }},
      {"[shape] (",
       [] { concatenate(std::vector<Tensor>(4, expand(zeros({1}), {std::int64_t{1} << 59})), 0); }},
      {"[shape] negative size",
       [&] {
         reshape(v, {kLeast, 2});
       }},
      {"[shape] negative size",
       [&] {
         reshape(zeros({0}), {kLeast, 2});
       }},
      {"more than 2^63 - 1",
       [&] {
         reshape(v, {std::int64_t{1} << 32, std::int64_t{1} << 32, 8});
       }},
      {"more than 2^63 - 1",
       [&] {
         reshape(v, {(std::int64_t{1} << 61) + 1, 8});
       }},
      {"[shape] (4611686018427387904, 4, 1) has more than 2^63 - 1",
       [&] {
         reshape(v, {std::int64_t{1} << 62, 4, -1});
       }},
      {"[shape] (9223372036854775807, 1) is larger than any memory",
       [&] {
         reshape(v, {kMost, -1});
       }},
      {"[shape] (",
       [] {
         matmul(expand(ones({1, 1}), {kMost >> 30, 1}), expand(ones({1, 1}), {1, kMost >> 30}));
       }},
      {"[shape] (",
       [] {
         expand(zeros({1, 1}), {kMost >> 30, kMost >> 30});
       }},
      {"[shape] (",
       [] {
         (void)(expand(ones({1, 1}), {kMost >> 30, 1}) + expand(ones({1, 1}), {1, kMost >> 30}));
       }},
      {"[conv2d] 2 * 4611686018427387904 does not fit",
       [&] {
         conv({.padding = {kMost / 2 + 1, 0}});
       }},
      {"[conv2d] 4 + 9223372036854775806 does not fit",
       [&] {
         conv({.padding = {0, kMost / 2}});
       }},
      {"[conv2d] 9223372036854775807 * 2 does not fit",
       [&] {
         conv({.dilation = {kMost, 1}});
       }},
      {"does not fit into 4",
       [&] {
         conv({.dilation = {1, kMost / 2}});
       }},
      {"channels do not fit", [&] { conv({.groups = kMost}); }},
      {"[max_pool2d] a window of 9223372036854775807 does not fit into 4",
       [&] {
         max_pool2d(x, {.kernel = {kMost, 2}});
       }},
      {"padding is at most half",
       [&] {
         max_pool2d(x, {.padding = {kMost, 0}});
       }},
      {"does not fit into",
       [&] {
         avg_pool2d(x, {.kernel = {kMost - 8, 2}, .padding = {kMost / 2 - 8, 0}});
       }},
      {"[avg_pool2d] 4 + ",
       [&] {
         avg_pool2d(x, {.kernel = {kMost, 2}, .padding = {kMost / 2, 0}});
       }},
      {"divisible by 9223372036854775807 heads",
       [] {
         packed_attention(zeros({1, 2, 6}), kMost);
       }},
      // 3 * this is 2 modulo 2^64
      {"divisible by 6148914691236517206 heads",
       [] {
         packed_attention(zeros({1, 2, 6}), 6148914691236517206);
       }},
      {"[shape] (9223372036854775807)", [] { arange(kMost); }},
      {"[arange] there is no memory for 576460752303423488 elements", [] { arange(std::int64_t{1} << 59); }},
      {"[epoch_order] there is no memory for 9223372036854775807", [] { nn::epoch_order(kMost, 1, 1); }},
      {"[draw_shapes] 9223372036854775807 * 3072 does not fit", [] { nn::draw_shapes(kMost, 1, 1); }},
      {"[draw_shapes] there is no memory", [] { nn::draw_shapes(std::int64_t{1} << 50, 1, 1); }},
      {"[select] index", [&] { select(v, 0, kLeast); }},
  };
  // Sanitizers end the program where `new` finds no memory, rather than throw.
  constexpr bool kNewThrows = !UNDER_ADDRESS_SANITIZER && !UNDER_THREAD_SANITIZER;
  for (const Refused& c : cases) {
    CAPTURE(c.message);
    if (!kNewThrows && std::string(c.message).find("there is no memory") != std::string::npos) continue;
    CHECK_THROWS_WITH(c.call(), Contains(c.message));
    try {
      c.call();
    } catch (const Error&) {
      SUCCEED("an Error");
    } catch (...) {
      FAIL_CHECK("not an Error");
    }
  }
}

TEST_CASE("parameters near 2^63 that mean something are right", "[extreme-sizes]") {
  const NothingLeft check;
  Tensor v = leaf_values({8});
  const Doubles elements = elements_of(v);
  for (const std::int64_t step : {kMost, kMost - 6, std::int64_t{8}}) {
    const Tensor first = slice(v, 0, 0, 8, step);
    REQUIRE(first.shape() == Shape{1});
    CHECK(elements_of(first) == Doubles{elements[0]});
    sum(first).backward();
    CHECK(elements_of(v.grad()) == Doubles{1, 0, 0, 0, 0, 0, 0, 0});
    v.clear_grad();
  }
  CHECK(elements_of(slice(v, 0, kLeast, kMost, 7)) == Doubles{elements[0], elements[7]});
  CHECK(slice(v, 0, kMost, kLeast, kMost).shape() == Shape{0});
  CHECK(split(v, kMost, 0).size() == 1);

  const Tensor x = values({5, 4}), w = values({3, 4}, 0.7);
  const Tensor targets = tensor<std::int64_t>({0, 1, 2, 0, 1}, {5});
  const auto loss = [&](std::int64_t chunk) {
    const Tensor rows = x.detach().set_requires_grad(true), weight = w.detach().set_requires_grad(true);
    const Tensor value = linear_cross_entropy(rows, weight, targets, chunk);
    value.backward();
    return std::vector{bits_of(value), bits_of(rows.grad()), bits_of(weight.grad())};
  };
  CHECK(loss(kMost) == loss(5));

  const Tensor image = values({1, 1, 4, 4}), kernel = values({1, 1, 3, 3});
  const Tensor once = conv2d(image, kernel, {}, {.stride = {kMost, kMost}, .padding = {1, 1}});
  CHECK(once.shape() == Shape{1, 1, 1, 1});
  CHECK(elements_of(once)[0] == Approx(elements_of(conv2d(image, kernel, {}, {.padding = {1, 1}}))[0]));
  CHECK(max_pool2d(image, {.stride = {kMost, kMost}}).shape() == Shape{1, 1, 1, 1});
}

TEST_CASE("a shape stays possible however it is made", "[extreme-sizes]") {
  Shape shape{2, 3};
  CHECK_THROWS_AS(shape.push_back(-1), ShapeError);
  CHECK_THROWS_AS(shape.push_back(kMost), ShapeError);
  CHECK_THROWS_AS(shape.set(0, -1), ShapeError);
  CHECK_THROWS_AS(shape.set(1, kMost / 2), ShapeError);
  CHECK(shape == Shape{2, 3});
  shape.push_back(4);
  shape.set(0, 5);
  CHECK(shape == Shape{5, 3, 4});
  CHECK(shape.without(1) == Shape{5, 4});
  CHECK(Shape{7}.without(0) == Shape{});
  Shape full{1, 1, 1, 1, 1, 1, 1, 1};
  CHECK_THROWS_WITH(full.push_back(1), Contains("9 axes asked for; a tensor has at most 8"));
  // What is between the sizes may be large where the whole is not.
  CHECK(sum(zeros({kMost / 16, 0, 2}), {0}).shape() == Shape{0, 2});
  CHECK(flatten(zeros({kMost / 16, 0, 2})).shape() == Shape{0});
  CHECK(select(zeros({kMost / 16, 2, 0}), 1, 0).shape() == Shape{kMost / 16, 0});
}

TEST_CASE("checked arithmetic", "[extreme-sizes]") {
  CHECK(checked::add("a", kMost - 1, 1) == kMost);
  CHECK_THROWS_AS(checked::add("a", kMost, 1), ShapeError);
  CHECK(checked::multiply("a", std::int64_t{1} << 31, std::int64_t{1} << 31) == std::int64_t{1} << 62);
  CHECK_THROWS_WITH(checked::multiply("a", std::int64_t{1} << 32, std::int64_t{1} << 31),
                    "[a] 4294967296 * 2147483648 does not fit 64 bits; give smaller sizes");
  CHECK(checked::divide_up(0, kMost) == 0);
  CHECK(checked::divide_up(kMost, kMost) == 1);
  CHECK(checked::divide_up(kMost, 2) == std::int64_t{1} << 62);
  CHECK(checked::divide_up(7, 3) == 3);
}
