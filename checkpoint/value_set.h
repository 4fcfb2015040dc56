// A set of values that is walked in the order in which they came: what is freed first must not depend on
// addresses, or the pool would not take the same decisions each time.
#pragma once

#include <unordered_map>
#include <vector>

namespace reprise {
struct Value;
}

namespace reprise::checkpoint {

class ValueSet {
 public:
  /// False when it was there already.
  bool insert(Value* value) {
    if (places_.contains(value)) return false;
    values_.push_back(value);
    try {
      places_.emplace(value, values_.size() - 1);
    } catch (...) {
      values_.pop_back();
      throw;
    }
    return true;
  }

  /// False when it was not there.
  bool erase(Value* value) {
    const auto found = places_.find(value);
    if (found == places_.end()) return false;
    values_[found->second] = nullptr;
    places_.erase(found);
    return true;
  }

  bool empty() const { return places_.empty(); }
  void clear() { *this = {}; }

  template <class F>
  void for_each(F&& f) const {
    for (Value* value : values_) {
      if (value != nullptr) f(*value);
    }
  }

 private:
  std::vector<Value*> values_;  // null: erased
  std::unordered_map<Value*, std::size_t> places_;
};

}  // namespace reprise::checkpoint
