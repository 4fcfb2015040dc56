// A dry device that one prediction has for itself.
#pragma once

#include "reprise/device_profile.h"

namespace reprise::detail {

/// While it lives no other thread is given its device by another lease. On this thread, where leases close in
/// the opposite order, `Device::dry` of the profile is that device, and so is that of leases inside it.
class DryLease {
 public:
  /// Throws ValueError for a profile without capacity, and where there are too many devices.
  explicit DryLease(const DeviceProfile& profile);
  DryLease(const DryLease&) = delete;
  DryLease& operator=(const DryLease&) = delete;
  ~DryLease();
  Device device() const { return device_; }
  const DryLease* outer() const { return outer_; }

 private:
  Device device_;
  DryLease* outer_;
  bool shares_;  // the device of a lease around this one
};

}  // namespace reprise::detail
