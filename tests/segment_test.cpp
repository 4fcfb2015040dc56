// Segments change nothing but the memory: the same bits with and without them, whatever is inside.
#include "random_model.h"
#include "tape_support.h"

#include <optional>

using namespace tape_test;
using checkpoint::Segment;
using checkpoint::SegmentOptions;

namespace {

enum class Cut { none, dropped, spared, cheap };
constexpr Cut kCuts[] = {Cut::dropped, Cut::spared, Cut::cheap};

/// A segment, or none.
class Scope {
 public:
  explicit Scope(Cut cut) {
    if (cut == Cut::none) return;
    segment_.emplace("s", SegmentOptions{.drop = cut == Cut::cheap ? checkpoint::Drop::cheap
                                                                   : checkpoint::Drop::everything,
                                         .spare_last = cut == Cut::spared});
  }

 private:
  std::optional<Segment> segment_;
};

/// Everything that a step gives: losses, gradients, and the generator.
struct Result {
  std::vector<std::vector<std::uint64_t>> bits;
  Generator numbers;
  bool operator==(const Result&) const = default;
};

using Leaves = std::vector<Tensor>;
using Step = std::function<std::vector<Tensor>(Cut, const Leaves&)>;

/// Runs forward and backward from the same state; what is left afterwards must be nothing.
Result run(const Step& step, Cut cut) {
  const NothingLeft check;
  manual_seed(17);
  const Leaves leaves{leaf_values({8, 8}, 0.1), leaf_values({8, 8}, 0.3), leaf_values({8}, 0.7)};
  const std::vector<Tensor> outputs = step(cut, leaves);
  sum(outputs[0]).backward();
  Result result;
  for (const Tensor& output : outputs) result.bits.push_back(bits_of(output));
  for (const Tensor& l : leaves)
    result.bits.push_back(l.grad().defined() ? bits_of(l.grad()) : std::vector<std::uint64_t>{});
  result.numbers = generator();
  return result;
}

struct Case {
  const char* what;
  Step step;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all{
      {"a chain",
       [](Cut cut, const Leaves& l) {
         Tensor h = l[0];
         for (int i = 0; i < 5; ++i) {
           const Scope scope(cut);
           h = tanh(matmul(h, l[1]) + l[2]);
         }
         return std::vector{h};
       }},
      {"a residual net with dropout",
       [](Cut cut, const Leaves& l) {
         Tensor h = l[0];
         for (int i = 0; i < 6; ++i) {
           const Scope scope(cut);
           h = h + dropout(gelu(matmul(h, l[1]) + l[2]), 0.3);
         }
         return std::vector{h};
       }},
      {"a user's operations",
       [](Cut cut, const Leaves& l) {
         Tensor h = l[0];
         for (int i = 0; i < 4; ++i) {
           const Scope scope(cut);
           h = jitter(cube(sin(h))) * l[1];
         }
         return std::vector{h};
       }},
      {"captured tensors, integers and inputs without gradient",
       [](Cut cut, const Leaves& l) {
         const Tensor plain = values({8, 8}, 0.9);
         const Tensor ids = arange(8);
         const Tensor mask = less(ids, full({8}, 5, {.dtype = DType::int64}));
         Tensor h;
         {
           const Scope scope(cut);
           const Tensor scale = exp(plain) * 2.0;
           h = where(mask, l[0] * scale, l[1]) + ids.to(DType::float64);
           h = h * sigmoid(h);
         }
         return std::vector{h * plain, h};
       }},
      {"views that cross the borders",
       [](Cut cut, const Leaves& l) {
         const Tensor turned = permute(l[0], {1, 0});
         Tensor a, b;
         {
           const Scope scope(cut);
           const Tensor wide = exp(reshape(turned, {4, 16}));
           a = slice(wide, 1, 0, 8);
           b = permute(slice(wide * wide, 1, 8, 16), {1, 0});
         }
         {
           const Scope scope(cut);
           a = matmul(b, a * a);
         }
         return std::vector{a, b};
       }},
      {"values that the user holds, inside and beyond",
       [](Cut cut, const Leaves& l) {
         Tensor held, h;
         {
           const Scope scope(cut);
           held = exp(l[0]);
           h = tanh(held * l[1]);
         }
         return std::vector{h * held + relu(held), held};
       }},
      {"outputs that are read much later",
       [](Cut cut, const Leaves& l) {
         Tensor first, h;
         {
           const Scope scope(cut);
           first = sin(exp(l[0]));
           h = cos(first);
         }
         for (int i = 0; i < 3; ++i) {
           const Scope scope(cut);
           h = sin(h * l[1]);
         }
         return std::vector{h * first};
       }},
      {"reused storage",
       [](Cut cut, const Leaves& l) {
         Tensor h = l[0];
         for (int i = 0; i < 3; ++i) {
           const Scope scope(cut);
           h = matmul(std::move(h), l[1]);
           h = relu(std::move(h)) + l[2];
           h = dropout(std::move(h), 0.2);
           h = square(std::move(h) * 0.1);
         }
         return std::vector{relu(std::move(h))};
       }},
      {"a segment in which nothing wants a gradient",
       [](Cut cut, const Leaves& l) {
         Tensor h;
         {
           const Scope scope(cut);
           h = exp(values({8, 8})) * 2.0;
         }
         {
           const Scope scope(cut);
           h = tanh(h) * l[0];
         }
         return std::vector{h};
       }},
      {"segments under NoGrad, and NoGrad in segments",
       [](Cut cut, const Leaves& l) {
         Tensor h, g;
         {
           const NoGrad no_grad;
           const Scope scope(cut);
           g = exp(l[0]);
         }
         {
           const Scope scope(cut);
           h = l[0] * g;
           {
             const NoGrad no_grad;
             g = sin(h) * g;
           }
           h = h * g;
         }
         return std::vector{h, g};
       }},
      {"branches that are used partly",
       [](Cut cut, const Leaves& l) {
         Tensor used, unused;
         {
           const Scope scope(cut);
           const Tensor trunk = exp(l[0]);
           used = sin(trunk * l[1]);
           unused = cos(trunk * l[2]);
         }
         return std::vector{used * 2.0, unused};
       }},
      {"nested to depth 12",
       [](Cut cut, const Leaves& l) {
         Tensor h = l[0];
         const std::function<void(int)> nest = [&](int depth) {
           const Scope scope(cut);
           h = sin(h * l[1]);
           if (depth > 1) nest(depth - 1);
           h = dropout(h + l[2], 0.1);
           if (depth % 3 == 0) nest(1);
         };
         nest(12);
         return std::vector{h};
       }},
      {"an empty segment, and one of views only",
       [](Cut cut, const Leaves& l) {
         Tensor h = l[0];
         { const Scope scope(cut); }
         {
           const Scope scope(cut);
           h = reshape(permute(h, {1, 0}), {8, 8});
         }
         return std::vector{exp(h)};
       }},
      {"layer norm and softmax",
       [](Cut cut, const Leaves& l) {
         Tensor h = l[0];
         for (int i = 0; i < 3; ++i) {
           const Scope scope(cut);
           h = softmax(matmul(layer_norm(h, l[2], l[2]), l[1])) + h;
         }
         return std::vector{h};
       }},
  };
  return all;
}

}  // namespace

