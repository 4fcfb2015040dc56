// The memory snapshot against the seven rules that PyTorch's viewer relies on, and what it says of a step.
#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "cli/report/snapshot.h"
#include "report_support.h"

using namespace report_test;
using nlohmann::json;

namespace {

/// Goes through a snapshot as the viewer does, from its segments backwards to where the trace began.
class Viewer {
 public:
  explicit Viewer(const json& snapshot) : snapshot_(snapshot) {
    check_integers(snapshot);
    for (const json& segment : snapshot["segments"]) load(segment);
    check_categories();
    const json& entries = snapshot["device_traces"][0];
    for (std::size_t i = entries.size(); i-- > 0;) undo(entries, i);
  }

  /// The numbers of the rules that do not hold.
  const std::set<int>& broken() const { return broken_; }
  /// What was live when the trace began: bytes asked for, by address.
  const std::map<std::int64_t, std::int64_t>& blocks() const { return blocks_; }

 private:
  void expect(bool holds, int rule) {
    if (!holds) broken_.insert(rule);
  }

  void check_integers(const json& value) {
    if (value.is_structured()) {
      for (const json& part : value) check_integers(part);
    } else if (value.is_number()) {
      expect(value.is_number_integer() && value.get<double>() < 9007199254740992.0, 7);
    }
  }

  void check_frames(const json& frames) {
    expect(frames.is_array(), 5);
    for (const json& frame : frames) {
      expect(frame.contains("name") && frame["name"].is_string(), 5);
      expect(frame.contains("filename") && frame["filename"].is_string(), 5);
    }
  }

  void check_categories() {
    const json& entries = snapshot_["device_traces"][0];
    expect(std::any_of(entries.begin(), entries.end(),
                       [](const json& entry) { return entry["category"] == "unknown"; }),
           6);
  }

  void load(const json& segment) {
    std::int64_t at = segment["address"];
    segments_[at] = segment["total_size"];
    check_frames(segment["frames"]);
    for (const json& block : segment["blocks"]) {
      expect(block["address"] == at, 1);
      at += block["size"].get<std::int64_t>();
      check_frames(block["frames"]);
      if (block["state"] != "active_allocated") continue;
      expect(!block["frames"].empty(), 5);
      add_block(block["address"], block["requested_size"]);
    }
    expect(at == segment["address"].get<std::int64_t>() + segment["total_size"].get<std::int64_t>(), 1);
  }

  void add_block(std::int64_t address, std::int64_t bytes) {
    const auto after = segments_.upper_bound(address);
    expect(
        after != segments_.begin() && address + bytes <= std::prev(after)->first + std::prev(after)->second,
        4);
    blocks_[address] = bytes;
  }

  void undo(const json& entries, std::size_t i) {
    const json& entry = entries[i];
    const std::string action = entry["action"];
    check_frames(entry["frames"]);
    if (action == "alloc") undo_alloc(entry);
    if (action == "free_completed") undo_free(entry, i == 0 ? json() : entries[i - 1]);
    if (action == "free_requested")
      expect(i + 1 < entries.size() && entries[i + 1]["action"] == "free_completed", 3);
    if (action == "segment_free") segments_[entry["addr"]] = entry["size"];
    if (action == "segment_alloc") undo_segment(entry);
  }

  void undo_alloc(const json& entry) {
    const auto block = blocks_.find(entry["addr"]);
    expect(block != blocks_.end(), 3);
    if (block == blocks_.end()) return;
    expect(block->second == entry["size"], 2);
    blocks_.erase(block);
  }

  void undo_free(const json& entry, const json& before) {
    expect(before.is_object() && before["action"] == "free_requested" && before["addr"] == entry["addr"] &&
               before["size"] == entry["size"] && before["time_us"] == entry["time_us"],
           3);
    expect(!blocks_.contains(entry["addr"]), 3);
    add_block(entry["addr"], entry["size"]);
  }

