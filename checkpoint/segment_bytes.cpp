// What keeping a segment costs, and what playing it backward takes: decides how long the last one before the
// loss is kept.
#include <algorithm>
#include <unordered_set>

#include "segment_region.h"

namespace reprise::checkpoint {

std::int64_t SegmentRegion::unsaved_bytes() const {
  std::unordered_set<const Storage*> counted{nullptr};
  for_each_node(
      [&](Node& node) { for_each_saved(node, [&](const Value& value) { counted.insert(value.storage); }); });
  std::int64_t bytes = 0;
  for_each_node([&](const Node& node) {
    if (node.table->view != nullptr) return;
    for (std::uint32_t i = 0; i < node.n_outputs; ++i) {
      const Storage* storage = node.outputs[i]->storage;
      if (counted.insert(storage).second) bytes += Pool::block_bytes(storage->bytes());
    }
  });
  return bytes;
}

std::int64_t SegmentRegion::backward_bytes() const {
  const std::uint64_t mark = next_mark();
  std::unordered_set<const Value*> outside;
  std::int64_t live = 0;
  std::int64_t most = 0;
  const auto bytes = [](const Value& value) { return Pool::block_bytes(value.spec.bytes()); };
  for_each_node_backward([&](const Node& node) {
    if (node.needs == 0) return;
    const OpTable& table = *node.table;
    for (std::uint32_t i = 0; i < node.n_visible(); ++i) {
      Value& output = *node.outputs[i];
      if (!output.requires_grad || output.mark == mark) continue;
      output.mark = mark;
      live += bytes(output);
    }
    for (std::uint32_t i = 0; i < node.n_inputs; ++i) {
      Value& input = *node.inputs[i];
      if (!(node.needs >> i & 1u) || (i == 0 && (table.gradient_in_place || table.view != nullptr))) continue;
      if (table.passes_gradient >> i & 1u) continue;
      if (owns(input)) {
        if (std::exchange(input.mark, mark) != mark) live += bytes(input);
      } else if (input.gradient == nullptr && outside.insert(&input).second) {
        live += bytes(input);
      }
    }
    most = std::max(most, live);
    for (std::uint32_t i = 0; i < node.n_visible(); ++i) {
      if (node.outputs[i]->requires_grad) live -= bytes(*node.outputs[i]);
    }
    for (std::uint32_t i = 0; i < node.n_inputs; ++i) {
      if ((node.saves.inputs >> i & 1u) && owns(*node.inputs[i])) live -= bytes(*node.inputs[i]);
    }
  });
  return most;
}

}  // namespace reprise::checkpoint
