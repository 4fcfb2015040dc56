// Scratch memory of attention; the two directions are in files of their own.
#include "reprise/kernels/attention.h"

#include "attention_work.h"

namespace reprise::kernels::cpu {

std::size_t attention_workspace_bytes(DeviceKind, const AttentionParams& params, const ConstView& q,
                                      bool backward) {
  if (q.numel() == 0) return 0;
  const std::size_t of_thread =
      backward ? attention::backward_bytes(params, q) : attention::forward_bytes(params, q);
  return of_thread * static_cast<std::size_t>(num_threads()) + attention::kAlignment;
}

}  // namespace reprise::kernels::cpu
