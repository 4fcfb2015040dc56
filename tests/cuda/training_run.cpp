#include "training_run.h"

#include <numeric>
#include <optional>

namespace reprise::test {
namespace {

/// Steps `loss` with `optimiser`; `load(i)` fills the batch that it reads.
template <class Optimiser, class Load, class Loss>
std::vector<double> run_steps(const TrainingOptions& options, const std::vector<Tensor>& parameters,
                              Optimiser& optimiser, Load&& load, Loss&& make_loss) {
  std::vector<double> losses;
  std::optional<CapturedWork> graph;
  if (options.graph) graph.emplace(default_device());
  Tensor loss;
  const auto forward_and_backward = [&] {
    optimiser.zero_grad();
    loss = Tensor();
    loss = make_loss();
    loss.backward();
  };
  for (int i = 0; i < options.steps; ++i) {
    load(i);
    const double lr = 0.01 / (i + 1);
    if (graph && i > 0) {
      optimiser.set_rates(lr);
      graph->run([&] {
        forward_and_backward();
        optimiser.step_with_rates(nn::global_norm(parameters, 0.5).scale);
      });
    } else {
      forward_and_backward();
      optimiser.step(lr, nn::global_norm(parameters, 0.5).scale);
    }
    losses.push_back(loss.item<float>());
  }
  return losses;
}

Outcome outcome(std::vector<double> losses, const std::vector<Tensor>& parameters,
                const std::vector<Tensor>& buffers) {
  std::vector<Tensor> gradients;
  for (const Tensor& parameter : parameters) gradients.push_back(parameter.grad());
  return {std::move(losses), nn::digest(gradients), nn::digest(parameters), nn::digest(buffers), generator()};
}

/// The same tensor filled again for every step, so that a captured graph reads it.
template <class T>
void put(Tensor& tensor, const std::vector<T>& elements, const Shape& shape, bool channels_last = false) {
  const Tensor fresh =
      from_host<T>(elements, shape, {.dtype = dtype_of<T>(), .channels_last = channels_last});
  if (tensor.defined())
    tensor.copy_(fresh);
  else
    tensor = fresh;
}

}  // namespace

Outcome train_gpt(const TrainingOptions& options) {
  manual_seed(1);
  nn::Gpt model({.vocabulary = 37,
                 .context = 12,
                 .layers = 4,
                 .heads = 2,
                 .width = 32,
                 .dropout = options.dropout,
                 .loss_chunk = options.loss_chunk});
  if (options.dtype != DType::float32) nn::convert(model, options.dtype);
  model.segments = checkpoint::parse_setting(options.segments);
  const std::vector<Tensor> parameters = nn::parameters(model);
  nn::AdamW optimiser(nn::decay_matrices(parameters, 0.1));
  constexpr std::int64_t kBatch = 2, kLength = 12;
  Tensor ids, targets;
  const auto load = [&](int step) {
    std::vector<std::int32_t> values(kBatch * kLength);
    for (std::size_t k = 0; k < values.size(); ++k)
      values[k] = static_cast<std::int32_t>((k * 7 + static_cast<std::size_t>(step) * 11 + k / 5) % 37);
    put<std::int32_t>(ids, values, {kBatch, kLength});
    for (std::int32_t& value : values) value = (value * 5 + 3) % 37;
    put<std::int32_t>(targets, values, {kBatch, kLength});
  };
  std::vector<double> losses =
      run_steps(options, parameters, optimiser, load, [&] { return model.loss(ids, targets); });
  return outcome(std::move(losses), parameters, {});
}

Outcome train_resnet(const TrainingOptions& options) {
  manual_seed(2);
  nn::Resnet model({.stages = {2, 2}, .width = 8, .classes = 5, .channels = 3});
  if (options.dtype != DType::float32) nn::convert(model, options.dtype);
  model.segments = checkpoint::parse_setting(options.segments);
  const std::vector<Tensor> parameters = nn::parameters(model);
  nn::Sgd optimiser(nn::decay_matrices(parameters, 5e-4), {.momentum = 0.9, .nesterov = true});
  constexpr std::int64_t kBatch = 4, kSize = 8;
  Tensor images, labels;
  const auto load = [&](int step) {
    std::vector<float> pixels(kBatch * 3 * kSize * kSize);
    for (std::size_t k = 0; k < pixels.size(); ++k)
      pixels[k] = static_cast<float>((k * 31 + static_cast<std::size_t>(step) * 17) % 101) / 50.0f - 1.0f;
    put<float>(images, pixels, {kBatch, 3, kSize, kSize}, true);
    put<std::int32_t>(labels, {step % 5, (step + 1) % 5, (step + 3) % 5, 4}, {kBatch});
  };
  std::vector<double> losses = run_steps(options, parameters, optimiser, load, [&] {
    return cross_entropy(model(images.to(options.dtype)), labels);
  });
  return outcome(std::move(losses), parameters, nn::tensors_of(nn::named_buffers(model)));
}

}  // namespace reprise::test
