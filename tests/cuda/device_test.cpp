// Devices, memory, streams, events and graphs. What only the stand-in runtime can do (no driver, a failing
// call) is behind REPRISE_SIMT.
#include "reprise/kernels/device.h"

#include <catch2/catch.hpp>
#include <cstdint>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "cuda/architectures.h"
#if defined(REPRISE_SIMT)
#include "simt/runtime/control.h"
#endif

namespace reprise::kernels::cuda {
namespace {

using Numbers = std::vector<std::int32_t>;

Numbers counted(std::size_t count, std::int32_t from) {
  Numbers numbers(count);
  std::iota(numbers.begin(), numbers.end(), from);
  return numbers;
}

/// Device memory and a stream.
struct Place {
  explicit Place(std::size_t numbers)
      : bytes(numbers * sizeof(std::int32_t)), memory(allocate(0, bytes)), stream(create_stream(0)) {
    REQUIRE(memory != nullptr);
  }
  ~Place() {
    synchronise(stream);
    destroy_stream(stream);
    release(0, memory);
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  void write(const Numbers& numbers) const {
    copy_bytes(memory, numbers.data(), bytes, CopyKind::host_to_device, stream);
  }
  Numbers read() const {
    Numbers numbers(bytes / sizeof(std::int32_t));
    copy_bytes(numbers.data(), memory, bytes, CopyKind::device_to_host, stream);
    synchronise(stream);
    return numbers;
  }

  std::size_t bytes;
  void* memory;
  Stream stream;
};

TEST_CASE("a program runs on devices of the architectures it was built for", "[simt][cuda]") {
  struct Case {
    const char* architectures;
    Capability device;
    bool fits;
  };
  const Case cases[] = {
      {"80;90", {8, 0}, true},      {"80;90", {8, 6}, true},       {"80;90", {7, 5}, false},
      {"80;90", {9, 0}, true},      {"80;90", {12, 0}, true},      {"80-real;90-real", {10, 0}, false},
      {"80-real", {8, 9}, true},    {"86-real", {8, 0}, false},    {"86-real", {9, 0}, false},
      {"90-virtual", {9, 0}, true}, {"90-virtual", {10, 0}, true}, {"90-virtual", {8, 0}, false},
      {"80, 90a", {9, 0}, true},    {"90a", {10, 0}, false},       {"90a", {9, 0}, true},
      {"100f", {10, 3}, true},      {"100f", {11, 0}, false},      {"native", {7, 5}, true},
      {"all-major", {7, 5}, true},  {"", {9, 0}, false},           {"120", {12, 1}, true},
  };
  for (const Case& c : cases) {
    INFO(c.architectures << " on " << c.device.major << "." << c.device.minor);
    CHECK(runs_on(c.architectures, c.device) == c.fits);
  }
}

TEST_CASE("architectures read well", "[simt][cuda]") {
  CHECK(describe("80;90-virtual") == "sm_80, PTX 8.0, PTX 9.0");
  CHECK(describe("80-real;90") == "sm_80, sm_90, PTX 9.0");
  CHECK(describe("90a-real,120") == "sm_90a, sm_120, PTX 12.0");
  CHECK(describe("native") == "native");
  CHECK(describe("emulated") == "emulated on the CPU");
}

TEST_CASE("the backend says what it is", "[simt][cuda]") {
  const Build about = build();
  CHECK(about.present);
  CHECK_FALSE(about.architectures.empty());
  REQUIRE(about.libraries.size() == 3);
  CHECK(about.libraries[0].starts_with("CUDA 1"));
  CHECK(about.libraries[1].starts_with("cuBLASLt 1"));
  CHECK(about.libraries[2].starts_with("cuDNN 9."));

  CHECK(device_count() >= 1);
  CHECK(unavailable_reason().empty());
  const DeviceInfo info = device_info(0);
  CHECK_FALSE(info.name.empty());
  CHECK(info.major >= 7);
  CHECK(info.multiprocessors > 0);
  const MemoryInfo memory = memory_info(0);
  CHECK(memory.total_bytes > 0);
  CHECK(memory.free_bytes <= memory.total_bytes);
}

TEST_CASE("device memory is aligned, and null when there is not enough", "[simt][cuda]") {
  void* const memory = allocate(0, 1);
  REQUIRE(memory != nullptr);
  CHECK(reinterpret_cast<std::uintptr_t>(memory) % 256 == 0);
  release(0, memory);
  release(0, nullptr);
  release_pinned(nullptr);
  CHECK(allocate(0, std::size_t{1} << 50) == nullptr);
  synchronise(nullptr);  // the failure has left no error behind
  void* const after = allocate(0, 100);
  CHECK(after != nullptr);
  release(0, after);
}

TEST_CASE("bytes travel in the order of a stream", "[simt][cuda]") {
  const std::size_t count = GENERATE(std::size_t{1}, std::size_t{33}, std::size_t{1000});
  const Place from(count), to(count);
  from.write(counted(count, 5));
  copy_bytes(to.memory, from.memory, to.bytes, CopyKind::device_to_device, from.stream);
  fill_bytes(from.memory, 1, from.bytes, from.stream);
  CHECK(from.read() == Numbers(count, 0x01010101));
  CHECK(to.read() == counted(count, 5));
  copy_bytes(nullptr, nullptr, 0, CopyKind::device_to_device, from.stream);
  fill_bytes(nullptr, 0, 0, from.stream);
}

TEST_CASE("page-locked memory travels too", "[simt][cuda]") {
  const Place place(100);
  auto* const pinned = static_cast<std::int32_t*>(allocate_pinned(place.bytes));
  REQUIRE(pinned != nullptr);
  std::iota(pinned, pinned + 100, 7);
  copy_bytes(place.memory, pinned, place.bytes, CopyKind::host_to_device, place.stream);
  CHECK(place.read() == counted(100, 7));
  release_pinned(pinned);
}

TEST_CASE("a stream waits for an event of another", "[simt][cuda]") {
  const Place first(1000), second(1000);
  first.write(counted(1000, 1));
  const Event written = create_event(false);
  record_event(written, first.stream);
  wait_event(second.stream, written);
  copy_bytes(second.memory, first.memory, second.bytes, CopyKind::device_to_device, second.stream);
  CHECK(second.read() == counted(1000, 1));
  synchronise_event(written);
  CHECK(event_happened(written));
  destroy_event(written);
  destroy_event(nullptr);
}

TEST_CASE("events measure time", "[simt][cuda]") {
  const Place place(1000);
  const Event start = create_event(true), end = create_event(true);
  record_event(start, place.stream);
  fill_bytes(place.memory, 0, place.bytes, place.stream);
  record_event(end, place.stream);
  synchronise(place.stream);
  CHECK(event_happened(end));
  CHECK(elapsed_ms(start, end) >= 0);
  destroy_event(start);
  destroy_event(end);
}

TEST_CASE("a graph does again what was recorded", "[simt][cuda]") {
  const Place from(100), to(100);
  to.write(Numbers(100, 0));
  synchronise(to.stream);
  begin_capture(from.stream);
  copy_bytes(to.memory, from.memory, to.bytes, CopyKind::device_to_device, from.stream);
  const Graph graph = end_capture(from.stream);
  REQUIRE(graph != nullptr);
  CHECK(to.read() == Numbers(100, 0));
  for (const std::int32_t round : {3, 4}) {
    from.write(counted(100, round));
    launch_graph(graph, from.stream);
    synchronise(from.stream);
    CHECK(to.read() == counted(100, round));
  }
  destroy_graph(graph);
  destroy_graph(nullptr);
}

TEST_CASE("a recording that went wrong can be left", "[simt][cuda]") {
  const Place place(10);
  begin_capture(place.stream);
  fill_bytes(place.memory, 0, place.bytes, place.stream);
  abandon_capture(place.stream);
  abandon_capture(place.stream);  // nothing is recorded: nothing happens
  place.write(counted(10, 2));
  CHECK(place.read() == counted(10, 2));
}

TEST_CASE("ranges are named whether or not a profiler looks", "[simt][cuda]") {
  push_range("outer");
  push_range("inner");
  pop_range();
  pop_range();
}

#if defined(REPRISE_SIMT)

/// The stand-in's settings, restored at the end.
struct Settings {
  Settings() { simt::runtime::reset(); }
  ~Settings() { simt::runtime::reset(); }
  simt::runtime::Control& operator*() const { return simt::runtime::control(); }
  simt::runtime::Control* operator->() const { return &simt::runtime::control(); }
};

TEST_CASE("a machine without a driver has no devices and says why", "[simt][cuda]") {
  const Settings settings;
  settings->devices = 0;
  CHECK(device_count() == 0);
  CHECK(unavailable_reason() == "no NVIDIA driver on this machine (libcuda is missing)");
  CHECK_THROWS_AS(create_stream(0), DeviceError);
  settings->devices = 1;
  CHECK(device_count() == 1);
  CHECK(unavailable_reason().empty());
}

/// Everything that calls the runtime: whichever call fails, the error is thrown with the service's name, and
/// nothing is left behind.
void use_everything() {
  const Place place(64);
  const Event event = create_event(true);
  record_event(event, place.stream);
  wait_event(place.stream, event);
  place.write(counted(64, 0));
  begin_capture(place.stream);
  fill_bytes(place.memory, 0, place.bytes, place.stream);
  const Graph graph = end_capture(place.stream);
  launch_graph(graph, place.stream);
  synchronise(place.stream);
  synchronise_event(event);
  event_happened(event);
  elapsed_ms(event, event);
  memory_info(0);
  destroy_graph(graph);
  destroy_event(event);
}

TEST_CASE("a failing call is thrown with its name", "[simt][cuda]") {
  const Settings settings;
  use_everything();
  const std::pair<const char*, std::string> calls[] = {
      {"cudaMemGetInfo", "[memory_info] CUDA: "},
      {"cudaEventElapsedTime", "[elapsed_ms] CUDA: "},
      {"cudaEventQuery", "[event_happened] CUDA: "},
      {"cudaEventCreateWithFlags", "[create_event] CUDA: "},
  };
  const Place place(4);
  const Event event = create_event(true);
  record_event(event, place.stream);
  synchronise(place.stream);
  for (const auto& [name, beginning] : calls) {
    CAPTURE(name);
    settings->fail_name = name;
    settings->fail_call = 0;
    std::string message;
    try {
      memory_info(0);
      event_happened(event);
      elapsed_ms(event, event);
      destroy_event(create_event(true));
    } catch (const DeviceError& error) {
      message = error.what();
    }
    CHECK(message.starts_with(beginning));
    settings->fail_call = -1;
    CHECK_NOTHROW(synchronise(place.stream));
  }
  destroy_event(event);
}

TEST_CASE("end_capture leaves nothing behind when it fails", "[simt][cuda]") {
  const Settings settings;
  const std::size_t before = simt::runtime::live_objects();
  {
    const Place place(16);
    for (const char* name : {"cudaStreamEndCapture", "cudaGraphInstantiate"}) {
      CAPTURE(name);
      begin_capture(place.stream);
      fill_bytes(place.memory, 0, place.bytes, place.stream);
      settings->fail_name = name;
      settings->fail_call = 0;
      CHECK_THROWS_AS(end_capture(place.stream), DeviceError);
      settings->fail_call = -1;
      abandon_capture(place.stream);
      CHECK_NOTHROW(synchronise(place.stream));
    }
  }
  CHECK(simt::runtime::live_objects() == before);
}

TEST_CASE("an allocation that is made to fail is null", "[simt][cuda]") {
  const Settings settings;
  settings->fail_allocation = 0;
  CHECK(allocate(0, 64) == nullptr);
  settings->fail_allocation = 0;
  CHECK(allocate_pinned(64) == nullptr);
}

#endif

}  // namespace
}  // namespace reprise::kernels::cuda
