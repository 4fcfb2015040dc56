#include "reprise/detail/recycler.h"

#include <array>
#include <new>

#include "memory/poison.h"

namespace reprise::detail {
namespace {

constexpr bool kRecycle = !kAddressSanitizer;  // a memory checker should see every record come and go
constexpr std::size_t kGranularity = kRecordAlignment;
constexpr std::size_t kClasses = 48;  // records of up to 3 KiB
constexpr int kMostKept = 1 << 16;    // per class

struct FreeRecord {
  FreeRecord* next;
};

// Trivially destructible, so that tensors in static storage can still be freed after this thread's other
// objects are gone.
struct Lists {
  std::array<FreeRecord*, kClasses> first;
  std::array<int, kClasses> count;
  bool closed;
};
constinit thread_local Lists lists{};

struct Flush {
  ~Flush() {
    lists.closed = true;
    for (FreeRecord*& first : lists.first) {
      while (first != nullptr) {
        FreeRecord* record = first;
        first = record->next;
        ::operator delete (record, std::align_val_t{kGranularity});
      }
    }
  }
};

void* take_fresh(std::size_t size_class) {
  static thread_local Flush flush;  // registered with the first record of this thread
  (void)flush;
  return ::operator new ((size_class + 1) * kGranularity, std::align_val_t{kGranularity});
}

}  // namespace

void* recycled_allocate(std::size_t bytes) {
  const std::size_t size_class = bytes == 0 ? 0 : (bytes - 1) / kGranularity;
  if (kRecycle && size_class < kClasses) {
    if (FreeRecord* record = lists.first[size_class]) {
      lists.first[size_class] = record->next;
      --lists.count[size_class];
      return record;
    }
    return take_fresh(size_class);
  }
  return ::operator new ((size_class + 1) * kGranularity, std::align_val_t{kGranularity});
}

void recycled_free(void* memory, std::size_t bytes) noexcept {
  const std::size_t size_class = bytes == 0 ? 0 : (bytes - 1) / kGranularity;
  if (kRecycle && size_class < kClasses && !lists.closed && lists.count[size_class] < kMostKept) {
    auto* record = static_cast<FreeRecord*>(memory);
    record->next = lists.first[size_class];
    lists.first[size_class] = record;
    ++lists.count[size_class];
    return;
  }
  ::operator delete (memory, std::align_val_t{kGranularity});
}

}  // namespace reprise::detail
