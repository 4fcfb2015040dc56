// What the viewer relies on: the blocks of a segment tile it; events of blocks carry the bytes asked for,
// those of segments the whole; a free is requested and completed in one go; going back from the segments
// event by event ends where the trace began; and one entry is of the category "unknown". Therefore the
// segments are not asked of the pool, but are what the events lead to, of a truncated trace too.
#include "cli/report/snapshot.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string_view>

#include "cli/report/words.h"
#include "reprise/memory/pool_state.h"

namespace reprise::cli {

namespace {

std::uint64_t number(const void* address) { return reinterpret_cast<std::uintptr_t>(address); }

std::string frame(std::string_view name, std::string_view file, int line) {
  return fmt::format(R"({{"name":{},"filename":{},"line":{}}})", json_string(name), json_string(file), line);
}

/// What was allocated, in the phase that takes the place of its file, then where, innermost first.
std::string frames_of(const Origin& origin) {
  std::string frames = "[" + frame(tensor_text(origin), name_of(origin.phase), 0);
  for (const Place* place = origin.place; place != nullptr; place = place->parent)
    frames += "," + frame(place->path, place->file, place->line);
  return frames + "]";
}

std::string block_entry(const BlockInfo& block) {
  return fmt::format(
      R"({{"address":{},"size":{},"requested_size":{},"state":"{}","category":"{}","frames":{}}})",
      number(block.data), block.allocated, block.requested, block.live ? "active_allocated" : "inactive",
      block.live ? name_of(block.category) : "unknown", block.live ? frames_of(block.origin) : "[]");
}

std::string segment_entry(const SegmentInfo& segment) {
  std::size_t allocated = 0;
  std::size_t requested = 0;
  std::string blocks;
  for (const BlockInfo& block : segment.blocks) {
    allocated += block.live ? block.allocated : 0;
    requested += block.requested;
    blocks += (blocks.empty() ? "" : ",\n  ") + block_entry(block);
  }
  return fmt::format(R"({{"device":0,"address":{},"total_size":{},"allocated_size":{},"active_size":{},)"
                     R"("requested_size":{},"stream":0,"segment_type":"{}","segment_pool_id":[0,0],)"
                     R"("is_expandable":false,"frames":[],"blocks":[{}{}]}})",
                     number(segment.data), segment.bytes, allocated, allocated, requested,
                     segment.small ? "small" : "large", blocks.empty() ? "" : "\n  ", blocks);
}

std::string trace_entry(std::string_view action, const MemoryEvent& event, std::int64_t size) {
  const bool of_segment = action.starts_with("segment");
  return fmt::format(R"({{"action":"{}","addr":{},"size":{},"stream":0,"time_us":{},"category":"{}",)"
                     R"("user_metadata":{},"frames":{}}})",
                     action, number(event.address), size, event.time_ns / 1000,
                     of_segment ? "unknown" : name_of(event.category), json_string(event.tag),
                     frames_of(event.origin));
}

std::string trace_entries(const MemoryEvent& event) {
  using Action = MemoryEvent::Action;
  switch (event.action) {
    case Action::allocate:
      return trace_entry("alloc", event, event.requested) + ",\n";
    case Action::free:
      return trace_entry("free_requested", event, event.requested) + ",\n" +
             trace_entry("free_completed", event, event.requested) + ",\n";
    case Action::segment_allocate:
      return trace_entry("segment_alloc", event, event.allocated) + ",\n";
    case Action::segment_free:
      return trace_entry("segment_free", event, event.allocated) + ",\n";
    case Action::recategorise:  // the format knows no such thing
      return {};
  }
  return {};
}

/// The moment of the snapshot itself; where a run has no segment that comes or goes, it alone is "unknown".
std::string last_entry(const RunReport& run) {
  const std::int64_t time_ns = run.events.empty() ? 0 : run.events.back().time_ns;
  return fmt::format(
      R"({{"action":"snapshot","addr":0,"size":0,"stream":0,"time_us":{},"category":"unknown",)"
      R"("user_metadata":"","frames":[]}})",
      time_ns / 1000);
}

std::string file_name(std::string_view setting) {
  std::string name(setting);
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
  };
  std::replace_if(
      name.begin(), name.end(), [&](char c) { return !plain(c); }, '-');
  return name;
}

}  // namespace

std::vector<std::string> snapshot_names(const std::vector<RunReport>& runs) {
  std::vector<std::string> names;
  std::set<std::string> taken;
  for (const RunReport& run : runs) {
    const std::string plain = file_name(run.segments);
    std::string name = plain;
    for (int n = 2; !taken.insert(name).second; ++n) name = fmt::format("{}-{}", plain, n);
    names.push_back("snapshot-" + name + ".json");
  }
  return names;
}

std::string memory_snapshot(const RunReport& run) {
  PoolState pool(run.before);
  std::string entries;
  for (const MemoryEvent& event : run.events) {
    pool.apply(event);
    entries += trace_entries(event);
  }
  std::string segments;
  for (const SegmentInfo& segment : pool.segments())
    segments += (segments.empty() ? "" : ",\n ") + segment_entry(segment);
  return "{\"segments\":[\n " + segments + "],\n\"device_traces\":[[\n" + entries + last_entry(run) +
         "]],\n\"allocator_settings\":{},\n\"external_annotations\":[]}\n";
}

}  // namespace reprise::cli