TEST_CASE("segments change no bit", "[segment]") {
  for (const Case& c : cases()) {
    const Result plain = run(c.step, Cut::none);
    for (const Cut cut : kCuts) {
      CAPTURE(c.what, static_cast<int>(cut));
      CHECK(run(c.step, cut) == plain);
    }
  }
}

TEST_CASE("segments within a dropped segment change no bit", "[segment]") {
  for (const Case& c : cases()) {
    const Result plain = run(c.step, Cut::none);
    for (const Cut outer : kCuts) {
      for (const Cut inner : kCuts) {
        CAPTURE(c.what, static_cast<int>(outer), static_cast<int>(inner));
        CHECK(run(
                  [&](Cut, const Leaves& l) {
                    const Scope scope(outer);
                    return c.step(inner, l);
                  },
                  outer) == plain);
      }
    }
  }
}

TEST_CASE("retained tapes with segments can be played again and again", "[segment]") {
  for (const Case& c : cases()) {
    for (const Cut cut : kCuts) {
      CAPTURE(c.what, static_cast<int>(cut));
      const NothingLeft check;
      manual_seed(17);
      Leaves leaves{leaf_values({8, 8}, 0.1), leaf_values({8, 8}, 0.3), leaf_values({8}, 0.7)};
      const Tensor loss = sum(c.step(cut, leaves)[0]);
      std::vector<std::vector<std::uint64_t>> first;
      Books before;
      for (int i = 0; i < 3; ++i) {
        for (Tensor& l : leaves) l.clear_grad();
        loss.backward({.retain_tape = i < 2});
        std::vector<std::vector<std::uint64_t>> got;
        for (const Tensor& l : leaves)
          got.push_back(l.grad().defined() ? bits_of(l.grad()) : std::vector<std::uint64_t>{});
        if (i == 0) {
          first = got;
          before = Books();
        }
        CHECK(got == first);
        if (i == 1) CHECK(Books() == before);
      }
    }
  }
}

