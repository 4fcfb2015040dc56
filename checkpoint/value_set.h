// A set of values that is walked in the order in which they came: what is freed first must not depend on
// addresses, or the pool would not take the same decisions each time. Only `reserve` takes memory, so that a
// segment can let go when there is none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace reprise {
struct Value;
}

namespace reprise::checkpoint {

class ValueSet {
 public:
  /// Room for `more` values beside those that are there.
  void reserve(std::size_t more) {
    if (entries_.size() + more > entries_.capacity()) grow(size_ + more);
  }

  /// False when it was there already. There must be room.
  bool insert(Value* value) noexcept {
    if (contains(value)) return false;
    entries_.push_back({value, 0});
    ++size_;
    if (!table_.empty()) note(entries_.size() - 1);
    return true;
  }

  bool contains(const Value* value) const noexcept { return find(value) != nullptr; }

  /// False when it was not there.
  bool erase(const Value* value) noexcept {
    Entry* const entry = find(value);
    if (entry == nullptr) return false;
    entry->value = nullptr;
    --size_;
    return true;
  }

  /// Marks the value, if it is there; true when it was and had another mark.
  bool mark(const Value* value, std::uint64_t mark) noexcept {
    Entry* const entry = find(value);
    return entry != nullptr && std::exchange(entry->mark, mark) != mark;
  }

  /// Takes out every value that has another mark, and calls f(Value&) for it.
  template <class F>
  void erase_unmarked(std::uint64_t mark, F&& f) noexcept {
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      if (entries_[i].value == nullptr || entries_[i].mark == mark) continue;
      --size_;
      f(*std::exchange(entries_[i].value, nullptr));
    }
  }

  bool empty() const noexcept { return size_ == 0; }

  /// Calls f(Value&) for each. It may erase some.
  template <class F>
  void for_each(F&& f) const {
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      if (entries_[i].value != nullptr) f(*entries_[i].value);
    }
  }

 private:
  struct Entry {
    Value* value;  // null: erased
    std::uint64_t mark;
  };
  static constexpr std::size_t kMostSearched = 8;  // entries that are looked through one by one

  static std::size_t hash(const Value* value) noexcept {
    return static_cast<std::size_t>(reinterpret_cast<std::uintptr_t>(value) * 0x9E3779B97F4A7C15u >> 32);
  }

  Entry* find(const Value* value) noexcept { return const_cast<Entry*>(std::as_const(*this).find(value)); }
  const Entry* find(const Value* value) const noexcept {
    if (table_.empty()) {
      for (const Entry& entry : entries_) {
        if (entry.value == value) return &entry;
      }
      return nullptr;
    }
    const std::size_t last = table_.size() - 1;
    for (std::size_t at = hash(value) & last; table_[at] != 0; at = (at + 1) & last) {
      const Entry& entry = entries_[table_[at] - 1];
      if (entry.value == value) return &entry;
    }
    return nullptr;
  }

  /// Enters entry i into the table.
  void note(std::size_t i) noexcept {
    const std::size_t last = table_.size() - 1;
    std::size_t at = hash(entries_[i].value) & last;
    while (table_[at] != 0) at = (at + 1) & last;
    table_[at] = static_cast<std::uint32_t>(i + 1);
  }

  /// Makes room for that many, and forgets the places of those that were erased.
  void grow(std::size_t wanted) {
    std::size_t capacity = kMostSearched;
    while (capacity < wanted) capacity *= 2;
    std::vector<Entry> entries;
    entries.reserve(capacity);
    std::vector<std::uint32_t> table(capacity > kMostSearched ? 2 * capacity : 0);
    for (const Entry& entry : entries_) {
      if (entry.value != nullptr) entries.push_back(entry);
    }
    entries_ = std::move(entries);
    table_ = std::move(table);
    if (table_.empty()) return;
    for (std::size_t i = 0; i < entries_.size(); ++i) note(i);
  }

  std::size_t size_ = 0;
  std::vector<Entry> entries_;
  std::vector<std::uint32_t> table_;  // 1 + the place of an entry, by hash; 0: none. Empty for few entries
};

}  // namespace reprise::checkpoint
