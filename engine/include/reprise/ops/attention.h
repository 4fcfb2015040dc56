// Attention: fused, and composed of matmul, softmax and dropout.
#pragma once

#include "reprise/kernels/attention.h"
#include "reprise/operation.h"

namespace reprise {
namespace ops {

/// softmax(scale q k^T + mask) v of q, k, v (B, H, T, D), never storing the (T, T) scores.
struct Attention {
  kernels::AttentionParams params;
  static constexpr std::string_view name = "attention";
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  static constexpr bool random = true;
  static constexpr int auxiliaries = 1;  // statistics of each row (B, H, T, 2)
  Specs infer(SpecSpan in) const;
  double flops(SpecSpan in) const;
  Saves saves(GradMask) const { return {.inputs = 7, .outputs = 3}; }
  void forward(const Exec&, Inputs, Outputs) const;
  void backward(const Exec&, const Saved&, OutGrads, GradSlots) const;
  bool operator==(const Attention&) const = default;
};

/// The same of one packed tensor (B, T, 3 H D), queries, keys and values one after the other, giving (B, T, H
/// D).
struct PackedAttention {
  std::int64_t heads = 1;
  kernels::AttentionParams params;
  static constexpr std::string_view name = "packed_attention";
  static constexpr bool any_layout = true;
  static constexpr bool only_kernels = true;
  static constexpr bool random = true;
  static constexpr int auxiliaries = 1;
  Specs infer(SpecSpan in) const;
  double flops(SpecSpan in) const;
  Saves saves(GradMask) const { return {.inputs = 1, .outputs = 3}; }
  void forward(const Exec&, Inputs, Outputs) const;
  void backward(const Exec&, const Saved&, OutGrads, GradSlots) const;
  bool operator==(const PackedAttention&) const = default;
};

}  // namespace ops

struct AttentionOptions {
  bool causal = true;
  double dropout = 0;  // of the probabilities; give 0 in evaluation
  double scale = 0;    // 0 stands for 1 / sqrt(D)
};

/// Fused attention of q, k, v (B, H, T, D), memory linear in T (Dao et al. 2022). Throws ShapeError,
/// ValueError.
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options = {});
/// Fused attention of qkv (B, T, 3 C) with `heads` heads: (B, T, C).
Tensor packed_attention(const Tensor& qkv, std::int64_t heads, const AttentionOptions& options = {});
/// The same function as `attention`, composed of matmul, softmax and dropout: memory quadratic in T, its
/// masks differ.
Tensor composed_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                          const AttentionOptions& options = {});

}  // namespace reprise
