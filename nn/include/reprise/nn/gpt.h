// GPT-2 (Radford et al. 2019): pre-norm transformer decoder with learned positions and a head tied to the
// token table.
#pragma once

#include <functional>
#include <string_view>

#include "reprise/checkpoint.h"
#include "reprise/nn/layers.h"

namespace reprise::nn {

struct GptConfig {
  std::int64_t vocabulary = 50257;
  std::int64_t context = 1024;  // longest sequence
  std::int64_t layers = 12;
  std::int64_t heads = 12;
  std::int64_t width = 768;
  double dropout = 0.0;         // of the embedding, the attention probabilities and both residual branches
  std::int64_t loss_chunk = 0;  // rows of logits that the loss makes at a time; 0: all
  bool operator==(const GptConfig&) const = default;
};

/// "tiny", "small", "gpt2" (124 M), "gpt2-medium" (355 M), "gpt2-large" (774 M), "gpt2-xl" (1.5 B); throws
/// ValueError listing them.
GptConfig gpt_preset(std::string_view name);

/// Throws ValueError when the sizes do not fit together.
void check(const GptConfig& config);

/// Causal self-attention of (B, T, C).
struct CausalSelfAttention {
  Linear c_attn, c_proj;
  Dropout resid_dropout;
  std::int64_t heads = 1;

  CausalSelfAttention() = default;
  explicit CausalSelfAttention(const GptConfig& config);
  Tensor operator()(Tensor x) const;
  void visit(Visitor& v);
};

/// Two layers with GELU between them: C to 4 C to C.
struct Mlp {
  Linear c_fc, c_proj;
  Dropout dropout;

  Mlp() = default;
  explicit Mlp(const GptConfig& config);
  Tensor operator()(Tensor x) const;
  void visit(Visitor& v);
};

/// Attention, then the two-layer network, each added to what it reads.
struct GptBlock {
  LayerNorm ln_1;
  CausalSelfAttention attn;
  LayerNorm ln_2;
  Mlp mlp;

  GptBlock() = default;
  explicit GptBlock(const GptConfig& config);
  /// x + attention(norm(x)).
  Tensor attend(Tensor x) const;
  /// x + mlp(norm(x)).
  Tensor feed_forward(Tensor x) const;
  Tensor operator()(Tensor x) const { return feed_forward(attend(std::move(x))); }
  void visit(Visitor& v);
};

struct Gpt {
  GptConfig config;
  Embedding wte, wpe;
  Dropout drop;
  std::vector<GptBlock> h;
  LayerNorm ln_f;
  checkpoint::Setting segments;  // how the blocks are cut into checkpoint segments

  Gpt() = default;
  explicit Gpt(const GptConfig& config);
  /// What the head reads, (B, T, C), of ids (B, T); throws ShapeError when T is longer than the context.
  Tensor hidden(const Tensor& ids);
  /// Logits (B, T, V) of ids (B, T); throws ShapeError when T is longer than the context.
  Tensor operator()(const Tensor& ids);
  /// Mean cross entropy in nats of predicting targets (B, T).
  Tensor loss(const Tensor& ids, const Tensor& targets);
  void visit(Visitor& v);
};

/// Appends `count` ids to `prompt`, each drawn from the softmax of the model's logits divided by
/// `temperature`. `before_each` is called before each draw; what it throws ends the work. Throws ValueError
/// for an empty prompt, a temperature that is not above 0, and logits that are NaN or infinite. A
/// temperature so small that nothing else has a chance draws the likeliest id.
std::vector<std::int32_t> generate(Gpt& model, std::vector<std::int32_t> prompt, std::int64_t count,
                                   double temperature, std::uint64_t seed,
                                   const std::function<void()>& before_each = {});

}  // namespace reprise::nn