  void undo_segment(const json& entry) {
    const auto segment = segments_.find(entry["addr"]);
    expect(segment != segments_.end(), 4);
    if (segment == segments_.end()) return;
    expect(segment->second == entry["size"], 2);
    const auto inside = blocks_.lower_bound(segment->first);
    expect(inside == blocks_.end() || inside->first >= segment->first + segment->second, 4);
    segments_.erase(segment);
  }

  const json& snapshot_;
  std::set<int> broken_;
  std::map<std::int64_t, std::int64_t> segments_, blocks_;
};

json snapshot_of(const RunReport& run) { return json::parse(memory_snapshot(run)); }

/// Blocks from before the trace that stay and go, segments that come and go, a change of category.
void mixed_work(Step& step) {
  step.at(Phase::other, place_in(nullptr, "mixed.weight", "", 0));
  step.allocate("", {100, 7}, Category::parameters);
  MemoryBlock* const old = step.allocate("", {300}, Category::gradients);
  step.begin();
  step.at(Phase::forward, place_in(nullptr, "mixed", "a/b/mixed.cpp", 12), "outer");
  MemoryBlock* const large = step.allocate("linear", {3000, 1001}, Category::activations);
  step.allocate("gelu", {5, 77}, Category::activations);
  step.work("linear", 50);
  step.free(old);
  step.recategorise(large, Category::gradients);
  step.work("gelu", 5);
  step.free(large);
  step.release_cached();
  step.allocate("linear", {3000, 1001}, Category::workspace);
  step.finish();
}

json& entry(json& snapshot, std::string_view action) {
  for (json& one : snapshot["device_traces"][0]) {
    if (one["action"] == action) return one;
  }
  FAIL("no entry of that kind");
  return snapshot;
}

std::size_t index_of(const json& snapshot, std::string_view action) {
  const json& entries = snapshot["device_traces"][0];
  const auto found =
      std::find_if(entries.begin(), entries.end(), [&](const json& one) { return one["action"] == action; });
  return static_cast<std::size_t>(found - entries.begin());
}

/// A live block of the last segment that has one.
json& live_block(json& snapshot) {
  for (json& segment : snapshot["segments"]) {
    for (json& block : segment["blocks"]) {
      if (block["state"] == "active_allocated") return block;
    }
  }
  FAIL("no live block");
  return snapshot;
}

struct Mutation {
  const char* what;
  int rule;
  std::function<void(json&)> apply;
};

const std::vector<Mutation>& mutations() {
  static const std::vector<Mutation> all{
      {"a block is missing", 1, [](json& s) { s["segments"][0]["blocks"].erase(0); }},
      {"a block is longer", 1, [](json& s) { s["segments"][0]["blocks"][0]["size"] = 12345; }},
      {"free memory is not listed", 1,
       [](json& s) { s["segments"][0]["blocks"].erase(s["segments"][0]["blocks"].size() - 1); }},
      {"an allocation of the block's bytes", 2, [](json& s) { entry(s, "alloc")["size"] = 12012032; }},
      {"a segment of another size", 2, [](json& s) { entry(s, "segment_alloc")["size"] = 512; }},
      {"a free that is never completed", 3,
       [](json& s) { s["device_traces"][0].erase(index_of(s, "free_completed")); }},
      {"a free that was not asked for", 3,
       [](json& s) { s["device_traces"][0].erase(index_of(s, "free_requested")); }},
      {"a free of an unknown block", 3, [](json& s) { live_block(s)["state"] = "inactive"; }},
      {"something between the two halves of a free", 3,
       [](json& s) {
         json& entries = s["device_traces"][0];
         const auto at = static_cast<std::ptrdiff_t>(index_of(s, "free_completed"));
         entries.insert(entries.begin() + at, entries.back());
       }},
      {"a live block outside all segments", 4, [](json& s) { s["segments"][0]["total_size"] = 64; }},
      {"a segment that is gone without a free", 4,
       [](json& s) { s["device_traces"][0].erase(index_of(s, "segment_free")); }},
      {"a block before its segment", 4,
       [](json& s) {
         json& entries = s["device_traces"][0];
         std::swap(entries[index_of(s, "segment_alloc")], entries[index_of(s, "segment_alloc") + 1]);
       }},
      {"a frame without a name", 5, [](json& s) { entry(s, "alloc")["frames"][0].erase("name"); }},
      {"a frame whose file is no text", 5, [](json& s) { live_block(s)["frames"][0]["filename"] = 7; }},
      {"a live block without frames", 5, [](json& s) { live_block(s)["frames"] = json::array(); }},
      {"no entry is unknown", 6,
       [](json& s) {
         for (json& one : s["device_traces"][0]) {
           if (one["category"] == "unknown") one["category"] = "other";
         }
       }},
      {"an address that a double cannot hold", 7, [](json& s) { entry(s, "snapshot")["addr"] = 1LL << 53; }},
      {"a time with a fraction", 7, [](json& s) { entry(s, "snapshot")["time_us"] = 1.5; }},
  };
  return all;
}

/// The entries that an event of the pool has to give.
std::vector<std::string> expected_actions(const MemoryEvent& event) {
  switch (event.action) {
    case MemoryEvent::Action::allocate:
      return {"alloc"};
    case MemoryEvent::Action::free:
      return {"free_requested", "free_completed"};
    case MemoryEvent::Action::segment_allocate:
      return {"segment_alloc"};
    case MemoryEvent::Action::segment_free:
      return {"segment_free"};
    case MemoryEvent::Action::recategorise:
      return {};
  }
  return {};
}

/// Every event is there, in its order and with its bytes, and the way back ends where the trace began.
void check_faithful(const RunReport& run) {
  const json snapshot = snapshot_of(run);
  const Viewer viewer(snapshot);
  CHECK(viewer.broken() == std::set<int>{});
  std::size_t i = 0;
  const json& entries = snapshot["device_traces"][0];
  for (const MemoryEvent& event : run.events) {
    for (const std::string& action : expected_actions(event)) {
      REQUIRE(entries[i]["action"] == action);
      REQUIRE(entries[i]["size"] == event.requested);
      REQUIRE(entries[i]["time_us"] == event.time_ns / 1000);
      ++i;
    }
  }
  CHECK(i + 1 == entries.size());
  std::map<std::int64_t, std::int64_t> before;
  for (const SegmentInfo& segment : run.before) {
    for (const BlockInfo& block : segment.blocks) {
      if (block.live)
        before[static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(block.data))] =
            static_cast<std::int64_t>(block.requested);
    }
  }
  CHECK(viewer.blocks() == before);
}

}  // namespace

