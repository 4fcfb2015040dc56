#include "reprise/nn/gpt.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <random>

#include "reprise/checked.h"

namespace reprise::nn {
namespace {

struct Preset {
  std::string_view name;
  GptConfig config;
};

constexpr std::array kPresets{
    Preset{"tiny", {.vocabulary = 256, .context = 128, .layers = 4, .heads = 4, .width = 128, .dropout = 0}},
    Preset{"small", {.vocabulary = 256, .context = 256, .layers = 6, .heads = 6, .width = 192, .dropout = 0}},
    Preset{"gpt2",
           {.vocabulary = 50257, .context = 1024, .layers = 12, .heads = 12, .width = 768, .dropout = 0}},
    Preset{"gpt2-medium",
           {.vocabulary = 50257, .context = 1024, .layers = 24, .heads = 16, .width = 1024, .dropout = 0}},
    Preset{"gpt2-large",
           {.vocabulary = 50257, .context = 1024, .layers = 36, .heads = 20, .width = 1280, .dropout = 0}},
    Preset{"gpt2-xl",
           {.vocabulary = 50257, .context = 1024, .layers = 48, .heads = 25, .width = 1600, .dropout = 0}},
};

constexpr double kDeviation = 0.02;

/// GPT-2's layers keep their weights as (in, out), drawn with deviation 0.02, biases 0.
Linear gpt_linear(std::int64_t in, std::int64_t out, double deviation = kDeviation) {
  Linear layer;
  layer.layout = WeightLayout::in_out;
  layer.weight = normal_parameter({in, out}, deviation);
  layer.bias = constant_parameter({out}, 0);
  return layer;
}

/// Projections onto the residual stream start smaller, by the square root of the number of branches.
double residual_deviation(const GptConfig& config) {
  return kDeviation / std::sqrt(2.0 * static_cast<double>(config.layers));
}

}  // namespace

GptConfig gpt_preset(std::string_view name) {
  std::string names;
  for (const Preset& preset : kPresets) {
    if (preset.name == name) return preset.config;
    names += (names.empty() ? "" : ", ") + std::string(preset.name);
  }
  throw ValueError(fmt::format("[gpt] no preset '{}'; there are {}", name, names));
}

void check(const GptConfig& config) {
  const auto at_least_one = [](const char* what, std::int64_t value) {
    if (value < 1) throw ValueError(fmt::format("[gpt] {} is {}; it must be at least 1", what, value));
  };
  at_least_one("the vocabulary", config.vocabulary);
  at_least_one("the context", config.context);
  at_least_one("the number of layers", config.layers);
  at_least_one("the number of heads", config.heads);
  at_least_one("the width", config.width);
  if (config.width % config.heads != 0) {
    throw ValueError(fmt::format("[gpt] width {} does not divide into {} heads", config.width, config.heads));
  }
  if (config.loss_chunk < 0)
    throw ValueError(fmt::format("[gpt] loss_chunk {}; give rows, or 0 for all at once", config.loss_chunk));
  if (!(config.dropout >= 0 && config.dropout <= 1)) {
    throw ValueError(fmt::format("[gpt] dropout {}; give a probability in [0, 1]", config.dropout));
  }
}

CausalSelfAttention::CausalSelfAttention(const GptConfig& config)
    : c_attn(gpt_linear(config.width, checked::multiply("gpt", 3, config.width))),
      c_proj(gpt_linear(config.width, config.width, residual_deviation(config))),
      resid_dropout{.p = config.dropout},
      heads(config.heads) {}

Tensor CausalSelfAttention::operator()(Tensor x) const {
  const ModuleScope scope("attn");
  const double p = resid_dropout.training ? resid_dropout.p : 0.0;
  return resid_dropout(c_proj(packed_attention(c_attn(std::move(x)), heads, {.dropout = p})));
}

void CausalSelfAttention::visit(Visitor& v) {
  v.child("c_attn", c_attn);
  v.child("c_proj", c_proj);
  v.child("resid_dropout", resid_dropout);
}

Mlp::Mlp(const GptConfig& config)
    : c_fc(gpt_linear(config.width, checked::multiply("gpt", 4, config.width))),
      c_proj(gpt_linear(c_fc.weight.size(1), config.width, residual_deviation(config))),
      dropout{.p = config.dropout} {}

Tensor Mlp::operator()(Tensor x) const {
  const ModuleScope scope("mlp");
  return dropout(c_proj(c_fc(std::move(x), Activation::gelu_tanh)));
}

void Mlp::visit(Visitor& v) {
  v.child("c_fc", c_fc);
  v.child("c_proj", c_proj);
  v.child("dropout", dropout);
}

GptBlock::GptBlock(const GptConfig& config)
    : ln_1(config.width), attn(config), ln_2(config.width), mlp(config) {}

Tensor GptBlock::attend(Tensor x) const {
  Tensor branch = attn(ln_1(x));
  return std::move(x) + std::move(branch);
}

Tensor GptBlock::feed_forward(Tensor x) const {
  Tensor branch = mlp(ln_2(x));
  return std::move(x) + std::move(branch);
}

void GptBlock::visit(Visitor& v) {
  v.child("ln_1", ln_1);
  v.child("attn", attn);
  v.child("ln_2", ln_2);
  v.child("mlp", mlp);
}

Gpt::Gpt(const GptConfig& sizes) : config(sizes) {
  check(config);
  wte = Embedding(config.vocabulary, config.width, kDeviation);
  wpe = Embedding(config.context, config.width, kDeviation);
  drop = {.p = config.dropout};
  for (std::int64_t i = 0; i < config.layers; ++i) h.emplace_back(config);
  ln_f = LayerNorm(config.width);
  name_tensors(*this);
}

Tensor Gpt::hidden(const Tensor& ids) {
  if (ids.rank() != 2 || ids.size(1) > config.context) {
    throw ShapeError(fmt::format("[gpt] ids must be (B, T) with T up to the context {}, not {}",
                                 config.context, to_string(ids.shape())));
  }
  const ModuleScope scope("transformer");
  Tensor x = drop(wte(ids) + slice(wpe.weight, 0, 0, ids.size(1)));
  if (segments.strategy == checkpoint::Strategy::cheap) {  // each half brings back its own norm only
    checkpoint::sequence(segments, 2 * config.layers, [&](std::int64_t i) {
      const ModuleScope in_block(fmt::format("h.{}", i / 2));
      const GptBlock& block = h[static_cast<std::size_t>(i / 2)];
      x = i % 2 == 0 ? block.attend(std::move(x)) : block.feed_forward(std::move(x));
    });
  } else {
    checkpoint::sequence(segments, config.layers, [&](std::int64_t i) {
      const ModuleScope in_block(fmt::format("h.{}", i));
      x = h[static_cast<std::size_t>(i)](std::move(x));
    });
  }
  return ln_f(x);
}

Tensor Gpt::operator()(const Tensor& ids) {
  Tensor x = hidden(ids);
  const ModuleScope scope("lm_head");
  return linear(std::move(x), wte.weight);
}

Tensor Gpt::loss(const Tensor& ids, const Tensor& targets) {
  if (config.loss_chunk > 0 || linear_cross_entropy_pads(wte.weight)) {
    const Tensor x = hidden(ids);
    const ModuleScope scope("lm_head");
    const std::int64_t all = std::max<std::int64_t>(ids.numel(), 1);
    return linear_cross_entropy(x, wte.weight, targets, config.loss_chunk > 0 ? config.loss_chunk : all);
  }
  const Tensor logits = (*this)(ids);
  const ModuleScope scope("loss");
  return cross_entropy(logits, targets);
}

void Gpt::visit(Visitor& v) {
  v.child("transformer.wte", wte);
  v.child("transformer.wpe", wpe);
  v.child("transformer.drop", drop);
  for (std::size_t i = 0; i < h.size(); ++i) v.child(fmt::format("transformer.h.{}", i), h[i]);
  v.child("transformer.ln_f", ln_f);
}

namespace {

/// exp(logit / temperature) times a number that makes the largest 1: in double and of differences alone, so
/// that no temperature above 0 is too small.
std::vector<double> weights_of(std::vector<double> logits, double temperature) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  for (double& logit : logits) {
    if (std::isnan(logit) || !std::isfinite(largest)) {
      throw ValueError(
          fmt::format("[generate] the model's logits are not finite ({}); was it trained with too high a "
                      "learning rate?",
                      std::isnan(logit) ? logit : largest));
    }
    logit = std::isfinite(logit) ? std::exp((logit - largest) / temperature) : 0;
  }
  return logits;
}

}  // namespace

