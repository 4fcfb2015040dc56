// The books of a pool: statistics, tags and scopes. Whoever calls holds the pool's lock.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "reprise/memory/pool.h"

namespace reprise {

/// Whoever may outlive the pool holds it by `shared_from_this`.
struct MemoryTag : std::enable_shared_from_this<MemoryTag> {
  MemoryTag(std::uint64_t of_ledger, std::string_view called) : ledger(of_ledger), name(called) {}

  const std::uint64_t ledger;  // the number of the one that it belongs to
  const std::string name;
  Usage usage;
};

namespace detail {

/// What a scope needs in order to count from its beginning, and to give the scope around it its peaks back.
struct ScopeWindow {
  MemoryStatistics before;  // with the peaks of the scope around it until this one began
  ScopeWindow* outer = nullptr;
  ScopeWindow* inner = nullptr;
};

/// A program that names its segments by step has no end of names: those beyond are booked under one.
inline constexpr std::size_t kMostTags = std::size_t{1} << 14;
inline constexpr std::string_view kFurtherTags = "(further segments)";

class Ledger {
 public:
  void book(const MemoryBlock& block) noexcept {
    ++now_.allocations;
    for_usages(block, [&](Usage& usage) {
      add(usage.requested, block.requested);
      add(usage.allocated, block.allocated);
    });
  }

  void unbook(const MemoryBlock& block) noexcept {
    ++now_.frees;
    for_usages(block, [&](Usage& usage) {
      usage.requested.current -= static_cast<std::int64_t>(block.requested);
      usage.allocated.current -= static_cast<std::int64_t>(block.allocated);
    });
  }

  void recategorise(MemoryBlock& block, Category category) noexcept;

  void book_source_allocation(std::size_t bytes) noexcept {
    ++now_.source_allocations;
    add(now_.reserved, bytes);
  }
  void book_source_release(std::size_t bytes) noexcept {
    ++now_.source_frees;
    now_.reserved.current -= static_cast<std::int64_t>(bytes);
  }
  void book_retry() noexcept { ++now_.retries; }
  void book_failure() noexcept { ++now_.failures; }

  std::int64_t live() const noexcept { return now_.allocations - now_.frees; }

  /// Current bytes, and what the innermost scope has counted otherwise.
  const MemoryStatistics& now() const noexcept { return now_; }

  MemoryStatistics since_reset() const;
  void reset_peaks() noexcept;

  bool owns(const MemoryTag* tag) const noexcept { return tag != nullptr && tag->ledger == number_; }
  MemoryTag* tag(std::string_view name);
  std::vector<std::pair<std::string, Usage>> usage_by_tag() const;

  void open(ScopeWindow& window) noexcept;
  void close(ScopeWindow& window) noexcept;
  MemoryStatistics since(const ScopeWindow& window) const;

 private:
  static void add(Counter& counter, std::size_t bytes) noexcept {
    counter.current += static_cast<std::int64_t>(bytes);
    if (__builtin_add_overflow(counter.total, static_cast<std::int64_t>(bytes), &counter.total)) [[unlikely]]
      counter.total = INT64_MAX;
    counter.peak = std::max(counter.peak, counter.current);
  }

  static bool is_activation(Category category) noexcept {
    return category == Category::activations || category == Category::recomputed;
  }

  /// Calls f for every usage that a block counts in.
  template <class F>
  void for_usages(const MemoryBlock& block, F f) noexcept {
    f(now_.all);
    f(now_.by_category[static_cast<std::size_t>(block.category)]);
    if (is_activation(block.category)) f(now_.activations);
    if (block.tag != nullptr) f(block.tag->usage);
  }

  static std::uint64_t next_number() noexcept;

  const std::uint64_t number_ = next_number();  // never another's: an address would be given again
  MemoryStatistics now_;
  ScopeWindow* outermost_ = nullptr;
  ScopeWindow* innermost_ = nullptr;
  std::vector<std::shared_ptr<MemoryTag>> tags_;  // in the order in which they were made
  std::map<std::string_view, MemoryTag*> tags_by_name_;
};

}  // namespace detail
}  // namespace reprise
