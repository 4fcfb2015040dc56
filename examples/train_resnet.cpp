// Trains a ResNet-20 on drawn shapes, and shows what checkpoint segments save: the same step with and without
// them.
#include <cstdio>
#include <exception>

#include "reprise/reprise.h"

using namespace reprise;

namespace {

constexpr std::int64_t kBatch = 32;
constexpr std::int64_t kSteps = 40;

struct Batch {
  Tensor images, labels;
};

Batch make_batch(const nn::ImageSet& set, const nn::Normalisation& normalisation, std::int64_t step) {
  const std::vector<std::int64_t> order = nn::epoch_order(set.count, 1, 0);
  const auto first = static_cast<std::size_t>(step * kBatch % (set.count - kBatch));
  std::vector<float> pixels(static_cast<std::size_t>(kBatch * set.image_bytes()));
  std::vector<std::int32_t> labels(kBatch);
  nn::image_batch<std::int32_t>(set, normalisation, std::span(order).subspan(first, kBatch), pixels, labels);
  return {from_host<float>(pixels, {kBatch, set.channels, set.height, set.width}, {.channels_last = true}),
          from_host<std::int32_t>(labels, {kBatch}, {.dtype = DType::int32})};
}

void run(checkpoint::Strategy strategy) {
  manual_seed(1);
  const nn::ImageData data = nn::draw_shapes(2000, 100, 1);
  const nn::Normalisation normalisation = nn::normalisation_of(data.train);
  nn::Resnet model(nn::resnet_preset("resnet20"));
  model.segments = {.strategy = strategy};
  nn::Sgd optimiser({{nn::parameters(model), 5e-4}}, {.momentum = 0.9, .nesterov = true});

  current_pool().reset_peaks();
  double loss_value = 0;
  for (std::int64_t step = 0; step < kSteps; ++step) {
    const Batch batch = make_batch(data.train, normalisation, step);
    optimiser.zero_grad();
    const Tensor loss = model.loss(batch.images, batch.labels);
    loss.backward();
    optimiser.step(0.05);
    loss_value = loss.item<float>();
  }
  std::printf("%-8s loss %.9g  activations at their peak %s\n", checkpoint::to_string(model.segments).c_str(),
              loss_value, format_bytes(current_pool().statistics().activations.allocated.peak).c_str());
}

}  // namespace

int main() {
  try {
    run(checkpoint::Strategy::none);
    run(checkpoint::Strategy::blocks);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
  return 0;
}
