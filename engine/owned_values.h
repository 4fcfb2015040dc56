// A few values, each counted as a user until the list goes.
#pragma once

#include <utility>

#include "reprise/detail/inline_vector.h"
#include "reprise/tensor.h"

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
  /// Takes over a new value, which nobody counts yet. It is gone when this fails.
  void push_back(Value* value) {
    Tensor owner = Tensor::share(value);
    values_.push_back(value);
    add_user(value);
  }
  /// Hands the count over to the caller.
  Value* take(std::size_t i) { return std::exchange(values_[i], nullptr); }

 private:
  InlineVector<Value*, 4> values_;
};

}  // namespace reprise::detail
