// A step that happens whole or not at all.
#pragma once

#include <vector>

#include "reprise/tensor.h"

namespace reprise::nn {

/// Remembers buffers (running statistics) and this thread's generator. Unless `commit` is called before it
/// goes, it puts them back: after an exception in the middle of a step, the step can be run again and gives
/// what it would have given.
class Transaction {
 public:
  /// Throws Error for an undefined buffer, TapeError for one that cannot be changed: an expanded one, and a
  /// recorded one.
  explicit Transaction(std::vector<Tensor> buffers);
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  ~Transaction();
  void commit() { committed_ = true; }

 private:
  std::vector<Tensor> buffers_;
  std::vector<Tensor> before_;
  Generator generator_;
  bool committed_ = false;
};

}  // namespace reprise::nn
