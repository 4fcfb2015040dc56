// Scopes that change something of a thread for as long as they live, and may close in any order.
#pragma once

#include <utility>

namespace reprise::detail {

/// Changes one value of the thread until it closes. The innermost open scope decides: one that closes before
/// scopes that were opened inside it hands on what it had found, so that the last to close leaves the value
/// as it was before the first.
template <class T>
class ScopedValue {
 public:
  /// `innermost` is where the thread keeps the innermost open scope of this value; null at first.
  ScopedValue(T& value, ScopedValue*& innermost, T changed) noexcept
      : value_(value),
        innermost_(innermost),
        outer_(std::exchange(innermost, this)),
        before_(std::exchange(value, std::move(changed))) {}
  ScopedValue(const ScopedValue&) = delete;
  ScopedValue& operator=(const ScopedValue&) = delete;
  ~ScopedValue() {
    if (innermost_ == this) {
      value_ = std::move(before_);
      innermost_ = outer_;
      return;
    }
    ScopedValue* inner = innermost_;
    while (inner->outer_ != this) inner = inner->outer_;
    inner->before_ = std::move(before_);
    inner->outer_ = outer_;
  }

 private:
  T& value_;
  ScopedValue*& innermost_;
  ScopedValue* outer_;
  T before_;
};

}  // namespace reprise::detail
