// Prediction on a dry device: random programs beside what they measure, theory, and what cannot be.
#include "reprise/predict.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "random_model.h"
#include "step_memory.h"

using namespace reprise;
using namespace reprise::test;
using Catch::Matchers::Contains;

namespace {

checkpoint::Step random_step(std::uint32_t seed) {
  manual_seed(seed);
  auto model = std::make_shared<RandomModel>(seed);
  auto adam = std::make_shared<nn::AdamW>(nn::decay_matrices(model->parameters(), 0.1));
  return [=](checkpoint::PhaseMeter& meter) {
    adam->zero_grad();
    Tensor loss;
    meter.run(Phase::forward, [&] { loss = model->loss(); });
    meter.run(Phase::backward, [&] { loss.backward(); });
    meter.run(Phase::optimiser, [&] { adam->step(1e-3); });
  };
}

}  // namespace

TEST_CASE("random models and segment trees take what a dry run says", "[predict]") {
  for (std::uint32_t seed = 0; seed < 200; ++seed) {
    CAPTURE(seed);
    check_prediction(Device::cpu(), [&] { return random_step(seed); });
  }
}

TEST_CASE("a step that does not fit is out of memory on a dry device, too", "[predict]") {
  const StepCase c{.segments = "none", .batch = 3};
  const auto build = [&] { return step_of(c); };
  const checkpoint::Prediction whole = checkpoint::predict({}, build);
  const auto peak = static_cast<std::size_t>(whole.memory.all.allocated.peak);
  reset_tape_counters();
  CHECK_THROWS_AS(checkpoint::predict({}, build, {.capacity_bytes = peak / 2}), OutOfMemory);
  CHECK(tape_counters() == TapeCounters{});
  const checkpoint::Prediction limited = checkpoint::predict({}, build, {.capacity_bytes = 2 * peak});
  CHECK(limited.memory.all.allocated.peak == whole.memory.all.allocated.peak);
  CHECK(live_nodes() == 0);
  CHECK(default_device() == Device::cpu());
}

TEST_CASE("prediction leaves the thread as it was", "[predict]") {
  manual_seed(7);
  const Generator generator_before = generator();
  reset_tape_counters();
  const std::shared_ptr<Pool> pool = default_pool();
  const MemoryStatistics before = pool->statistics();
  checkpoint::predict({}, [] { return step_of({.segments = "nested"}); });
  CHECK(pool->statistics() == before);
  CHECK(generator().seed == generator_before.seed);
  CHECK(generator().next == generator_before.next);
  CHECK(tape_counters() == TapeCounters{});
}

TEST_CASE("the events of a prediction name their segments, although its pool is gone", "[predict]") {
  const checkpoint::Prediction p = checkpoint::predict({}, [] { return step_of({.segments = "blocks"}); });
  const auto named = std::count_if(p.events.begin(), p.events.end(),
                                   [](const MemoryEvent& event) { return event.tag == "block 1"; });
  CHECK(named > 0);
}

TEST_CASE("tensors of a dry device have no values to read", "[predict]") {
  const Device dry = Device::dry({.name = "small", .capacity_bytes = 1 << 20});
  CHECK(to_string(dry) == "small (dry)");
  CHECK(Device::dry({.name = "small", .capacity_bytes = 1 << 20}) == dry);
  const OnDevice on(dry);
  const Tensor x = randn({3, 4});
  const Tensor one = sum(x);
  CHECK(one.shape() == Shape{});
  CHECK_THROWS_WITH(one.item<float>(),
                    Contains("[item]") && Contains("no values") && Contains("small (dry)"));
  CHECK_THROWS_WITH(x.to_vector<float>(), Contains("[to_vector]") && Contains("no values"));
  CHECK_THROWS_WITH(x.data<float>(), Contains("[data]") && Contains("no values"));
  CHECK_THROWS_WITH(x.to(Device::cpu()), Contains("[copy]") && Contains("no values"));
  CHECK(to_string(x) == "float32 (3, 4) on small (dry)");
  CHECK_THROWS_WITH(empty({1 << 20}), Contains("small (dry) has ") && Contains(" free of 1.00 MiB"));
  const Tensor host = ones({2}, {.device = Device::cpu()});
  CHECK(host.to(dry).shape() == Shape{2});
  CHECK_THROWS_WITH(host + x, Contains("different devices"));
}

TEST_CASE("sizes beyond any machine are predicted all the same", "[predict]") {
  const OnDevice on(Device::dry(DeviceProfile{}));
  const std::int64_t rows = std::int64_t{1} << 40;
  const Tensor x = empty({rows, 64}).set_requires_grad(true);
  const nn::Linear layer(64, 128);
  const Tensor y = layer(x);
  CHECK(y.shape() == Shape{rows, 128});
  y.backward(empty({rows, 128}));
  CHECK(x.grad().shape() == Shape{rows, 64});
  CHECK_THROWS_AS(empty({rows, rows}), ShapeError);
}

