// Training steps whose memory is measured on a real device and predicted on a dry one.
#pragma once

#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <vector>

#include "reprise/reprise.h"

namespace reprise::test {

/// What a step is made of.
struct StepCase {
  std::string model = "gpt";
  std::string segments = "none";
  std::int64_t batch = 2;
  double dropout = 0;
  DType dtype = DType::float32;
  std::int64_t loss_chunk = 0;

  std::string name() const {
    return model + " " + segments + ", batch " + std::to_string(batch) + ", dropout " +
           std::to_string(dropout) + ", " + std::string(name_of(dtype)) +
           (loss_chunk > 0 ? ", chunked loss" : "");
  }
};

/// A step with its gradients clipped; batches are made anew each time, as a loader would.
template <class Model, class Optimiser, class Batch>
checkpoint::Step make_step(std::shared_ptr<Model> model, std::shared_ptr<Optimiser> optimiser, Batch batch) {
  return [=](checkpoint::PhaseMeter& meter) {
    optimiser->zero_grad();
    const auto [inputs, targets] = batch();
    Tensor loss;
    meter.run(Phase::forward, [&] { loss = model->loss(inputs, targets); });
    meter.run(Phase::backward, [&] { loss.backward(); });
    meter.run(Phase::optimiser,
              [&] { optimiser->step(1e-3, nn::global_norm(nn::parameters(*model), 1.0).scale); });
  };
}

inline checkpoint::Step gpt_step(const StepCase& c) {
  constexpr std::int64_t kSequence = 16;
  manual_seed(1);
  auto model = std::make_shared<nn::Gpt>(nn::GptConfig{.vocabulary = 23,
                                                       .context = kSequence,
                                                       .layers = 3,
                                                       .heads = 2,
                                                       .width = 32,
                                                       .dropout = c.dropout,
                                                       .loss_chunk = c.loss_chunk});
  if (c.dtype != DType::float32) nn::convert(*model, c.dtype);
  model->segments = checkpoint::parse_setting(c.segments);
  auto adam = std::make_shared<nn::AdamW>(nn::decay_matrices(nn::parameters(*model), 0.1));
  return make_step(model, adam, [batch = c.batch] {
    const std::vector<std::int32_t> ids(static_cast<std::size_t>(batch * kSequence), 3);
    const Shape shape{batch, kSequence};
    const TensorOptions options{.dtype = DType::int32};
    return std::pair{from_host<std::int32_t>(ids, shape, options),
                     from_host<std::int32_t>(ids, shape, options)};
  });
}

inline checkpoint::Step resnet_step(const StepCase& c) {
  manual_seed(1);
  nn::ResnetConfig config = nn::resnet_preset("resnet20");
  config.stages = {1, 2};
  config.width = 4;
  auto model = std::make_shared<nn::Resnet>(config);
  if (c.dtype != DType::float32) nn::convert(*model, c.dtype);
  model->segments = checkpoint::parse_setting(c.segments);
  auto sgd = std::make_shared<nn::Sgd>(nn::decay_matrices(nn::parameters(*model), 5e-4),
                                       nn::SgdOptions{.momentum = 0.9});
  return make_step(model, sgd, [batch = c.batch, dtype = c.dtype] {
    const std::vector<float> pixels(static_cast<std::size_t>(batch * 3 * 8 * 8), 0.5f);
    const std::vector<std::int32_t> classes(static_cast<std::size_t>(batch), 1);
    return std::pair{from_host<float>(pixels, {batch, 3, 8, 8}, {.channels_last = true}).to(dtype),
                     from_host<std::int32_t>(classes, {batch}, {.dtype = DType::int32})};
  });
}

inline checkpoint::Step step_of(const StepCase& c) { return c.model == "gpt" ? gpt_step(c) : resnet_step(c); }

/// What a program measures of itself.
struct Measured {
  MemoryStatistics memory;
  checkpoint::PhaseMeter phases;
  std::vector<std::pair<std::string, Usage>> segments;
  MemoryPeak peak;
  TapeCounters tape;
};

/// Runs `steps` steps on a real device, in a pool of their own.
template <class Build>
Measured measure(Device device, std::int64_t steps, Build&& build) {
  const std::shared_ptr<Pool> before = default_pool(device);
  const auto pool = std::make_shared<Pool>(source_of(device));
  set_default_pool(pool, device);
  Measured result;
  {
    const OnDevice on(device);
    const checkpoint::Step step = build();
    for (std::int64_t i = 0; i < steps; ++i) {
      const MemoryTrace trace(*pool);
      reset_tape_counters();
      step(result.phases);
      result.tape = tape_counters();
      result.peak = peak_of(trace);
    }
    result.memory = pool->statistics();
    result.segments = pool->usage_by_tag();
  }
  set_default_pool(before, device);
  return result;
}

/// A real device seen as a profile.
inline DeviceProfile profile_like(Device device) {
  DeviceProfile profile;
  profile.kind = device.kind;
  return profile;
}

/// Every number, to the byte.
inline void check_same(const checkpoint::Prediction& predicted, const Measured& measured) {
  CHECK(predicted.memory == measured.memory);
  for (const Phase phase : {Phase::forward, Phase::backward, Phase::optimiser}) {
    CAPTURE(name_of(phase));
    CHECK(predicted.phases.of(phase) == measured.phases.of(phase));
  }
  CHECK(predicted.segments == measured.segments);
  CHECK(predicted.peak.allocated == measured.peak.allocated);
  CHECK(predicted.peak.by_category == measured.peak.by_category);
  CHECK(predicted.peak.by_tag == measured.peak.by_tag);
  CHECK(describe(predicted.peak.origin) == describe(measured.peak.origin));
  CHECK(predicted.tape.recorded_nodes == measured.tape.recorded_nodes);
  CHECK(predicted.tape.replayed_nodes == measured.tape.replayed_nodes);
  CHECK(predicted.tape.replayed_bytes == measured.tape.replayed_bytes);
}

template <class Build>
void check_prediction(Device device, Build&& build) {
  const checkpoint::Prediction predicted = checkpoint::predict(profile_like(device), build);
  check_same(predicted, measure(device, predicted.steps, build));
}

}  // namespace reprise::test
