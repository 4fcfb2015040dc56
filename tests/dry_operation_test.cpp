// Operations of a user on a dry device: they take the memory that they take where they run, and are not
// called.
#include <catch2/catch.hpp>

#include "fuzz/user_operations.h"
#include "step_memory.h"

using namespace reprise;
using namespace reprise::test;
using Catch::Matchers::Contains;

namespace {

struct Calls {
  int forwards = 0, backwards = 0;
  bool operator==(const Calls&) const = default;
};
Calls calls;

/// y = 2 x with plain loops over pointers; backward is made to read x.
struct Twice {
  static constexpr std::string_view name = "twice";
  Specs infer(SpecSpan in) const { return {in[0]}; }
  Saves saves(GradMask) const { return {.inputs = 1}; }
  void forward(const Exec&, Inputs in, Outputs out) const {
    ++calls.forwards;
    for (std::int64_t i = 0; i < in[0].numel(); ++i) out[0].as<float>()[i] = 2 * in[0].as<float>()[i];
  }
  void backward(const Exec&, const Saved& saved, OutGrads dy, GradSlots dx) const {
    ++calls.backwards;
    for (std::int64_t i = 0; i < saved.input(0).numel(); ++i)
      user::put<float>(dx[0], i, 2 * dy[0].as<float>()[i] + 0 * saved.input(0).as<float>()[i]);
  }
  bool operator==(const Twice&) const = default;
};

/// The same with whatever memory an operation may take over.
struct TwiceInPlace : Twice {
  static constexpr std::string_view name = "twice_in_place";
  static constexpr bool gradient_in_place = true;
  Saves saves(GradMask) const { return {}; }
  int reuses(int) const { return 0; }
  void backward(const Exec&, const Saved&, OutGrads dy, GradSlots dx) const {
    ++calls.backwards;
    for (std::int64_t i = 0; i < dy[0].numel(); ++i) user::put<float>(dx[0], i, 2 * dy[0].as<float>()[i]);
  }
};

/// The rows from the second on, as a view whose gradient is written by a loop.
struct Rest {
  static constexpr std::string_view name = "rest";
  Specs infer(SpecSpan in) const {
    Spec out = in[0];
    out.shape.set(0, out.shape[0] - 1);
    return {out};
  }
  Saves saves(GradMask) const { return {}; }
  void view(const Spec&, const Strides& from, int, Strides& to, std::int64_t& offset) const {
    to = from;
    offset = from[0];
  }
  void backward(const Exec&, const Saved& saved, OutGrads dy, GradSlots dx) const {
    ++calls.backwards;
    const std::int64_t all = saved.input_spec(0).shape.numel(), first = all - dy[0].numel();
    for (std::int64_t i = 0; i < all; ++i)
      user::put<float>(dx[0], i, i < first ? 0 : dy[0].as<float>()[i - first]);
  }
  bool operator==(const Rest&) const = default;
};

/// A copy by way of scratch, more of it in backward than in forward.
template <bool OnlyKernels>
struct Detour {
  static constexpr std::string_view name = "detour";
  static constexpr bool only_kernels = OnlyKernels;
  Specs infer(SpecSpan in) const { return {in[0]}; }
  Saves saves(GradMask) const { return {}; }
  void forward(const Exec& exec, Inputs in, Outputs out) const {
    ++calls.forwards;
    const kernels::View between = exec.temporary(in[0].dtype, in.spec(0).shape);
    kernels::copy(exec.queue(), in[0], {between, kernels::Write::overwrite});
    kernels::copy(exec.queue(), between, {out[0], kernels::Write::overwrite});
  }
  void backward(const Exec& exec, const Saved& saved, OutGrads dy, GradSlots dx) const {
    ++calls.backwards;
    (void)exec.temporary(dy[0].dtype, saved.input_spec(0).shape);
    const kernels::View between = exec.temporary(dy[0].dtype, saved.input_spec(0).shape);
    kernels::copy(exec.queue(), dy[0], {between, kernels::Write::overwrite});
    kernels::copy(exec.queue(), between, dx[0]);
  }
  bool operator==(const Detour&) const = default;
};

/// Elements on another device, as nobody should write it: by a loop.
struct Move {
  Device to;
  static constexpr std::string_view name = "move";
  Specs infer(SpecSpan in) const {
    Spec out = in[0];
    out.device = to;
    return {out};
  }
  Saves saves(GradMask) const { return {}; }
  void forward(const Exec&, Inputs in, Outputs out) const {
    ++calls.forwards;
    for (std::int64_t i = 0; i < in[0].numel(); ++i) out[0].as<float>()[i] = in[0].as<float>()[i];
  }
  void backward(const Exec&, const Saved&, OutGrads dy, GradSlots dx) const {
    ++calls.backwards;
    for (std::int64_t i = 0; i < dy[0].numel(); ++i) user::put<float>(dx[0], i, dy[0].as<float>()[i]);
  }
  bool operator==(const Move&) const = default;
};

using Layer = Tensor (*)(const Tensor&);
struct LayerCase {
  const char* name;
  Layer layer;
};

Tensor pair_sum(const Tensor& x) {
  const std::vector<Tensor> both = user::pair(x);
  return both[0] + both[1];
}

const LayerCase kLayers[] = {
    {"a loop", [](const Tensor& x) { return apply(Twice{}, x); }},
    {"of columns", [](const Tensor& x) { return apply(Twice{}, transpose(x, 0, 1)); }},
    {"of an expanded row",
     [](const Tensor& x) { return apply(Twice{}, expand(slice(x, 0, 0, 1), x.shape())); }},
    {"of an input that is let go", [](const Tensor& x) { return apply(TwiceInPlace{}, x * 0.5); }},
    {"with a gradient that lies otherwise",
     [](const Tensor& x) { return transpose(apply(TwiceInPlace{}, x), 0, 1) * 0.5; }},
    {"a view", [](const Tensor& x) { return pad(apply(Rest{}, x), 0, 1, 0); }},
    {"an auxiliary output", [](const Tensor& x) { return user::cube(x) * 0.1; }},
    {"cannot be repeated", user::stamp},
    {"two outputs", pair_sum},
    {"two outputs, one unused", [](const Tensor& x) { return user::pair(x)[1]; }},
    {"scratch of kernels", [](const Tensor& x) { return apply(Detour<true>{}, x); }},
};

/// Four layers cut into segments by `setting`; two losses play them, and one is only looked at.
checkpoint::Step step_through(Layer layer, const checkpoint::Setting& setting) {
  const Tensor weight = full({7, 7}, 0.25, {.category = Category::parameters}).set_requires_grad(true);
  return [=](checkpoint::PhaseMeter& meter) {
    Tensor(weight).clear_grad();
    Tensor h, loss;
    meter.run(Phase::forward, [&] {
      h = weight * 1.0;
      checkpoint::sequence(setting, 4, [&](std::int64_t) { h = tanh(layer(h)); });
      loss = sum(h);
    });
    meter.run(Phase::backward, [&] {
      loss.backward({.retain_tape = true});
      loss.backward();
    });
    meter.run(Phase::optimiser, [&] {
      const NoGrad no_grad;
      (void)layer(layer(weight));
    });
  };
}

}  // namespace

