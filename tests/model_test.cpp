// Whole models: training is the same to the last bit however the blocks are cut into segments, on one and two
// threads, and after running out of memory; and it learns.
#include <algorithm>
#include <utility>

#include "reprise/kernels/threads.h"
#include "reprise/reprise.h"
#include "tape_support.h"

using namespace tape_test;

namespace {

constexpr int kSteps = 3;

class Threads {
 public:
  explicit Threads(int threads) { kernels::set_num_threads(threads); }
  ~Threads() { kernels::set_num_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_ = kernels::num_threads();
};

/// Makes a pool the CPU's for one scope.
class UsePool {
 public:
  explicit UsePool(std::shared_ptr<Pool> pool) { set_default_pool(std::move(pool)); }
  ~UsePool() { set_default_pool(before_); }
  UsePool(const UsePool&) = delete;
  UsePool& operator=(const UsePool&) = delete;

 private:
  std::shared_ptr<Pool> before_ = default_pool();
};

std::vector<std::int32_t> numbers(std::int64_t count, std::int32_t below, std::int32_t stride) {
  std::vector<std::int32_t> all(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::int32_t>(i) * stride % below;
  return all;
}

/// A small GPT with its batches.
struct GptCase {
  nn::GptConfig config{.vocabulary = 37, .context = 24, .layers = 5, .heads = 2, .width = 32, .dropout = 0.2};

  nn::Gpt make() const { return nn::Gpt(config); }
  static std::pair<Tensor, Tensor> batch(int step) {
    return {tensor<std::int32_t>(numbers(2 * 21, 37, 5 + step), {2, 21}),
            tensor<std::int32_t>(numbers(2 * 21, 37, 7 + step), {2, 21})};
  }
};

/// A small ResNet with its batches.
struct ResnetCase {
  nn::ResnetConfig config;

  nn::Resnet make() const { return nn::Resnet(config); }
  std::pair<Tensor, Tensor> batch(int step) const {
    std::vector<float> pixels(static_cast<std::size_t>(3 * config.channels * 13 * 13));
    for (std::size_t i = 0; i < pixels.size(); ++i)
      pixels[i] = static_cast<float>(std::sin(0.37 * static_cast<double>(i) + step));
    return {tensor<float>(pixels, {3, config.channels, 13, 13}), tensor<std::int32_t>(numbers(3, 5, 2), {3})};
  }
};

ResnetCase resnet_case(nn::BlockKind block, bool projection, bool large = false) {
  return {{.block = block,
           .stages = {2, 1, 2},
           .width = 6,
           .classes = 5,
           .large_images = large,
           .projection = projection}};
}

/// Everything that a training run leaves, as digests, and what it cost.
struct Outcome {
  std::vector<std::string> losses, gradients;
  std::string parameters, buffers;
  Generator generator;
  std::int64_t activation_peak = 0, requested_peak = 0, replayed_nodes = 0;
};

template <class Model>
class Training {
 public:
  template <class Case>
  explicit Training(const Case& data)
      : model(seeded(data)), optimiser_({{.parameters = nn::parameters(model)}}) {
    buffers_ = nn::tensors_of(nn::named_buffers(model));
  }

  template <class Case>
  void step(const Case& data, int i, Outcome& outcome) {
    nn::Transaction transaction(buffers_);
    optimiser_.zero_grad();
    const auto [inputs, targets] = data.batch(i);
    const Tensor loss = model.loss(inputs, targets);
    loss.backward();
    std::vector<Tensor> gradients;
    for (const Tensor& parameter : nn::parameters(model)) gradients.push_back(parameter.grad());
    outcome.losses.push_back(nn::digest(std::vector{loss.detach()}));
    outcome.gradients.push_back(nn::digest(gradients));
    optimiser_.step(1e-2);
    transaction.commit();
  }

  template <class Case>
  Outcome run(const Case& data) {
    Outcome outcome;
    current_pool().reset_peaks();
    reset_tape_counters();
    for (int i = 0; i < kSteps; ++i) step(data, i, outcome);
    outcome.activation_peak = current_pool().statistics().activations.allocated.peak;
    outcome.requested_peak = current_pool().statistics().all.requested.peak;
    outcome.replayed_nodes = tape_counters().replayed_nodes;
    outcome.parameters = nn::digest(nn::parameters(model));
    outcome.buffers = nn::digest(buffers_);
    outcome.generator = generator();
    return outcome;
  }

  Model model;

 private:
  template <class Case>
  static Model seeded(const Case& data) {
    manual_seed(21);
    return data.make();
  }

  nn::AdamW optimiser_;
  std::vector<Tensor> buffers_;
};

template <class Case>
using ModelOf = decltype(std::declval<Case>().make());

template <class Case>
Outcome train(const Case& data, const std::string& segments) {
  Training<ModelOf<Case>> training(data);
  training.model.segments = checkpoint::parse_setting(segments);
  return training.run(data);
}

void check_equal(const Outcome& one, const Outcome& other) {
  CHECK(one.losses == other.losses);
  CHECK(one.gradients == other.gradients);
  CHECK(one.parameters == other.parameters);
  CHECK(one.buffers == other.buffers);
  CHECK((one.generator == other.generator));
}

template <class Case>
void check_segments(const Case& data) {
  const NothingLeft nothing_left;
  for (const int threads : {1, 2}) {
    CAPTURE(threads);
    const Threads scope(threads);
    const Outcome reference = train(data, "none");
    CHECK(reference.replayed_nodes == 0);
    CHECK(reference.losses.front() != reference.losses.back());
    check_equal(train(data, "none"), reference);
    for (const char* segments : {"blocks", "every:2", "sqrt", "nested", "cheap"}) {
      CAPTURE(segments);
      const Outcome outcome = train(data, segments);
      check_equal(outcome, reference);
      CHECK(outcome.replayed_nodes > 0);
      CHECK(outcome.activation_peak < reference.activation_peak);
    }
  }
}

/// Runs out of memory without segments, then goes on with them.
template <class Case>
void check_exhaustion(const Case& data) {
  // Without caching, so that what is asked for decides.
  const auto pool = [](std::size_t capacity) {
    return std::make_shared<Pool>(limited_source(host_source(), capacity), PoolOptions{.passthrough = true});
  };
  Outcome plain, cut;
  {
    const UsePool scope(pool(kUnlimited));
    plain = train(data, "none");
  }
  {
    const UsePool scope(pool(kUnlimited));
    cut = train(data, "blocks");
  }
  REQUIRE(cut.requested_peak < plain.requested_peak);
  const UsePool scope(pool(static_cast<std::size_t>((plain.requested_peak + cut.requested_peak) / 2)));
  Training<ModelOf<Case>> training(data);
  const Books before;
  Outcome failed;
  CHECK_THROWS_AS(training.step(data, 0, failed), OutOfMemory);
  CHECK(Books() == before);
  training.model.segments = checkpoint::parse_setting("blocks");
  check_equal(training.run(data), plain);
}

/// First and last loss of 30 steps on one batch.
template <class Model, class Optimiser>
std::pair<float, float> overfit(Model& model, const std::pair<Tensor, Tensor>& batch, Optimiser optimiser,
                                double lr) {
  float first = 0;
  float last = 0;
  for (int i = 0; i < 30; ++i) {
    optimiser.zero_grad();
    const Tensor loss = model.loss(batch.first, batch.second);
    loss.backward();
    last = loss.template item<float>();
    if (i == 0) first = last;
    optimiser.step(lr);
  }
  return {first, last};
}

}  // namespace

TEST_CASE("a GPT trains alike under every setting of segments", "[models]") { check_segments(GptCase{}); }

TEST_CASE("residual networks train alike under every setting of segments", "[models]") {
  using nn::BlockKind;
  SECTION("basic blocks, zero channels") { check_segments(resnet_case(BlockKind::basic, false)); }
  SECTION("basic blocks, projections") { check_segments(resnet_case(BlockKind::basic, true)); }
  SECTION("bottlenecks, projections, large images") {
    check_segments(resnet_case(BlockKind::bottleneck, true, true));
  }
  SECTION("bottlenecks, zero channels") { check_segments(resnet_case(BlockKind::bottleneck, false)); }
  SECTION("pre-activation, projections") { check_segments(resnet_case(BlockKind::pre_activation, true)); }
  SECTION("pre-activation, zero channels") { check_segments(resnet_case(BlockKind::pre_activation, false)); }
}

TEST_CASE("a step that ran out of memory succeeds with segments, to the same bits", "[models]") {
  SECTION("GPT") { check_exhaustion(GptCase{}); }
  SECTION("ResNet") { check_exhaustion(resnet_case(nn::BlockKind::basic, true)); }
}

TEST_CASE("models learn one batch by heart", "[models]") {
  manual_seed(4);
  nn::Gpt gpt({.vocabulary = 37, .context = 24, .layers = 2, .heads = 2, .width = 32});
  const auto [gpt_first, gpt_last] =
      overfit(gpt, GptCase::batch(0), nn::AdamW({{.parameters = nn::parameters(gpt)}}), 1e-2);
  CHECK(gpt_first == Approx(std::log(37.0)).epsilon(0.05));
  CHECK(gpt_last < 0.3 * gpt_first);

  const ResnetCase data = resnet_case(nn::BlockKind::basic, true);
  nn::Resnet resnet = data.make();
  const auto [resnet_first, resnet_last] = overfit(
      resnet, data.batch(0), nn::Sgd({{.parameters = nn::parameters(resnet)}}, {.momentum = 0.9}), 0.02);
  CHECK(resnet_last < 0.3 * resnet_first);
}
