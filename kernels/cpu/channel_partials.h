// Two numbers per channel (sums over rows), for every chunk of rows and for all of them together.
#pragma once

#include "channel_rows.h"
#include "workspace.h"

namespace reprise::kernels::cpu {

/// Lines after which sums in the type of computation are added to those in float64.
inline constexpr std::int64_t kBlockLines = 256;

class ChannelPartials {
 public:
  ChannelPartials(const ChannelPlan& plan, Carver& carver)
      : channels_(plan.channels),
        chunks_(plan.chunks),
        data_(static_cast<double*>(
            carver.take(static_cast<std::size_t>(2 * (plan.chunks + 1) * plan.channels) * sizeof(double)))) {}

  double* first(std::int64_t chunk) const { return data_ + 2 * chunk * channels_; }
  double* second(std::int64_t chunk) const { return first(chunk) + channels_; }
  /// The place after the last chunk, for all of them together.
  std::int64_t total() const { return chunks_; }

 private:
  std::int64_t channels_, chunks_;
  double* data_;
};

}  // namespace reprise::kernels::cpu