TEST_CASE("a snapshot follows all rules of the viewer, and a checker sees each broken", "[report]") {
  Step step("mixed");
  mixed_work(step);
  check_faithful(step.run);
  std::set<int> covered;
  for (const Mutation& mutation : mutations()) {
    CAPTURE(mutation.what);
    json snapshot = snapshot_of(step.run);
    mutation.apply(snapshot);
    const Viewer viewer(snapshot);
    CHECK(viewer.broken().contains(mutation.rule));
    covered.insert(mutation.rule);
  }
  CHECK(covered == std::set<int>{1, 2, 3, 4, 5, 6, 7});
}

TEST_CASE("snapshots of whole steps lead back to where the trace began", "[report]") {
  for (const bool segments : {false, true}) {
    for (const bool passthrough : {false, true}) {
      CAPTURE(segments, passthrough);
      Step step("steps", {.passthrough = passthrough});
      Transformer model(step, 4, 64, segments);
      step.begin();
      model.run();
      step.finish();
      check_faithful(step.run);
    }
  }
}

TEST_CASE("a snapshot ends with what the pool holds", "[report]") {
  Step step("mixed");
  mixed_work(step);
  const json snapshot = snapshot_of(step.run);
  std::map<std::uintptr_t, const SegmentInfo*> expected;
  const std::vector<SegmentInfo> after = step.pool().segments();
  for (const SegmentInfo& segment : after)
    expected[reinterpret_cast<std::uintptr_t>(segment.data)] = &segment;
  REQUIRE(snapshot["segments"].size() == expected.size());
  for (const json& segment : snapshot["segments"]) {
    const SegmentInfo& info = *expected.at(segment["address"]);
    CHECK(segment["total_size"] == info.bytes);
    CHECK((segment["segment_type"] == "small") == info.small);
    REQUIRE(segment["blocks"].size() == info.blocks.size());
    for (std::size_t i = 0; i < info.blocks.size(); ++i) {
      CHECK(segment["blocks"][i]["size"] == info.blocks[i].allocated);
      CHECK(segment["blocks"][i]["requested_size"] == info.blocks[i].requested);
      CHECK((segment["blocks"][i]["state"] == "active_allocated") == info.blocks[i].live);
    }
  }
}