TEST_CASE("an operation of a user takes on a dry device what it takes where it runs",
          "[predict][operation]") {
  for (const auto& [name, layer] : kLayers) {
    for (const char* setting : {"none", "blocks", "every:2", "nested", "cheap"}) {
      CAPTURE(name, setting);
      check_prediction(Device::cpu(), [&, layer = layer] {
        return step_through(layer, checkpoint::parse_setting(setting));
      });
    }
  }
}

TEST_CASE("a dry device does not call an operation of a user", "[predict][operation]") {
  const auto build = [] { return step_through(kLayers[0].layer, {checkpoint::Strategy::blocks}); };
  calls = {};
  const checkpoint::Prediction predicted = checkpoint::predict(profile_like(Device::cpu()), build);
  CHECK(predicted.tape.replayed_nodes > 0);
  CHECK(calls == Calls{});
  const Measured measured = measure(Device::cpu(), 1, build);
  // Four layers forward, the layers that are replayed, the two that are looked at; each of two backwards.
  CHECK(calls.forwards > 4 + 2);
  CHECK(calls.backwards == 2 * 4);
  CHECK(measured.tape.replayed_nodes == predicted.tape.replayed_nodes);

  calls = {};
  const OnDevice on(Device::dry(parse_profile("24GiB")));
  const Tensor x = ones({4, 3}).set_requires_grad(true);
  const auto live = [] { return current_pool().statistics().all.requested.current; };
  const std::int64_t before = live();
  const Tensor y = apply(Twice{}, x);
  CHECK(y.shape() == Shape{4, 3});
  CHECK(live() - before == 48);
  y.backward(ones({4, 3}));
  CHECK(x.grad().shape() == Shape{4, 3});
  CHECK(live() - before == 2 * 48);
  CHECK(apply(Twice{}, x.detach()).shape() == Shape{4, 3});
  {
    const AnomalyMode anomaly;
    CHECK(apply(Twice{}, transpose(x, 0, 1)).shape() == Shape{3, 4});
  }
  CHECK(calls == Calls{});
}

TEST_CASE("an operation of a user that only calls kernels has its scratch predicted",
          "[predict][operation]") {
  const auto scratch = [](Layer layer) {
    calls = {};
    const checkpoint::Prediction p = checkpoint::predict(
        {}, [&] { return step_through(layer, {checkpoint::Strategy::none}); }, {.most_steps = 1});
    return p.memory.of(Category::workspace).requested;
  };
  // 7 x 7 floats: once in each of 4 + 2 forwards, twice in each of 2 x 4 backwards.
  const Counter counted = scratch([](const Tensor& x) { return apply(Detour<true>{}, x); });
  CHECK(counted == Counter{0, 2 * 196, (6 + 2 * 8) * 196});
  CHECK(calls == Calls{6, 8});
  CHECK(scratch([](const Tensor& x) { return apply(Detour<false>{}, x); }) == Counter{});
  CHECK(calls == Calls{});
}

TEST_CASE("an operation of a user reads nothing from a dry device", "[predict][operation]") {
  const Device dry = Device::dry(parse_profile("24GiB"));
  calls = {};
  const Tensor host = ones({2, 2}).set_requires_grad(true);
  const Tensor there = apply(Move{dry}, host);
  CHECK(there.device() == dry);
  CHECK_THROWS_WITH(apply(Move{Device::cpu()}, there.detach()), Contains("[move]") && Contains("no values"));
  CHECK_THROWS_WITH(there.backward(ones({2, 2}, {.device = dry})),
                    Contains("[move]") && Contains("no values"));
  CHECK_FALSE(host.grad().defined());
  CHECK(calls == Calls{});
}
