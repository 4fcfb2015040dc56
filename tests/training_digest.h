// A few training steps through every library of the CPU backend, as one digest.
#pragma once

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "reprise/reprise.h"

namespace training_digest {

/// Steps of a model, with a segment around every other one: what they leave.
template <class Model>
void train(Model model, const reprise::Tensor& inputs, const reprise::Tensor& targets,
           std::vector<reprise::Tensor>& left) {
  reprise::nn::AdamW optimiser({{.parameters = reprise::nn::parameters(model)}});
  for (int step = 0; step < 2; ++step) {
    optimiser.zero_grad();
    const auto forward = [&] { return model.loss(inputs, targets); };
    const reprise::Tensor loss = step == 0 ? forward() : reprise::checkpoint::segment("step", forward);
    loss.backward();
    left.push_back(loss.detach());
    for (const reprise::Tensor& parameter : reprise::nn::parameters(model)) left.push_back(parameter.grad());
    optimiser.step(1e-2);
  }
}

/// The digest of losses and gradients of a GPT and a ResNet, large enough that the CPU's libraries share
/// their work among threads, and that a ResNet's results depend on how many.
inline std::string digest_of_training() {
  using namespace reprise;
  const auto ids = [](std::int32_t stride) {
    std::vector<std::int32_t> all(4 * 32);
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::int32_t>(i) * stride % 61;
    return tensor<std::int32_t>(all, {4, 32});
  };
  std::vector<float> pixels(4 * 3 * 20 * 20);
  for (std::size_t i = 0; i < pixels.size(); ++i)
    pixels[i] = static_cast<float>(std::sin(0.37 * static_cast<double>(i)));

  std::vector<Tensor> left;
  manual_seed(7);
  train(nn::Gpt({.vocabulary = 61, .context = 32, .layers = 2, .heads = 4, .width = 64, .dropout = 0.1}),
        ids(5), ids(7), left);
  train(nn::Resnet({.stages = {1, 1}, .width = 16}), tensor<float>(pixels, {4, 3, 20, 20}),
        tensor<std::int32_t>({1, 5, 3, 9}, {4}), left);
  return nn::digest(left);
}

}  // namespace training_digest
