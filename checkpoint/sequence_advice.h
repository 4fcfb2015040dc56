// What the tape says of a sequence of blocks when memory has run out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "reprise/checkpoint.h"
#include "reprise/context.h"

namespace reprise::checkpoint {

/// Where the blocks of a thread's last sequence begin on the tape, and what other settings would make of
/// them.
class SequenceAdvice final : public Adviser {
 public:
  /// A sequence of n blocks is under way.
  class Sequence {
   public:
    Sequence(const Setting& setting, std::int64_t n);
    Sequence(const Sequence&) = delete;
    Sequence& operator=(const Sequence&) = delete;
    ~Sequence();

   private:
    bool counted_;  // recording for gradients
  };
  void begin_block(std::int64_t i);

  std::string advice(const Pool& pool, DeviceKind kind) const override;

 private:
  Setting setting_;
  std::int64_t n_ = 0;
  std::int64_t open_ = 0;              // sequences under way: one may lie inside another
  std::vector<std::uint64_t> starts_;  // number of the first node of each block that has begun
  std::uint64_t end_ = UINT64_MAX;     // and of the first node behind the last
};

SequenceAdvice& sequence_advice();

}  // namespace reprise::checkpoint
