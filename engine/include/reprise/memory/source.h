// Where a pool takes its memory from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "reprise/shape.h"

namespace reprise {

inline constexpr std::size_t kUnlimited = SIZE_MAX;

/// Hands out pieces of memory, aligned to at least 64 bytes. A pool calls it from one thread at a time.
class Source {
 public:
  Source() = default;
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;
  virtual ~Source() = default;

  /// `bytes` > 0 bytes, or null when there is no room.
  virtual void* allocate(std::size_t bytes) = 0;

  /// Takes back what `allocate(bytes)` returned.
  virtual void release(void* data, std::size_t bytes) noexcept = 0;

  /// Bytes that it can hand out in all; kUnlimited where nobody knows.
  virtual std::size_t capacity() const = 0;

  /// What errors call it: "cpu".
  virtual std::string_view name() const = 0;

  /// Whether the host may read and write the memory.
  virtual bool host_accessible() const { return true; }
};

/// Memory of the host; pieces of 2 MiB and more begin on huge pages where the system has them.
std::unique_ptr<Source> host_source();

/// Memory of a CUDA device. Throws DeviceError where it cannot be used.
std::unique_ptr<Source> cuda_source(int device);

/// Memory of a dry device: counted, but not there.
std::unique_ptr<Source> dry_source(Device device);

/// `host_source()`, `cuda_source()` or `dry_source()`.
std::unique_ptr<Source> source_of(Device device);

/// `inner`, but never more than `capacity_bytes` at a time.
std::unique_ptr<Source> limited_source(std::unique_ptr<Source> inner, std::size_t capacity_bytes);

}  // namespace reprise
