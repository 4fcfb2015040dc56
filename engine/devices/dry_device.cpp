// Dry devices: which profiles there are, and memory that is only counted.
#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <deque>
#include <mutex>
#include <utility>

#include "reprise/detail/dry_lease.h"
#include "reprise/error.h"

namespace reprise {
namespace {

constexpr std::size_t kGiB = std::size_t{1} << 30;
constexpr int kMostDevices = 64;

/// Context, cuBLASLt and cuDNN with their kernels loaded: as bench/results/gpu-h100-80gb-hbm3-2026-11-27.json
/// has it. The H200 is the same chip with other memory.
constexpr std::size_t kHopperBeside = 543 * (std::size_t{1} << 20);

/// Rates from the data sheets (dense, without sparsity; float32 without TF32), the H100's as measured with
/// large products and copies; capacities as a program finds them free on an idle card, rounded down.
const std::array<DeviceProfile, 5>& known_profiles() {
  static const std::array<DeviceProfile, 5> profiles{
      DeviceProfile{},
      DeviceProfile{"h200", DeviceKind::cuda, 139 * kGiB, 67e12, 989e12, 4.8e12, kHopperBeside},
      DeviceProfile{"h100", DeviceKind::cuda, 78 * kGiB, 51e12, 788e12, 2.96e12, kHopperBeside},
      DeviceProfile{"a100", DeviceKind::cuda, 78 * kGiB, 19.5e12, 312e12, 2.0e12},
      DeviceProfile{"rtx4090", DeviceKind::cuda, 23 * kGiB, 82.6e12, 165e12, 1.0e12}};
  return profiles;
}

struct Unit {
  std::string_view name;
  double bytes;
};
constexpr std::array kUnits{Unit{"GiB", 0x1p30}, Unit{"MiB", 0x1p20}, Unit{"KiB", 0x1p10}, Unit{"GB", 1e9},
                            Unit{"MB", 1e6},     Unit{"KB", 1e3},     Unit{"B", 1}};

[[noreturn]] void throw_unknown(std::string_view text) {
  throw ValueError(
      fmt::format("[profile] '{}' is no device or capacity; give cpu, h200, h100, a100, rtx4090 or a "
                  "capacity such as 24GiB",
                  text));
}

/// Bytes of "24GiB"; negative when the text is no such thing.
double parse_bytes(std::string_view text) {
  for (const Unit& unit : kUnits) {
    if (!text.ends_with(unit.name)) continue;
    const std::string_view number = text.substr(0, text.size() - unit.name.size());
    double value = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
    const bool whole = error == std::errc() && end == number.data() + number.size() && !number.empty();
    return whole && std::isfinite(value) ? value * unit.bytes : -1;
  }
  return -1;
}

struct Registry {
  std::mutex mutex;
  std::deque<DeviceProfile> profiles;  // by index of the dry device; several may have the same
  std::array<bool, kMostDevices> leased{};
  std::array<bool, kMostDevices> shared{};  // given out by Device::dry, and never leased
};

Registry& registry() {
  static auto& made = *new Registry;
  return made;
}

constinit thread_local detail::DryLease* innermost_lease = nullptr;

/// This thread's lease of a device of that profile, or null. The registry is locked.
const detail::DryLease* lease_of(const Registry& state, const DeviceProfile& profile) {
  for (const detail::DryLease* lease = innermost_lease; lease != nullptr; lease = lease->outer()) {
    if (state.profiles[static_cast<std::size_t>(lease->device().index)] == profile) return lease;
  }
  return nullptr;
}

/// The first device of the profile that `accepts` takes, a new one if there is none. The registry is locked.
template <class F>
Device find_or_add(Registry& state, const DeviceProfile& profile, F&& accepts) {
  int index = 0;
  for (const DeviceProfile& known : state.profiles) {
    if (known == profile && accepts(static_cast<std::size_t>(index))) return {profile.kind, index, true};
    ++index;
  }
  if (index == kMostDevices)
    throw ValueError(
        fmt::format("[profile] more than {} different profiles, or predictions at the same time, in "
                    "one program",
                    kMostDevices));
  state.profiles.push_back(profile);
  return {profile.kind, index, true};
}

void require_capacity(const DeviceProfile& profile) {
  if (profile.capacity_bytes == 0)
    throw ValueError(fmt::format("[profile] '{}' has a capacity of 0 bytes; give it some", profile.name));
}

/// Addresses that nobody reads, aligned as a device's are.
class DrySource final : public Source {
 public:
  explicit DrySource(Device device)
      : name_(to_string(device)), capacity_(profile_of(device).capacity_bytes) {}

