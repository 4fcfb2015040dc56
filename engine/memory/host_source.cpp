#include <sys/mman.h>

#include <cstdint>
#include <new>

#include "memory/poison.h"
#include "reprise/memory/source.h"

namespace reprise {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

// AddressSanitizer watches what malloc gives, and ends the program that asks it for more than this.
constexpr bool kMayMap = !detail::kAddressSanitizer;
constexpr std::size_t kMostFromMalloc = std::size_t{1} << 38;

std::size_t mapped_size(std::size_t bytes) { return (bytes + kHugePage - 1) / kHugePage * kHugePage; }

/// Whole huge pages: maps one more than needed and gives the ends back.
void* map_huge_pages(std::size_t bytes) {
  const std::size_t size = mapped_size(bytes);
  const std::size_t with_slack = size + kHugePage;
  void* const mapped = mmap(nullptr, with_slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  auto* const begin = static_cast<std::byte*>(mapped);
  const std::size_t head = (kHugePage - reinterpret_cast<std::uintptr_t>(begin) % kHugePage) % kHugePage;
  const std::size_t tail = kHugePage - head;
  if (head != 0) munmap(begin, head);
  if (tail != 0) munmap(begin + head + size, tail);
  madvise(begin + head, size, MADV_HUGEPAGE);
  return begin + head;
}

class HostSource final : public Source {
 public:
  void* allocate(std::size_t bytes) override {
    if (kMayMap && bytes >= kHugePage) {
      return bytes > SIZE_MAX - 2 * kHugePage ? nullptr : map_huge_pages(bytes);
    }
    if (bytes > kMostFromMalloc) return nullptr;
    return ::operator new (bytes, std::align_val_t{kAlignment}, std::nothrow);
  }

  void release(void* data, std::size_t bytes) noexcept override {
    if (kMayMap && bytes >= kHugePage) {
      munmap(data, mapped_size(bytes));
    } else {
      ::operator delete (data, std::align_val_t{kAlignment});
    }
  }

  std::size_t capacity() const override { return kUnlimited; }
  std::string_view name() const override { return "cpu"; }
};

}  // namespace

std::unique_ptr<Source> host_source() { return std::make_unique<HostSource>(); }

}  // namespace reprise
