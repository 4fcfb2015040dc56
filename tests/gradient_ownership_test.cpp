// Whose memory a gradient is: no two tensors keep each other, and what is handed out is the caller's alone.
#include "tape_support.h"

using namespace tape_test;

TEST_CASE("tensors that are each other's gradients let go of each other", "[gradients]") {
  const NothingLeft check;
  for (const int length : {1, 2, 3, 5}) {
    CAPTURE(length);
    std::vector<Tensor> ring;
    for (int i = 0; i < length; ++i) ring.push_back(values({3}, 0.1 * i));
    for (int i = 0; i < length; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const Tensor& next = ring[(at + 1) % ring.size()];
      ring[at].set_grad(next);
      CHECK(elements_of(ring[at].grad()) == elements_of(next));
    }
    Tensor own = ring[0].grad();  // a gradient that is given its owner
    own.set_grad(ring[0]);
    CHECK(elements_of(own.grad()) == elements_of(ring[0]));
  }
  Tensor x = values({3}), gradient = values({3}, 0.7);
  x.set_grad(gradient);  // without one of its own it is taken as it is
  CHECK(x.grad().shares_storage_with(gradient));
}

TEST_CASE("gradients of a tensor named twice are two tensors", "[gradients]") {
  const NothingLeft check;
  Tensor x = leaf_values({4});
  const Tensor h = x * 2.0;
  const Tensor loss = sum(square(h));
  const std::vector<Tensor> chosen{x, h, x, loss, h, x, loss};
  std::vector<Tensor> got = gradients(loss, chosen);
  std::vector<Doubles> before;
  for (const Tensor& gradient : got) before.push_back(elements_of(gradient));
  const Doubles at = elements_of(x);
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(before[0][i] == Approx(8 * at[i]));
    CHECK(before[1][i] == Approx(4 * at[i]));
  }
  CHECK(before[3] == Doubles{1});
  for (std::size_t i = 0; i < got.size(); ++i) {
    for (std::size_t k = 0; k < i; ++k) {
      CHECK_FALSE(got[i].shares_storage_with(got[k]));
      if (chosen[i].value() == chosen[k].value()) CHECK(before[i] == before[k]);
    }
  }
  for (std::size_t i = 0; i < got.size(); ++i) {
    got[i].fill_(100);
    for (std::size_t k = i + 1; k < got.size(); ++k) CHECK(elements_of(got[k]) == before[k]);
  }
}