  void* allocate(std::size_t bytes) override {
    if (bytes > capacity_ - used_) return nullptr;
    used_ += bytes;
    const std::uintptr_t address = next_;
    next_ += (bytes + kAlignment - 1) / kAlignment * kAlignment + kAlignment;
    return reinterpret_cast<void*>(address);  // NOLINT(performance-no-int-to-ptr): never dereferenced
  }
  void release(void*, std::size_t bytes) noexcept override { used_ -= bytes; }
  std::size_t capacity() const override { return capacity_; }
  std::string_view name() const override { return name_; }
  bool host_accessible() const override { return false; }

 private:
  static constexpr std::uintptr_t kAlignment = std::uintptr_t{1} << 21;
  std::string name_;
  std::size_t capacity_;
  std::size_t used_ = 0;
  std::uintptr_t next_ = kAlignment;
};

}  // namespace

DeviceProfile parse_profile(std::string_view text) {
  for (const DeviceProfile& profile : known_profiles()) {
    if (profile.name == text) return profile;
  }
  const double bytes = parse_bytes(text);
  if (bytes < 0) throw_unknown(text);
  if (bytes < 1)
    throw ValueError(fmt::format("[profile] a capacity of '{}' holds nothing; give at least one byte", text));
  if (bytes >= 0x1p62)
    throw ValueError(
        fmt::format("[profile] a capacity of '{}' is more than any memory; give less than 4 EiB", text));
  DeviceProfile profile = known_profiles()[1];
  profile.name = std::string(text);
  profile.capacity_bytes = static_cast<std::size_t>(bytes);
  profile.bytes_beside_pool = 0;
  return profile;
}

Device Device::dry(const DeviceProfile& profile) {
  require_capacity(profile);
  Registry& state = registry();
  const std::lock_guard guard(state.mutex);
  if (const detail::DryLease* const lease = lease_of(state, profile)) return lease->device();
  for (std::size_t i = 0; i < state.profiles.size(); ++i) {
    if (state.shared[i] && state.profiles[i] == profile) return {profile.kind, static_cast<int>(i), true};
  }
  const Device device = find_or_add(state, profile, [&](std::size_t i) { return !state.leased[i]; });
  state.shared[static_cast<std::size_t>(device.index)] = true;
  return device;
}

detail::DryLease::DryLease(const DeviceProfile& profile) {
  require_capacity(profile);
  Registry& state = registry();
  const std::lock_guard guard(state.mutex);
  const DryLease* const around = lease_of(state, profile);
  shares_ = around != nullptr;
  device_ = shares_ ? around->device_ : find_or_add(state, profile, [&](std::size_t index) {
    return !state.leased[index] && !state.shared[index];
  });
  state.leased[static_cast<std::size_t>(device_.index)] = true;
  outer_ = std::exchange(innermost_lease, this);
}

detail::DryLease::~DryLease() {
  innermost_lease = outer_;
  if (shares_) return;
  Registry& state = registry();
  const std::lock_guard guard(state.mutex);
  state.leased[static_cast<std::size_t>(device_.index)] = false;
}

const DeviceProfile& profile_of(Device device) {
  Registry& state = registry();
  const std::lock_guard guard(state.mutex);
  if (!device.is_dry || static_cast<std::size_t>(device.index) >= state.profiles.size())
    throw ValueError("[profile] only dry devices have one; make one with Device::dry");
  return state.profiles[static_cast<std::size_t>(device.index)];
}

std::unique_ptr<Source> dry_source(Device device) { return std::make_unique<DrySource>(device); }

}  // namespace reprise
