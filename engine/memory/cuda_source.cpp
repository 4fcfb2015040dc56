#include <fmt/format.h>

#include <string>
#include <vector>

#include "devices/cuda_state.h"
#include "reprise/memory/source.h"

namespace reprise {
namespace {

namespace cuda = kernels::cuda;

class CudaSource final : public Source {
 public:
  explicit CudaSource(int device)
      : device_(device),
        name_(to_string(Device::cuda(device))),
        compute_(detail::cuda_state(device).compute()),
        capacity_(cuda::memory_info(device).total_bytes) {}

  ~CudaSource() override { release_all(true); }

  void* allocate(std::size_t bytes) override {
    if (bytes > capacity_) return nullptr;
    if (!released_.empty()) release_all();
    return cuda::allocate(device_, bytes);
  }

  void release(void* data, std::size_t) noexcept override {
    released_.push_back(data);
    release_all();
  }

  std::size_t capacity() const override { return capacity_; }
  std::string_view name() const override { return name_; }
  bool host_accessible() const override { return false; }

 private:
  /// What runs on the device may still use memory that the host has let go. Where that cannot be waited for
  /// now, as while work is captured, the memory stays here until the next call, or the `last` one.
  void release_all(bool last = false) noexcept {
    if (released_.empty() || !(succeeds([&] { cuda::synchronise(compute_); }) || last)) return;
    // The device has it back whatever it reports: that is about earlier work, and its user was told.
    for (void* const data : released_) succeeds([&] { cuda::release(device_, data); });
    released_.clear();
  }

  template <class F>
  static bool succeeds(F&& f) noexcept {
    try {
      f();
      return true;
    } catch (const Error&) {
      return false;
    }
  }

  int device_;
  std::string name_;
  cuda::Stream compute_;
  std::size_t capacity_;
  std::vector<void*> released_;  // by the pool, not yet given back to the device
};

}  // namespace

std::unique_ptr<Source> cuda_source(int device) { return std::make_unique<CudaSource>(device); }

}  // namespace reprise
