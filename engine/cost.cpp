#include "reprise/cost.h"

#include <algorithm>

namespace reprise {

double estimated_forward_ms(const DeviceProfile& profile, const Node& node) {
  const OpTable& table = *node.table;
  if (table.view != nullptr) return 0;
  double bytes = 0;
  for (std::uint32_t i = 0; i < node.n_inputs; ++i)
    bytes += static_cast<double>(node.inputs[i]->spec.bytes());
  for (std::uint32_t i = 0; i < node.n_outputs; ++i)
    bytes += static_cast<double>(node.outputs[i]->spec.bytes());
  double seconds = bytes / profile.bytes_per_second;
  if (table.flops != nullptr) {
    const bool is_16_bit = size_of(node.inputs[0]->spec.dtype) == 2;
    const double flops = table.flops(node.op, SpecSpan(node.inputs, node.n_inputs));
    seconds = std::max(seconds, flops / (is_16_bit ? profile.flops_16_bit : profile.flops_32_bit));
  }
  return 1e3 * seconds;
}

}  // namespace reprise
