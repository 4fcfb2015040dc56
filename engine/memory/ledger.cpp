#include "memory/ledger.h"

#include <atomic>

namespace reprise::detail {
namespace {

/// Calls f for each counter of `a` and the same one of `b`.
template <class A, class B, class F>
void for_counters(A& a, B& b, F f) {
  const auto both = [&](auto& x, auto& y) {
    f(x.requested, y.requested);
    f(x.allocated, y.allocated);
  };
  both(a.all, b.all);
  both(a.activations, b.activations);
  f(a.reserved, b.reserved);
  for (std::size_t i = 0; i < kCategories; ++i) both(a.by_category[i], b.by_category[i]);
}

void merge_peaks(MemoryStatistics& into, const MemoryStatistics& from) {
  for_counters(into, from, [](Counter& a, const Counter& b) { a.peak = std::max(a.peak, b.peak); });
}

void drop_peaks(MemoryStatistics& statistics, const MemoryStatistics& now) {
  for_counters(statistics, now, [](Counter& a, const Counter& b) { a.peak = b.current; });
}

void move_current(Counter& from, Counter& to, std::size_t bytes) noexcept {
  from.current -= static_cast<std::int64_t>(bytes);
  to.current += static_cast<std::int64_t>(bytes);
  to.peak = std::max(to.peak, to.current);
}

}  // namespace

void Ledger::recategorise(MemoryBlock& block, Category category) noexcept {
  const auto move = [&](Usage& from, Usage& to) {
    move_current(from.requested, to.requested, block.requested);
    move_current(from.allocated, to.allocated, block.allocated);
  };
  move(now_.by_category[static_cast<std::size_t>(block.category)],
       now_.by_category[static_cast<std::size_t>(category)]);
  Usage elsewhere;
  if (is_activation(block.category) && !is_activation(category)) move(now_.activations, elsewhere);
  if (!is_activation(block.category) && is_activation(category)) move(elsewhere, now_.activations);
  block.category = category;
}

std::uint64_t Ledger::next_number() noexcept {
  static std::atomic<std::uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

MemoryStatistics Ledger::since_reset() const {
  MemoryStatistics result = now_;
  for (const ScopeWindow* w = outermost_; w != nullptr; w = w->inner) merge_peaks(result, w->before);
  return result;
}

void Ledger::reset_peaks() noexcept {
  drop_peaks(now_, now_);
  for (ScopeWindow* w = outermost_; w != nullptr; w = w->inner) drop_peaks(w->before, now_);
  for (const auto& tag : tags_) {
    tag->usage.requested.peak = tag->usage.requested.current;
    tag->usage.allocated.peak = tag->usage.allocated.current;
  }
}

MemoryTag* Ledger::tag(std::string_view name) {
  if (const auto found = tags_by_name_.find(name); found != tags_by_name_.end()) return found->second;
  if (tags_.size() >= kMostTags && name != kFurtherTags) return tag(kFurtherTags);
  const auto made = std::make_shared<MemoryTag>(number_, name);
  tags_.push_back(made);
  try {
    tags_by_name_.emplace(made->name, made.get());
  } catch (...) {
    tags_.pop_back();
    throw;
  }
  return made.get();
}

std::vector<std::pair<std::string, Usage>> Ledger::usage_by_tag() const {
  std::vector<std::pair<std::string, Usage>> result;
  result.reserve(tags_.size());
  for (const auto& tag : tags_) result.emplace_back(tag->name, tag->usage);
  return result;
}

void Ledger::open(ScopeWindow& window) noexcept {
  window.before = now_;
  drop_peaks(now_, now_);
  window.outer = innermost_;
  (innermost_ == nullptr ? outermost_ : innermost_->inner) = &window;
  innermost_ = &window;
}

// Scopes of several threads may close in any order: what belongs to the one around goes to whoever is next
// inside.
void Ledger::close(ScopeWindow& window) noexcept {
  merge_peaks(window.inner == nullptr ? now_ : window.inner->before, window.before);
  (window.outer == nullptr ? outermost_ : window.outer->inner) = window.inner;
  (window.inner == nullptr ? innermost_ : window.inner->outer) = window.outer;
}

MemoryStatistics Ledger::since(const ScopeWindow& window) const {
  MemoryStatistics result = now_;
  for (const ScopeWindow* w = window.inner; w != nullptr; w = w->inner) merge_peaks(result, w->before);
  const MemoryStatistics& before = window.before;
  for_counters(result, before, [](Counter& a, const Counter& b) { a.total -= b.total; });
  result.allocations -= before.allocations;
  result.frees -= before.frees;
  result.source_allocations -= before.source_allocations;
  result.source_frees -= before.source_frees;
  result.retries -= before.retries;
  result.failures -= before.failures;
  return result;
}

}  // namespace reprise::detail
