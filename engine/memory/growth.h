// How far a pool may grow beyond what is live, and which requests it has had before.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace reprise::detail {

class Growth {
 public:
  /// `bytes` are live now.
  void note_live(std::int64_t bytes) noexcept {
    if (bytes > most_live_) [[unlikely]]
      most_live_ = bytes;
  }
  void note_large_request() noexcept { ++large_requests_; }

  /// The bytes that were ever live at one time no longer count.
  void start_again(std::int64_t live) noexcept { most_live_ = live; }

  /// Whether a block of that size is a good part of all that is live at the peak.
  bool is_huge(std::size_t size) const noexcept {
    return size >= static_cast<std::size_t>(most_live_) / kHugeShare;
  }

  /// Whether a large request of that size also came a while ago: in an earlier step, and not only in this
  /// one.
  bool has_come_before(std::size_t size) noexcept {
    for (const Seen& seen : seen_) {
      if (seen.size == size) return large_requests_ - seen.request > std::min(large_requests_ / 2, kLongAgo);
    }
    seen_[next_] = {size, large_requests_};
    next_ = (next_ + 1) % kRemembered;
    return false;
  }

  /// Bytes that may be reserved when `size` more than `live` are needed.
  std::size_t limit(std::int64_t live, std::size_t size) const noexcept {
    const std::size_t most =
        std::max(static_cast<std::size_t>(most_live_), static_cast<std::size_t>(live) + size);
    return most + std::max(kSlack, most / 16 * (kSpare + allowance_));
  }

  /// A large request goes beyond the limit by so many bytes. Where such requests repeat themselves, giving
  /// memory back for them would never end: the limit rises, by a part of what it lacks, until a new size
  /// comes.
  void note_excess(bool has_come_before, std::size_t bytes) noexcept {
    if (!has_come_before) {
      repeated_ = allowance_ = 0;
    } else if (++repeated_ % kPatience == 0) {
      const std::size_t unit = std::max<std::size_t>(static_cast<std::size_t>(most_live_) / 16, 1);
      allowance_ = std::min(kMostAllowance, allowance_ + std::max<std::size_t>(1, bytes / unit / kCaution));
    }
  }

 private:
  struct Seen {
    std::size_t size = 0;
    std::uint64_t request = 0;
  };

  static constexpr std::size_t kHugeShare = 8;
  static constexpr std::size_t kSlack = std::size_t{32} << 20;
  static constexpr std::size_t kSpare = 4;  // sixteenths
  static constexpr std::size_t kPatience = 4;
  static constexpr std::size_t kCaution = 2;  // what is given back for one request is enough for others too
  static constexpr std::size_t kMostAllowance = 4;  // sixteenths
  static constexpr std::size_t kRemembered = 64;
  static constexpr std::uint64_t kLongAgo = 16384;

  std::int64_t most_live_ = 0;
  std::uint64_t large_requests_ = 0;
  std::size_t repeated_ = 0;
  std::size_t allowance_ = 0;
  std::size_t next_ = 0;
  std::array<Seen, kRemembered> seen_{};
};

}  // namespace reprise::detail
