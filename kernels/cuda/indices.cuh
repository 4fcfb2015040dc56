// Ids and targets of either integer type, and the report of one that is out of range.
#pragma once

#include <cstdint>

#include "reprise/kernels/view.h"
#include "simt/simt.h"

namespace reprise::kernels::cuda {

class Indices {
 public:
  explicit Indices(const ConstView& view)
      : narrow_(view.dtype == DType::int32 ? view.as<std::int32_t>() : nullptr),
        wide_(view.dtype == DType::int32 ? nullptr : view.as<std::int64_t>()) {}

  __device__ std::int64_t operator[](std::int64_t i) const {
    return narrow_ != nullptr ? narrow_[i] : wide_[i];
  }

 private:
  const std::int32_t* narrow_;
  const std::int64_t* wide_;
};

/// Reports `value`, which is outside [0, bound), unless something has been reported already.
__device__ inline void report_fault(DeviceReport* report, DeviceFault fault, std::int64_t value,
                                    std::int64_t bound) {
  static_assert(sizeof(DeviceFault) == sizeof(int));
  if (report == nullptr) return;
  if (atomicCAS(reinterpret_cast<int*>(&report->fault), 0, static_cast<int>(fault)) != 0) return;
  report->value = value;
  report->bound = bound;
}

}  // namespace reprise::kernels::cuda
