#include "sequence_advice.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <unordered_set>

#include "reprise/cost.h"
#include "reprise/thread_lasting.h"

namespace reprise::checkpoint {
namespace {

/// What backward reads of one block, on average, in bytes and milliseconds.
struct BlockCost {
  double saved = 0;     // kept without segments
  double cheap = 0;     // of it, what cheap operations make
  double boundary = 0;  // read by other blocks: kept in any case
  double forward_ms = 0;
  double cheap_ms = 0;
};

/// The value whose memory it is.
const Value& owner_of(const Value& value) {
  const Value* owner = &value;
  while (owner->producer != nullptr && owner->producer->table->view != nullptr && !owner->producer->retired)
    owner = owner->producer->inputs[0];
  return *owner;
}

double bytes_of(const Value& value) { return static_cast<double>(Pool::block_bytes(value.spec.bytes())); }

/// Walks the nodes of a sequence that are still on the tape.
class Survey {
 public:
  Survey(const std::vector<std::uint64_t>& starts, std::uint64_t end, const DeviceProfile& profile)
      : starts_(starts), end_(end), profile_(profile) {
    for (Node* node = context().tape->newest; node != nullptr; node = node->older) look_at(*node);
    for (const auto& [value, readers] : readers_) {
      if (!readers.saved && !readers.elsewhere) continue;
      if (readers.elsewhere)
        sum_.boundary += bytes_of(*value);
      else if (value->producer->table->cheap)
        sum_.cheap += bytes_of(*value);
      sum_.saved += readers.elsewhere ? 0 : bytes_of(*value);
    }
  }

  BlockCost mean() const {
    const auto blocks = static_cast<double>(std::max<std::size_t>(blocks_.size(), 1));
    return {sum_.saved / blocks, sum_.cheap / blocks, sum_.boundary / blocks, sum_.forward_ms / blocks,
            sum_.cheap_ms / blocks};
  }
  double forward_ms() const { return forward_ms_; }  // of all that is on the tape
  std::size_t blocks() const { return blocks_.size(); }

 private:
  struct Readers {
    bool saved = false;
    bool elsewhere = false;  // a node of another block, or behind the sequence
  };

  /// The block that a node belongs to; -1: none.
  std::int64_t block_of(const Node& node) const {
    if (node.sequence < starts_.front() || node.sequence >= end_) return -1;
    return std::upper_bound(starts_.begin(), starts_.end(), node.sequence) - starts_.begin() - 1;
  }

  void look_at(Node& node) {
    if (node.retired) return;  // played in an earlier step: what it read is gone
    const std::int64_t block = block_of(node);
    const double ms = estimated_forward_ms(profile_, node);
    forward_ms_ += ms;
    if (block >= 0) {
      blocks_.insert(block);
      sum_.forward_ms += ms;
      if (node.table->cheap) sum_.cheap_ms += ms;
    }
    if (node.played) return;
    for (std::uint32_t i = 0; i < node.n_inputs; ++i) {
      const Value& value = owner_of(*node.inputs[i]);
      if (value.producer == nullptr || block_of(*value.producer) < 0) continue;
      if (block_of(*value.producer) != block) readers_[&value].elsewhere = true;
    }
    if (node.needs == 0) return;
    for_each_saved(node, [&](const Value& saved) {
      const Value& value = owner_of(saved);
      if (value.producer != nullptr && block_of(*value.producer) >= 0) readers_[&value].saved = true;
    });
  }

  const std::vector<std::uint64_t>& starts_;
  std::uint64_t end_;
  const DeviceProfile& profile_;
  std::unordered_map<const Value*, Readers> readers_;
  std::unordered_set<std::int64_t> blocks_;
  BlockCost sum_;
  double forward_ms_ = 0;
};

struct Estimate {
  double bytes = 0;  // of the sequence: what is kept, and what the segment being played brings back
  double replay_ms = 0;
};

Estimate estimate(const Setting& setting, double n, const BlockCost& block) {
  if (setting.strategy == Strategy::none) return {n * (block.saved + block.boundary), 0};
  if (setting.strategy == Strategy::cheap)
    return {n * (block.saved - block.cheap + block.boundary) + block.cheap, n * block.cheap_ms};
  if (setting.strategy == Strategy::nested) {
    const double depth = std::max(1.0, std::ceil(std::log2(n)));
    return {(depth + 1) * block.boundary + block.saved, depth * n * block.forward_ms};
  }
  const auto group = static_cast<double>(blocks_per_segment(setting, static_cast<std::int64_t>(n)));
  return {std::ceil(n / group) * block.boundary + group * (block.saved + block.boundary),
          n * block.forward_ms};
}

constexpr std::array kCandidates{Strategy::cheap, Strategy::blocks, Strategy::sqrt, Strategy::nested};

}  // namespace

SequenceAdvice::Sequence::Sequence(const Setting& setting, std::int64_t n) : counted_(grad_enabled()) {
  SequenceAdvice& advice = sequence_advice();
  if (!counted_ || advice.open_++ > 0) return;
  advice.setting_ = setting;
  advice.n_ = n;
  advice.starts_.clear();
  advice.end_ = UINT64_MAX;
  if (context().adviser == nullptr) context().adviser = &advice;
}

void SequenceAdvice::begin_block(std::int64_t i) {
  if (open_ == 1 && i == static_cast<std::int64_t>(starts_.size()))
    starts_.push_back(context().tape->next_sequence);
}

SequenceAdvice::Sequence::~Sequence() {
  SequenceAdvice& advice = sequence_advice();
  if (counted_ && --advice.open_ == 0) advice.end_ = context().tape->next_sequence;
}

std::string SequenceAdvice::advice(const Pool& pool, DeviceKind kind) const {
  if (starts_.empty() || pool.capacity() == kUnlimited) return {};
  const DeviceProfile profile = parse_profile(kind == DeviceKind::cpu ? "cpu" : "h100");
  // A block that is not whole yet says little about the others.
  const Survey survey(starts_, end_ == UINT64_MAX ? starts_.back() : end_, profile);
  if (survey.blocks() == 0) {
    return "the tape has no whole block of the sequence yet: too little to say what segments would save; "
           "checkpoint::predict says what a step takes";
  }
  const BlockCost block = survey.mean();
  const auto n = static_cast<double>(n_);
  const double missing_ms = (n - static_cast<double>(survey.blocks())) * block.forward_ms;
  const double step_ms = 3 * (survey.forward_ms() + missing_ms);
  const auto bytes_under = [&](const Setting& setting) {
    return format_bytes(static_cast<std::int64_t>(estimate(setting, n, block).bytes));
  };
  const double now = estimate(setting_, n, block).bytes;
  std::string less;
  for (const Strategy strategy : kCandidates) {
    const Setting setting{.strategy = strategy};
    const Estimate other = estimate(setting, n, block);
    if (other.bytes >= now) continue;
    less += fmt::format("{}{} under {} ({:+.0f} % time)", less.empty() ? "" : ", ", bytes_under(setting),
                        to_string(setting), 100 * other.replay_ms / step_ms);
  }
  // No promise that one fits: what comes behind the sequence, scratch and the optimiser's state may be yet to
  // come.
  return fmt::format(
      "an estimate from the tape so far, {} of {} blocks under segments {}: if all are alike, their values "
      "take {} now and {}; what else a step takes is not in it: checkpoint::predict says what fits",
      survey.blocks(), n_, to_string(setting_), bytes_under(setting_),
      less.empty() ? "no less under another setting" : less);
}

SequenceAdvice& sequence_advice() { return ThreadLasting<SequenceAdvice>::get(); }

}  // namespace reprise::checkpoint
