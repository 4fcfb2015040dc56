// What keeping a segment costs, and what playing it backward takes: decides how long the last one before the
// loss is kept.
#include <algorithm>

#include "segment_region.h"

namespace reprise::checkpoint {
namespace {

/// True the first time that the storage is seen under this mark.
bool first_seen(Storage* storage, std::uint64_t mark) noexcept {
  return storage != nullptr && storage->mark.exchange(mark, std::memory_order_relaxed) != mark;
}

std::int64_t block_bytes(const Value& value) noexcept {
  return Pool::block_bytes(static_cast<std::size_t>(value.spec.bytes()));
}

}  // namespace

std::int64_t SegmentRegion::unsaved_bytes() const noexcept {
  const std::uint64_t mark = next_mark();
  for_each_node([&](Node& node) {
    for_each_saved(node, [&](const Value& value) { first_seen(value.storage, mark); });
  });
  std::int64_t bytes = 0;
  for_each_node([&](const Node& node) {
    if (node.table->view != nullptr) return;
    for (std::uint32_t i = 0; i < node.n_outputs; ++i) {
      Storage* const storage = node.outputs[i]->storage;
      if (first_seen(storage, mark)) bytes += Pool::block_bytes(storage->bytes());
    }
  });
  return bytes;
}

std::int64_t SegmentRegion::backward_bytes() noexcept {
  const std::uint64_t mark = next_mark();
  std::int64_t live = 0;
  std::int64_t most = 0;
  for_each_node_backward([&](const Node& node) {
    if (node.needs == 0 || node.played) return;
    const OpTable& table = *node.table;
    for (std::uint32_t i = 0; i < node.n_visible(); ++i) {
      Value& output = *node.outputs[i];
      if (!output.requires_grad || output.mark == mark) continue;
      output.mark = mark;
      live += block_bytes(output);
    }
    for (std::uint32_t i = 0; i < node.n_inputs; ++i) {
      Value& input = *node.inputs[i];
      if (!(node.needs >> i & 1u) || (i == 0 && (table.gradient_in_place || table.view != nullptr))) continue;
      if (table.passes_gradient >> i & 1u) continue;
      if (owns(input)) {
        if (std::exchange(input.mark, mark) != mark) live += block_bytes(input);
      } else if (ValueSet& listed = outermost_->owns(input) ? inputs_ : outermost_->inputs_;
                 !input.has_gradient() && listed.mark(&input, mark)) {
        live += block_bytes(input);
      }
    }
    most = std::max(most, live);
    for (std::uint32_t i = 0; i < node.n_visible(); ++i) {
      if (node.outputs[i]->requires_grad) live -= block_bytes(*node.outputs[i]);
    }
    for (std::uint32_t i = 0; i < node.n_inputs; ++i) {
      if ((node.saves.inputs >> i & 1u) && owns(*node.inputs[i])) live -= block_bytes(*node.inputs[i]);
    }
  });
  return most;
}

}  // namespace reprise::checkpoint
