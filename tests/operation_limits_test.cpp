// What an operation of a user may be: how many outputs, aligned how far, and where it may play backward.
#include "tape_support.h"

using namespace tape_test;

namespace {

/// Output k is (k + 1) x; `wanted` of them are made, and only output 0 carries gradients.
struct Multiples {
  int wanted = 1;
  static constexpr std::string_view name = "multiples";
  static constexpr GradMask differentiable = 1;
  Specs infer(SpecSpan in) const {
    Specs specs;
    for (int k = 0; k < wanted; ++k) specs.push_back(in[0]);
    return specs;
  }
  Saves saves(GradMask) const { return {}; }
  void forward(const Exec&, Inputs in, Outputs out) const {
    for (std::size_t k = 0; k < out.size(); ++k) {
      for (std::int64_t i = 0; i < in[0].numel(); ++i)
        out[k].as<double>()[i] = static_cast<double>(k + 1) * in[0].as<double>()[i];
    }
  }
  void backward(const Exec& exec, const Saved&, OutGrads dy, GradSlots dx) const {
    kernels::copy(exec.queue(), dy[0], dx[0]);
  }
  bool operator==(const Multiples&) const = default;
};

/// All of its outputs are its own.
struct Hidden : Multiples {
  static constexpr std::string_view name = "hidden";
  static constexpr int auxiliaries = 2;
  bool operator==(const Hidden&) const = default;
};

/// Shows its input, if it has one.
struct Shown {
  static constexpr std::string_view name = "shown";
  Specs infer(SpecSpan) const { return {Spec{DType::float64, {}, false, {4}}}; }
  void view(const Spec&, const Strides& from, int, Strides& to, std::int64_t&) const { to = from; }
  bool operator==(const Shown&) const = default;
};

/// x times factors that ask for more alignment than memory usually has.
template <std::size_t Alignment>
struct alignas(Alignment) Aligned {
  double factors[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  static constexpr std::string_view name = "aligned";
  Specs infer(SpecSpan in) const { return {in[0]}; }
  Saves saves(GradMask) const { return {}; }
  void forward(const Exec&, Inputs in, Outputs out) const {
    REQUIRE(reinterpret_cast<std::uintptr_t>(this) % Alignment == 0);
    for (std::size_t i = 0; i < 8; ++i) out[0].as<double>()[i] = factors[i] * in[0].as<double>()[i];
  }
  void backward(const Exec&, const Saved&, OutGrads dy, GradSlots dx) const {
    REQUIRE(reinterpret_cast<std::uintptr_t>(this) % Alignment == 0);
    for (std::size_t i = 0; i < 8; ++i) {
      double& slot = dx[0].view.as<double>()[i];
      const double gradient = factors[i] * dy[0].as<double>()[i];
      slot = dx[0].write == kernels::Write::accumulate ? slot + gradient : gradient;
    }
  }
  bool operator==(const Aligned&) const = default;
};

template <std::size_t Alignment>
void check_aligned() {
  CAPTURE(Alignment);
  Tensor x = leaf_values({8});
  const Doubles at = elements_of(x);
  for (const bool inside : {false, true}) {  // recorded, replayed, and played
    x.clear_grad();
    Tensor loss;
    {
      std::optional<checkpoint::Segment> segment;
      if (inside) segment.emplace("aligned", checkpoint::SegmentOptions{.spare_last = false});
      loss = sum(square(apply(Aligned<Alignment>{}, apply(Aligned<Alignment>{}, x))));
    }
    loss.backward();
    const Doubles dx = elements_of(x.grad());
    for (std::size_t i = 0; i < 8; ++i) {
      const double factor = static_cast<double>(i + 1);
      CHECK(dx[i] == Approx(2 * std::pow(factor, 4) * at[i]));
    }
  }
}

/// Plays a tape of its own where it is played.
struct Player {
  static constexpr std::string_view name = "player";
  Specs infer(SpecSpan in) const { return {in[0]}; }
  Saves saves(GradMask) const { return {}; }
  void forward(const Exec& exec, Inputs in, Outputs out) const {
    kernels::copy(exec.queue(), in[0], {out[0]});
  }
  void backward(const Exec&, const Saved&, OutGrads, GradSlots) const {
    sum(leaf_values({2}) * 2.0).backward();
  }
  bool operator==(const Player&) const = default;
};

}  // namespace

TEST_CASE("an operation has 1 to 64 outputs, or is refused", "[operation]") {
  const NothingLeft check;
  for (const bool recorded : {true, false}) {
    CAPTURE(recorded);
    std::optional<NoGrad> no_grad;
    if (!recorded) no_grad.emplace();
    const Tensor x = leaf({1, -2}, {2});
    const std::vector<Tensor> all = apply_all(Multiples{64}, {x});
    REQUIRE(all.size() == 64);
    for (std::size_t k = 0; k < all.size(); ++k) {
      CHECK(all[k].requires_grad() == (recorded && k == 0));
      CHECK(elements_of(all[k]) == Doubles{static_cast<double>(k + 1), -2 * static_cast<double>(k + 1)});
    }
    CHECK_THROWS_WITH(apply_all(Multiples{65}, {x}), Contains("[multiples] 65 outputs; at most 64"));
    CHECK_THROWS_WITH(apply_all(Multiples{1000}, {x}), Contains("[multiples] 1000 outputs; at most 64"));
    CHECK_THROWS_WITH(apply_all(Multiples{0}, {x}), Contains("[multiples] infer gives 0 outputs"));
    CHECK_THROWS_WITH(apply_all(Hidden{{2}}, {x}), Contains("[hidden] infer gives 2 outputs, of which 2"));
    CHECK_THROWS_WITH(apply_all(Shown{}, {}), Contains("[shown] is a view of its input 0"));
    CHECK_THROWS_AS(apply(Multiples{0}, x), ShapeError);
  }
}

TEST_CASE("a tensor is split into more parts than an operation has outputs", "[operation]") {
  const NothingLeft check;
  for (const std::int64_t n : {63, 64, 65, 130, 5000}) {
    CAPTURE(n);
    Tensor x = leaf_values({2, n});
    const std::vector<Tensor> parts = split(x, 1, 1);
    REQUIRE(parts.size() == static_cast<std::size_t>(n));
    Tensor loss = scalar(0, kDouble);
    const Doubles elements = elements_of(x);
    bool all_agree = true;
    for (std::int64_t i = 0; i < n; ++i) {
      const Tensor& part = parts[static_cast<std::size_t>(i)];
      const auto at = static_cast<std::size_t>(i);
      all_agree &= elements_of(part) == Doubles{elements[at], elements[at + static_cast<std::size_t>(n)]};
      if (i % 3 != 1) loss = loss + sum(part * static_cast<double>(i));
    }
    CHECK(all_agree);
    CHECK(parts[0].shares_storage_with(x));
    loss.backward();
    Doubles wanted;
    for (std::int64_t i = 0; i < 2 * n; ++i)
      wanted.push_back(i % n % 3 != 1 ? static_cast<double>(i % n) : 0);
    CHECK(elements_of(x.grad()) == wanted);
  }
  CHECK(split(values({200}), 3, 0).back().shape() == Shape{2});
}

TEST_CASE("an operation may ask for alignment up to 64 bytes", "[operation]") {
  const NothingLeft check;
  check_aligned<8>();
  check_aligned<16>();
  check_aligned<32>();
  check_aligned<64>();
}

TEST_CASE("backward inside an operation's own backward is refused as what it is", "[operation]") {
  Tensor x = leaf_values({3});
  CHECK_THROWS_WITH(sum(apply(Player{}, x)).backward(),
                    Contains("[backward]") && Contains("an operation's own backward"));
  CHECK_FALSE(x.grad().defined());
}
