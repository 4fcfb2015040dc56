// A pool for tests: every request gets memory of its own, filled with NaN, between guard bytes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <utility>

#include "reprise/memory.h"

namespace reprise {

/// What went wrong, and what is out.
struct PoisonedBooks {
  std::size_t overruns = 0;
  std::size_t pieces_out = 0;
};

class PoisonedSource final : public Source {
 public:
  explicit PoisonedSource(std::shared_ptr<PoisonedBooks> books) : books_(std::move(books)) {}

  void* allocate(std::size_t bytes) override {
    auto* const whole = static_cast<std::byte*>(inner_->allocate(bytes + 2 * kGuardBytes));
    if (whole == nullptr) return nullptr;
    ++books_->pieces_out;
    std::memset(whole, kGuard, kGuardBytes);
    std::memset(whole + kGuardBytes, kPoison, bytes);
    std::memset(whole + kGuardBytes + bytes, kGuard, kGuardBytes);
    return whole + kGuardBytes;
  }
  void release(void* data, std::size_t bytes) noexcept override {
    auto* const whole = static_cast<std::byte*>(data) - kGuardBytes;
    if (!intact(whole) || !intact(whole + kGuardBytes + bytes)) ++books_->overruns;
    --books_->pieces_out;
    inner_->release(whole, bytes + 2 * kGuardBytes);
  }
  std::size_t capacity() const override { return inner_->capacity(); }
  std::string_view name() const override { return "poisoned"; }

 private:
  static constexpr std::size_t kGuardBytes = 256;
  static constexpr unsigned char kGuard = 0xA5;
  static constexpr unsigned char kPoison = 0xFF;  // NaN in every floating type

  static bool intact(const std::byte* guard) {
    return std::all_of(guard, guard + kGuardBytes, [](std::byte byte) { return byte == std::byte{kGuard}; });
  }

  std::unique_ptr<Source> inner_ = host_source();
  std::shared_ptr<PoisonedBooks> books_;
};

/// Makes such a pool the CPU's for a scope.
class PoisonedPool {
 public:
  PoisonedPool() {
    set_default_pool(
        std::make_shared<Pool>(std::make_unique<PoisonedSource>(books_), PoolOptions{.passthrough = true}));
  }
  ~PoisonedPool() { set_default_pool(before_); }
  PoisonedPool(const PoisonedPool&) = delete;
  PoisonedPool& operator=(const PoisonedPool&) = delete;

  const PoisonedBooks& books() const { return *books_; }

 private:
  std::shared_ptr<PoisonedBooks> books_ = std::make_shared<PoisonedBooks>();
  std::shared_ptr<Pool> before_ = default_pool();
};

}  // namespace reprise
