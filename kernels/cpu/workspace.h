// How a kernel cuts its workspace into pieces, with the same code that measures how much it needs.
#pragma once

#include <cstddef>

#include "reprise/kernels/view.h"

namespace reprise::kernels::cpu {

/// Hands out pieces of a workspace one after the other, each at a multiple of 64 bytes; without memory
/// (`data` null) it only counts.
class Carver {
 public:
  static constexpr std::size_t kAlignment = 64;

  Carver() = default;
  explicit Carver(const Workspace& workspace) : data_(static_cast<std::byte*>(workspace.data)) {
    if (data_ == nullptr) return;
    const std::size_t beyond = reinterpret_cast<std::uintptr_t>(data_) % kAlignment;
    if (beyond != 0) data_ += kAlignment - beyond;
  }

  void* take(std::size_t bytes) {
    void* piece = data_ == nullptr ? nullptr : data_ + used_;
    used_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    return piece;
  }

  /// Enough for all pieces so far, wherever the workspace begins.
  std::size_t bytes() const { return used_ == 0 ? 0 : used_ + kAlignment - 1; }

 private:
  std::byte* data_ = nullptr;
  std::size_t used_ = 0;
};

}  // namespace reprise::kernels::cpu