TEST_CASE("profiles are read from names and capacities", "[predict]") {
  CHECK(parse_profile("cpu").capacity_bytes == kUnlimited);
  for (const char* name : {"h200", "h100", "a100", "rtx4090"}) {
    CHECK(parse_profile(name).kind == DeviceKind::cuda);
    CHECK(parse_profile(name).name == name);
  }
  CHECK(parse_profile("24GiB").capacity_bytes == std::size_t{24} << 30);
  CHECK(parse_profile("1.5MB").capacity_bytes == 1500000);
  CHECK(parse_profile("4096B").capacity_bytes == 4096);
  CHECK(parse_profile("4096B").bytes_beside_pool == 0);
  for (const char* text : {"", "h300", "GiB", "24", "-1GiB", "1e999GiB", "nanGiB", "24 GiB", "24Gib"})
    CHECK_THROWS_WITH(parse_profile(text), Contains("[profile] '") && Contains("h200"));
  for (const char* text : {"0GiB", "0B", "0.1B"})
    CHECK_THROWS_WITH(parse_profile(text), Contains("[profile]") && Contains("at least one byte"));
  CHECK_THROWS_WITH(parse_profile("1e300GiB"), Contains("[profile]") && Contains("more than any memory"));
  CHECK_THROWS_WITH(Device::dry({.name = "none", .capacity_bytes = 0}), Contains("0 bytes"));
}

namespace {

/// One transformer layer as it is usually drawn: attention of single operations, dropout in three places.
/// Named as in many programs, which have a `Block` beside `using namespace reprise`.
struct Block {
  nn::LayerNorm ln_1, ln_2;
  nn::Linear qkv, out, up, down;
  std::int64_t heads;

  Block(std::int64_t width, std::int64_t heads_)
      : ln_1(width),
        ln_2(width),
        qkv(width, 3 * width),
        out(width, width),
        up(width, 4 * width),
        down(4 * width, width),
        heads(heads_) {}

  Tensor operator()(const Tensor& x, double p) const {
    const std::int64_t b = x.size(0), s = x.size(1), h = x.size(2);
    const Tensor packed = reshape(qkv(ln_1(x)), {b, s, 3, heads, h / heads});
    const auto part = [&](std::int64_t i) {
      return permute(reshape(slice(packed, 2, i, i + 1), {b, s, heads, h / heads}), {0, 2, 1, 3});
    };
    const Tensor mixed = composed_attention(part(0), part(1), part(2), {.dropout = p});
    const Tensor y = x + dropout(out(reshape(permute(mixed, {0, 2, 1, 3}), {b, s, h})), p);
    return y + dropout(down(up(ln_2(y), Activation::gelu_tanh)), p);
  }
};

/// Bytes that one more layer keeps for backward.
std::int64_t saved_bytes(std::int64_t s, std::int64_t b, std::int64_t a, std::int64_t h, double p) {
  const OnDevice on(Device::dry({}));
  const Block first(h, a), second(h, a);
  const Tensor x = randn({b, s, h}).set_requires_grad(true);
  const auto live = [] { return current_pool().statistics().of(Category::activations).requested.current; };
  const Tensor y = first(x, p);
  const std::int64_t before = live();
  const Tensor z = second(y, p);
  return live() - before;
}

}  // namespace

TEST_CASE("a transformer layer keeps 64 sbh + 8 as2b + 16 sb + s2 bytes in float32", "[predict]") {
  for (const auto& [s, b, a, h] : {std::array<std::int64_t, 4>{16, 2, 4, 32},
                                   {128, 1, 2, 64},
                                   {33, 3, 1, 8},
                                   {1024, 8, 25, 1600},
                                   {2048, 1, 96, 12288}}) {
    CAPTURE(s, b, a, h);
    // 16 values of the stream's size; rows' mean and deviation of two norms; who sees whom, one byte a pair.
    const std::int64_t common = 64 * s * b * h + 16 * s * b + s * s;
    CHECK(saved_bytes(s, b, a, h, 0.1) ==
          common + 8 * a * s * s * b);  // probabilities, and what dropout left
    CHECK(saved_bytes(s, b, a, h, 0.0) == common + 4 * a * s * s * b);
  }
}

TEST_CASE("whole models replay as many nodes as the README's table says", "[predict]") {
  struct Row {
    std::int64_t layers, blocks, sqrt, nested, cheap;
  };
  for (const Row& row :
       {Row{4, 24, 18, 34, 10}, Row{8, 56, 56, 106, 22}, Row{16, 120, 114, 290, 46},
        Row{32, 248, 290, 738, 94}, Row{64, 504, 546, 1794, 190}, Row{128, 1016, 1180, 4226, 382}}) {
    for (const auto& [segments, replayed] :
         {std::pair{"none", std::int64_t{0}}, std::pair{"blocks", row.blocks}, std::pair{"sqrt", row.sqrt},
          std::pair{"nested", row.nested}, std::pair{"cheap", row.cheap}}) {
      CAPTURE(row.layers, segments);
      const auto build = [&, setting = checkpoint::parse_setting(segments)]() -> checkpoint::Step {
        auto model = std::make_shared<nn::Gpt>(
            nn::GptConfig{.vocabulary = 105, .context = 64, .layers = row.layers, .heads = 4, .width = 64});
        model->segments = setting;
        return [=](checkpoint::PhaseMeter&) {
          const Tensor ids = empty({4, 64}, {.dtype = DType::int32});
          model->loss(ids, ids).backward();
        };
      };
      CHECK(checkpoint::predict({}, build, {.most_steps = 1}).tape.replayed_nodes == replayed);
    }
  }
}