TEST_CASE("chosen gradients go through segments", "[segment]") {
  const auto step = [](Cut cut) {
    manual_seed(4);
    const Tensor a = leaf_values({6});
    const Tensor b = leaf_values({6}, 0.4);
    Tensor h = a;
    Tensor middle;
    for (int i = 0; i < 4; ++i) {
      const Scope scope(cut);
      h = dropout(sin(h) * exp(b), 0.2);
      if (i == 1) middle = h;
    }
    const std::vector<Tensor> got = gradients(sum(h), std::vector<Tensor>{a, middle, b});
    CHECK_FALSE(a.grad().defined());
    return std::vector{bits_of(got[0]), bits_of(got[1]), bits_of(got[2])};
  };
  for (const Cut cut : kCuts) CHECK(step(cut) == step(Cut::none));
}

TEST_CASE("several losses from one trunk of segments", "[segment]") {
  const auto step = [](Cut cut, bool independent) {
    const NothingLeft check;
    const Tensor w = leaf_values({6});
    const Tensor v = leaf_values({6}, 0.4);
    Tensor a, b;
    {
      const Scope scope(cut);
      const Tensor trunk = exp(w);
      a = sum(sin(trunk) * trunk);
      b = independent ? sum(cos(exp(v))) : sum(cos(trunk * v));
    }
    a.backward({.retain_tape = !independent});
    b.backward();
    return std::vector{bits_of(w.grad()), bits_of(v.grad())};
  };
  for (const Cut cut : kCuts) {
    for (const bool independent : {false, true}) {
      CAPTURE(static_cast<int>(cut), independent);
      CHECK(step(cut, independent) == step(Cut::none, independent));
    }
  }
}

TEST_CASE("batch norm in a segment is exact, and its statistics are folded once", "[segment]") {
  const auto step = [](Cut cut) {
    const NothingLeft check;
    const Tensor w = leaf_values({4, 3}, 0.2);
    const Tensor gain = leaf_values({3}, 0.5);
    const Tensor shift = leaf_values({3}, 0.9);
    Tensor running = zeros({3}, kDouble);
    Tensor averaged = zeros({3}, kDouble);
    int folds = 0;
    std::int64_t nodes = 0;
    for (int i = 0; i < 4; ++i) {
      Tensor h = w * 1.5;
      {
        const Scope scope(cut);
        const std::vector<Tensor> out = apply_all(ops::BatchNorm{}, {h, gain, shift});
        h = tanh(out[0]);
        ++folds;
        running.mul_(0.9).add_(out[1].detach(), 0.1);
        const NoGrad no_grad;
        averaged = averaged * 0.9 + out[2] * 0.1;
      }
      sum(square(h)).backward();
      h = Tensor();
      if (i == 1) nodes = live_nodes();
      if (i > 1) CHECK(live_nodes() == nodes);
    }
    CHECK(folds == 4);
    return std::vector{bits_of(w.grad()), bits_of(gain.grad()), bits_of(shift.grad()), bits_of(running),
                       bits_of(averaged)};
  };
  for (const Cut cut : kCuts) {
    CAPTURE(static_cast<int>(cut));
    CHECK(step(cut) == step(Cut::none));
  }
}

TEST_CASE("random trees of all kinds of segments give the bits of none", "[segment]") {
  const auto gradients_of = [](std::uint32_t seed, bool segments) {
    manual_seed(seed);
    reprise::test::RandomModel model(seed, segments);
    model.loss().backward();
    std::vector<Tensor> gradients;
    for (const Tensor& weight : model.parameters()) gradients.push_back(weight.grad());
    return nn::digest(gradients);
  };
  for (std::uint32_t seed = 0; seed < 500; ++seed) {
    CAPTURE(seed);
    CHECK(gradients_of(seed, true) == gradients_of(seed, false));
  }
}

TEST_CASE("hooks in a segment fire once", "[segment]") {
  const NothingLeft check;
  for (const Cut cut : kCuts) {
    Tensor w = leaf_values({6});
    int calls = 0;
    Tensor y;
    {
      const Scope scope(cut);
      const Tensor h = exp(w);
      h.on_gradient([&](const Tensor& g) { return ++calls, g * 2.0; });
      y = sum(sin(h));
    }
    y.backward();
    CHECK(calls == 1);
    CHECK(elements_of(w.grad())[0] == Approx(2 * std::cos(std::exp(0.1)) * std::exp(0.1)));
  }
}