std::vector<std::int32_t> generate(Gpt& model, std::vector<std::int32_t> prompt, std::int64_t count,
                                   double temperature, std::uint64_t seed,
                                   const std::function<void()>& before_each) {
  if (prompt.empty()) throw ValueError("[generate] the prompt is empty; give at least one id");
  if (!(temperature > 0))
    throw ValueError(fmt::format("[generate] temperature {}; it must be above 0", temperature));
  const NoGrad no_grad;
  std::mt19937_64 random(seed);
  for (std::int64_t i = 0; i < count; ++i) {
    if (before_each) before_each();
    const auto length =
        std::min<std::int64_t>(static_cast<std::int64_t>(prompt.size()), model.config.context);
    const std::span<const std::int32_t> window(
        prompt.data() + (static_cast<std::int64_t>(prompt.size()) - length),
        static_cast<std::size_t>(length));
    const Tensor ids = from_host<std::int32_t>(window, {1, length}, {.dtype = DType::int32});
    const std::vector<double> weights =
        weights_of(slice(model(ids), 1, length - 1, length).to_vector<double>(), temperature);
    std::discrete_distribution<std::int32_t> draw(weights.begin(), weights.end());
    prompt.push_back(draw(random));
  }
  return prompt;
}

}  // namespace reprise::nn
