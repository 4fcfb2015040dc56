// Scaled dot-product attention, fused: softmax(scale * q k^T + causal mask) v, without storing the (T, T)
// scores: memory is linear in the sequence (Dao et al. 2022). q, k, v, out and gradients are (B, H, T, D)
// views with unit stride in D and any other strides. statistics (B, H, T, 2) are contiguous in Compute<T>'s
// dtype: of each row a shift close to its largest score, and 1 / sum(exp(score - shift)); apart, as their
// log-sum-exp in one number is rounded at the size of the scores.
#pragma once

#include "reprise/kernels/dispatch.h"

namespace reprise::kernels {

struct AttentionParams {
  double scale = 1.0;
  bool causal = true;
  double dropout = 0.0;  // on the probabilities; element index is ((b * H + h) * T + row) * T + column
  bool operator==(const AttentionParams&) const = default;
};

REPRISE_WORKSPACE_QUERY(attention_workspace_bytes, DeviceKind, const AttentionParams&, const ConstView& q,
                        bool backward);

/// out, and the statistics that its backward on the same device needs.
REPRISE_KERNEL(void, attention_forward, const Queue&, const AttentionParams&, RandomKey, const ConstView& q,
               const ConstView& k, const ConstView& v, const View& out, const View& statistics,
               const Workspace&);

/// dq, dk, dv from what forward kept; probabilities are computed again from the statistics. Deterministic.
REPRISE_KERNEL(void, attention_backward, const Queue&, const AttentionParams&, RandomKey, const ConstView& q,
               const ConstView& k, const ConstView& v, const ConstView& out, const ConstView& statistics,
               const ConstView& dout, const Target& dq, const Target& dk, const Target& dv, const Workspace&);

}  // namespace reprise::kernels
