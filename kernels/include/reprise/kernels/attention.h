// Scaled dot-product attention, fused: softmax(scale * q k^T + causal mask) v, without storing the (T, T)
// scores: memory is linear in the sequence (Dao et al. 2022). q, k, v, out and gradients are (B, H, T, D)
// views with unit stride in D and any other strides. lse (B, H, T) is contiguous in Compute<T>'s dtype.
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

/// out and lse = log(sum(exp(scores))) per row.
REPRISE_KERNEL(void, attention_forward, const Queue&, const AttentionParams&, RandomKey, const ConstView& q,
               const ConstView& k, const ConstView& v, const View& out, const View& lse, const Workspace&);

/// dq, dk, dv from what forward kept; probabilities are computed again from lse. Deterministic.
REPRISE_KERNEL(void, attention_backward, const Queue&, const AttentionParams&, RandomKey, const ConstView& q,
               const ConstView& k, const ConstView& v, const ConstView& out, const ConstView& lse,
               const ConstView& dout, const Target& dq, const Target& dk, const Target& dv, const Workspace&);

}  // namespace reprise::kernels
