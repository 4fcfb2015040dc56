// A few values, each counted as a user until the list goes.
#pragma once

#include <utility>

#include "reprise/detail/inline_vector.h"
#include "reprise/value.h"

namespace reprise::detail {

class OwnedValues {
 public:
  OwnedValues() = default;
  explicit OwnedValues(std::size_t size) : values_(size) {}
  OwnedValues(const OwnedValues&) = delete;
  OwnedValues& operator=(const OwnedValues&) = delete;
  ~OwnedValues() {
    for (Value* value : values_) {
      if (value != nullptr) drop_user(value);
    }
  }
  std::size_t size() const { return values_.size(); }
  Value* operator[](std::size_t i) const { return values_[i]; }
  std::span<Value* const> span() const { return values_; }
  /// Takes over a count that the caller holds; drops what was there.
  void adopt(std::size_t i, Value* value) {
    if (values_[i] != nullptr) drop_user(values_[i]);
    values_[i] = value;
  }
  void reserve(std::size_t size) { values_.reserve(size); }
  /// Counts a value as used; there must be room.
  void push_back(Value* value) {
    values_.push_back(value);
    add_user(value);
  }
  /// Hands the count over to the caller.
  Value* take(std::size_t i) { return std::exchange(values_[i], nullptr); }

 private:
  InlineVector<Value*, 4> values_;
};

}  // namespace reprise::detail
