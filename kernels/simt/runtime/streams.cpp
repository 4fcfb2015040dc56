// The queues of the streams, and the order in which they run.
#include "simt/runtime/streams.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <thread>

#include "simt/runtime/capture.h"
#include "simt/runtime/control.h"
#include "simt/runtime/host_memory.h"

namespace simt::runtime {
namespace {

// Never destroyed: programs release memory and handles while they exit.
std::vector<StreamPointer>& streams() {
  static auto& all = *new std::vector<StreamPointer>;
  return all;
}

std::optional<std::uint64_t> schedule_seed;
std::uint64_t schedule_state = 0;

StreamPointer per_thread_stream() {
  static auto& by_thread = *new std::map<std::thread::id, StreamPointer>;
  StreamPointer& stream = by_thread[std::this_thread::get_id()];
  if (stream == nullptr) stream = create_stream(cudaStreamDefault, 0);
  return stream;
}

const Mark* unfinished(const Operation& operation) {
  const auto found = std::find_if(operation.after.begin(), operation.after.end(),
                                  [](const Mark& mark) { return !is_done(mark); });
  return found != operation.after.end() ? &*found : nullptr;
}

// A block that was freed after the work was queued would be a stray access on a device.
bool memory_is_live(const Work& work) {
  return std::all_of(work.touches.begin(), work.touches.end(), [&](const Range& touched) {
    return !is_device_address(touched.begin) || device_range_is_live(touched, work.name);
  });
}

bool red_zones_survived(const Work& work) {
  bool intact = true;
  for (const Range& touched : work.touches) {
    const Block* block = find_block(touched.begin);
    if (block != nullptr) intact = red_zones_are_intact(*block, work.name) && intact;
  }
  return intact;
}

void forget_if_finished(const StreamPointer& stream) {
  if (stream->destroyed && stream->queue.empty()) std::erase(streams(), stream);
}

void execute_front(const StreamPointer& stream) {
  const WorkPointer work = std::move(stream->queue.front().work);
  stream->queue.pop_front();
  if ((sticky_error() == cudaSuccess || work->releases) && work->run) {
    cudaError_t error = memory_is_live(*work) ? guarded(work->run) : cudaErrorIllegalAddress;
    if (!red_zones_survived(*work) && error == cudaSuccess) error = cudaErrorIllegalAddress;
    if (error != cudaSuccess) set_sticky_error(error);
  }
  ++stream->done;
  forget_if_finished(stream);
}

// Marks point back in time, so that following them ends at work that can run.
StreamPointer first_in_the_way(StreamPointer stream) {
  while (const Mark* mark = unfinished(stream->queue.front())) stream = StreamPointer(mark->stream);
  return stream;
}

StreamPointer random_runnable() {
  std::vector<StreamPointer> runnable;
  for (const StreamPointer& stream : streams()) {
    if (!stream->queue.empty() && unfinished(stream->queue.front()) == nullptr) runnable.push_back(stream);
  }
  return runnable.empty() ? nullptr : runnable[schedule_random() % runnable.size()];
}

// What the schedule runs without anything waiting for it.
void run_early(const StreamPointer& stream) {
  if (control().schedule == Schedule::kEager) {
    run_until(end_of(stream));
  } else if (control().schedule == Schedule::kShuffled) {
    for (std::uint64_t steps = schedule_random() % 3; steps > 0; --steps) {
      const StreamPointer ready = random_runnable();
      if (ready == nullptr) return;
      execute_front(ready);
    }
  }
}

// The legacy stream comes after what blocking streams have queued, and they come after it.
void add_legacy_order(const StreamPointer& stream, std::vector<Mark>& after) {
  if (stream == legacy_stream()) {
    for (const StreamPointer& other : streams()) {
      if (other != stream && other->is_blocking()) after.push_back(end_of(other));
    }
  } else if (stream->is_blocking()) {
    after.push_back(end_of(legacy_stream()));
  }
}

using Positions = std::map<const CUstream_st*, std::uint64_t>;

// Up to where each stream has run when the end of one stream is reached.
Positions positions_before(const StreamPointer& stream) {
  Positions positions = {{stream.get(), stream->issued}};
  std::vector<const CUstream_st*> pending = {stream.get()};
  while (!pending.empty()) {
    const CUstream_st* at = pending.back();
    pending.pop_back();
    std::uint64_t position = at->done;
    for (const Operation& operation : at->queue) {
      if (++position > positions[at]) break;
      for (const Mark& mark : operation.after) {
        std::uint64_t& bound = positions[mark.stream.get()];
        if (mark.position <= bound) continue;
        bound = mark.position;
        pending.push_back(mark.stream.get());
      }
    }
  }
  return positions;
}

}  // namespace

std::uint64_t schedule_random() {
  if (schedule_seed != control().seed) {
    schedule_seed = control().seed;
    schedule_state = control().seed;
  }
  schedule_state += 0x9e3779b97f4a7c15u;  // splitmix64
  std::uint64_t bits = schedule_state;
  bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9u;
  bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebu;
  return bits ^ (bits >> 31);
}

StreamPointer create_stream(unsigned flags, int priority) {
  legacy_stream();  // is number 0
  auto stream = std::make_shared<CUstream_st>();
  static unsigned created = 0;
  stream->number = ++created;
  stream->flags = flags;
  stream->priority = priority;
  streams().push_back(stream);
  return stream;
}

void destroy_stream(const StreamPointer& stream) {
  stream->destroyed = true;
  forget_if_finished(stream);
}

const StreamPointer& legacy_stream() {
  static const auto& stream = *new StreamPointer(streams().emplace_back(std::make_shared<CUstream_st>()));
  return stream;
}

StreamPointer find_stream(cudaStream_t handle) {
  if (handle == nullptr || handle == cudaStreamLegacy) return legacy_stream();
  if (handle == cudaStreamPerThread) return per_thread_stream();
  for (const StreamPointer& stream : streams()) {
    if (stream.get() == handle && !stream->destroyed) return stream;
  }
  report_host_fault("invalid-stream", "a stream that was destroyed or never created");
  return nullptr;
}

const std::vector<StreamPointer>& all_streams() { return streams(); }

Mark end_of(const StreamPointer& stream) { return {stream, stream->issued}; }

bool is_done(const Mark& mark) { return mark.stream == nullptr || mark.stream->done >= mark.position; }

cudaError_t enqueue(cudaStream_t handle, Work work) {
  const StreamPointer stream = find_stream(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (stream->capture != nullptr) return record_work(*stream, std::make_shared<Work>(std::move(work)));
  if (const cudaError_t error = check_implicit_capture(stream); error != cudaSuccess) return error;
  return enqueue_now(stream, std::make_shared<Work>(std::move(work)));
}

cudaError_t enqueue_now(const StreamPointer& stream, WorkPointer work, std::vector<Mark> after) {
  // A host that reads the result before it waits shall see that it is not there yet.
  if (work->lands.bytes != 0 && !is_in_use(work->lands)) {
    std::memset(const_cast<char*>(work->lands.begin), 0xff, work->lands.bytes);
  }
  add_legacy_order(stream, after);
  std::erase_if(after, [](const Mark& mark) { return is_done(mark); });
  stream->queue.push_back({std::move(work), std::move(after)});
  ++stream->issued;
  run_early(stream);
  return cudaSuccess;
}

cudaError_t run_until(const Mark& mark) {
  while (!is_done(mark)) {
    const StreamPointer next =
        control().schedule == Schedule::kShuffled ? random_runnable() : first_in_the_way(mark.stream);
    execute_front(next);
  }
  return sticky_error();
}

cudaError_t run_everything() {
  const std::vector<StreamPointer> now = streams();
  for (const StreamPointer& stream : now) run_until(end_of(stream));
  return sticky_error();
}

void run_a_little(const Mark& mark) {
  if (is_done(mark)) return;
  execute_front(control().schedule == Schedule::kShuffled ? random_runnable()
                                                          : first_in_the_way(mark.stream));
}

bool is_in_use(Range memory, std::string* user, const StreamPointer& ordered_with) {
  const auto ordered = ordered_with != nullptr ? positions_before(ordered_with) : Positions();
  for (const StreamPointer& stream : streams()) {
    const auto bound = ordered.find(stream.get());
    std::uint64_t position = stream->done;
    for (const Operation& operation : stream->queue) {
      if (++position <= (bound != ordered.end() ? bound->second : 0)) continue;
      for (const Range& touched : operation.work->touches) {
        if (!touched.overlaps(memory)) continue;
        if (user != nullptr) *user = operation.work->name + " on stream " + std::to_string(stream->number);
        return true;
      }
    }
  }
  return false;
}

cudaError_t finish_work_on(Range memory, const char* who) {
  std::string user;
  if (!is_in_use(memory, &user)) return cudaSuccess;
  run_everything();
  report_host_fault("free-in-use", std::string(who) + " of " + with_commas(memory.bytes) +
                                       " bytes that queued work still uses: " + user);
  return cudaErrorInvalidValue;
}

std::string list_streams() {
  std::string text;
  for (const StreamPointer& stream : streams()) {
    if (stream->number != 0 && !stream->destroyed) text += "stream " + std::to_string(stream->number) + '\n';
  }
  return text;
}

std::size_t stream_count() {
  return static_cast<std::size_t>(
      std::count_if(streams().begin(), streams().end(),
                    [](const StreamPointer& stream) { return stream->number != 0 && !stream->destroyed; }));
}

std::size_t queued_operations() {
  const std::lock_guard lock(runtime_mutex());
  std::size_t count = 0;
  for (const StreamPointer& stream : streams()) count += stream->queue.size();
  return count;
}

void drop_queued_work() {
  schedule_seed.reset();  // the next test meets the same order whatever came before
  const std::vector<StreamPointer> now = streams();
  for (const StreamPointer& stream : now) {
    for (const Operation& operation : stream->queue) {
      if (operation.work->releases) operation.work->run();
    }
    stream->queue.clear();
    stream->done = stream->issued;
    stream->capture = nullptr;
    stream->capture_tail.clear();
    forget_if_finished(stream);
  }
}

}  // namespace simt::runtime