TEST_CASE("snapshots stand when a trace is cut short, empty, or of a single event", "[report]") {
  Step step("cut");
  Transformer model(step, 2, 64, true);
  step.begin(25);
  model.run();
  step.finish();
  CHECK(step.run.truncated);
  CHECK(step.run.events.size() == 25);
  check_faithful(step.run);

  RunReport one = step.run;
  one.events.resize(1);
  check_faithful(one);
  one.events.clear();
  check_faithful(one);
  check_faithful({});
}

TEST_CASE("frames name the tensor and its place, innermost first", "[report]") {
  const Place* const outer = place_in(nullptr, "model", "src/model.cpp", 10);
  const Place* const inner = place_in(outer, "mlp \"\\\x01", "src/mlp.cpp", 20);
  Step step("frames");
  step.begin();
  step.at(Phase::replay, inner, "block 1");
  step.allocate("gelu", {4, 2}, Category::recomputed);
  step.at(Phase::backward, nullptr);
  step.allocate("linear", {2048}, Category::workspace);
  step.at(Phase::other, place_in(nullptr, "weight", "", 0));
  step.allocate("", {3}, Category::parameters);
  step.at(Phase::other, nullptr);
  step.allocate("", {3}, Category::other);
  step.finish();
  json snapshot = snapshot_of(step.run);
  const json& alloc = entry(snapshot, "alloc");
  CHECK(alloc["category"] == "recomputed");
  CHECK(alloc["user_metadata"] == "block 1");
  CHECK(alloc["frames"] ==
        json::array({{{"name", "gelu (4, 2) float32"}, {"filename", "replay"}, {"line", 0}},
                     {{"name", "model.mlp \"\\\x01"}, {"filename", "src/mlp.cpp"}, {"line", 20}},
                     {{"name", "model"}, {"filename", "src/model.cpp"}, {"line", 10}}}));
  CHECK(live_block(snapshot)["frames"] == alloc["frames"]);
  std::vector<std::string> names;
  for (const json& one : snapshot["device_traces"][0]) {
    if (one["action"] == "alloc") names.push_back(one["frames"][0]["name"]);
  }
  CHECK(names == std::vector<std::string>{"gelu (4, 2) float32", "linear, 2.00 KiB of scratch", "(3) float32",
                                          "unknown"});
}

TEST_CASE("snapshots have plain names, each its own", "[report]") {
  std::vector<RunReport> runs(5);
  runs[0].segments = "none";
  runs[1].segments = "every:3";
  runs[2].segments = "every/3";
  runs[3].segments = "every-3";
  runs[4].segments = "../é";
  CHECK(snapshot_names(runs) == std::vector<std::string>{"snapshot-none.json", "snapshot-every-3.json",
                                                         "snapshot-every-3-2.json", "snapshot-every-3-3.json",
                                                         "snapshot-..---.json"});
}
