#include "memory/out_of_memory.h"

#include <fmt/format.h>

#include <algorithm>

#include "memory/pool_core.h"

namespace reprise::detail {
namespace {

std::string room(const Shortage& shortage) {
  const std::size_t capacity = shortage.source.capacity();
  if (shortage.injected) return "fail_after made it fail";
  const auto books = static_cast<std::size_t>(shortage.statistics.reserved.current);
  if (shortage.asked > kMostReserved - books)
    return fmt::format("{} of {} are taken, which is all that a pool keeps books of", format_bytes(books),
                       format_bytes(kMostReserved));
  if (capacity == kUnlimited) return fmt::format("{} has no more to give", shortage.source.name());
  // A passthrough pool books a little more than it takes.
  const std::size_t reserved =
      std::min(capacity, static_cast<std::size_t>(shortage.statistics.reserved.current));
  return fmt::format("{} has {} free of {}", shortage.source.name(), format_bytes(capacity - reserved),
                     format_bytes(capacity));
}

std::string split_by_category(const MemoryStatistics& statistics) {
  std::string result;
  for (std::size_t i = 0; i < kCategories; ++i) {
    const std::int64_t bytes = statistics.by_category[i].allocated.current;
    if (bytes == 0) continue;
    result += fmt::format("{}{} {}", result.empty() ? "" : ", ", name_of(static_cast<Category>(i)),
                          format_bytes(bytes));
  }
  return result.empty() ? "nothing is allocated" : result;
}

constexpr std::size_t kListed = 10;

std::string largest_live(const std::vector<SegmentInfo>& segments) {
  std::vector<const BlockInfo*> live;
  for (const SegmentInfo& segment : segments) {
    for (const BlockInfo& block : segment.blocks) {
      if (block.live) live.push_back(&block);
    }
  }
  std::stable_sort(live.begin(), live.end(),
                   [](const BlockInfo* a, const BlockInfo* b) { return a->allocated > b->allocated; });
  if (live.size() > kListed) live.resize(kListed);
  std::string result = live.empty() ? "" : "  largest live values:\n";
  for (const BlockInfo* block : live) {
    result +=
        fmt::format("    {:>11}  {:<11}  {}\n", format_bytes(block->allocated), name_of(block->category),
                    block->name.empty() ? describe(block->origin)
                                        : fmt::format("{} {} {}", block->name, to_string(block->origin.shape),
                                                      name_of(block->origin.dtype)));
  }
  return result;
}

std::string_view remedy(const Shortage& shortage, std::size_t unused) {
  if (shortage.injected) return "nothing is short: a test asked for this with Pool::fail_after";
  if (shortage.asked > shortage.source.capacity())
    return "this single request is larger than the device: use a smaller batch";
  if (unused >= shortage.asked) {
    return "the unused memory is in pieces between live blocks: allocate long-lived tensors first, or use a "
           "smaller batch";
  }
  return "a smaller batch takes less, and so do checkpoint segments, which recompute activations";
}

}  // namespace

std::string describe(const Shortage& shortage) {
  const MemoryStatistics& s = shortage.statistics;
  const auto unused = static_cast<std::size_t>(s.reserved.current - s.all.allocated.current);
  const std::string where = shortage.tag.empty() ? "" : fmt::format(" in '{}'", shortage.tag);
  const std::string who =
      shortage.origin.operation.empty() ? "" : fmt::format(" by {}", describe(shortage.origin));
  return fmt::format(
      "[memory] {} asked for {}{}{}, but {}\n"
      "  allocated {} (requested {}, peak {}), reserved {}, of it cached but unused {} (largest piece {})\n"
      "  {}\n{}  {}",
      format_bytes(shortage.asked), name_of(shortage.category), where, who, room(shortage),
      format_bytes(s.all.allocated.current), format_bytes(s.all.requested.current),
      format_bytes(s.all.allocated.peak), format_bytes(s.reserved.current), format_bytes(unused),
      format_bytes(shortage.largest_free), split_by_category(s), largest_live(shortage.segments),
      remedy(shortage, unused));
}

}  // namespace reprise::detail
