// Streams: queues of work that run late, in any order that streams and events allow.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "simt/runtime/call.h"
#include "simt/runtime/memory.h"

namespace simt::runtime {

struct Capture;
using StreamPointer = std::shared_ptr<CUstream_st>;

/// Something that a stream does: a kernel, a copy, a product.
struct Work {
  std::string name;
  cudaGraphNodeType type = cudaGraphNodeTypeEmpty;
  std::function<cudaError_t()> run;
  /// Memory that it may read or write, one byte of each block at least.
  std::vector<Range> touches;
  /// Gives memory back: runs even when the device is broken.
  bool releases = false;
  /// Pinned memory that it writes late: holds NaN until then.
  Range lands;
};
using WorkPointer = std::shared_ptr<const Work>;

/// A point in a stream: everything that was queued before it.
struct Mark {
  StreamPointer stream;
  std::uint64_t position = 0;
};

/// A piece of queued work, and the points in other streams that it comes after.
struct Operation {
  WorkPointer work;
  std::vector<Mark> after;
};

}  // namespace simt::runtime

struct CUstream_st {
  unsigned number = 0;
  unsigned flags = 0;
  int priority = 0;
  bool destroyed = false;
  std::deque<simt::runtime::Operation> queue;
  std::uint64_t issued = 0, done = 0;  // operations
  /// While it is captured: into what, and the nodes that the next one comes after.
  std::shared_ptr<simt::runtime::Capture> capture;
  std::vector<std::size_t> capture_tail;

  bool is_blocking() const { return (flags & cudaStreamNonBlocking) == 0; }
};

namespace simt::runtime {

StreamPointer create_stream(unsigned flags, int priority);

/// The stream is gone for its user; its work still runs.
void destroy_stream(const StreamPointer& stream);

/// The stream of a handle; null, with a fault reported, for one that does not exist.
StreamPointer find_stream(cudaStream_t handle);

/// The stream of the handle 0, which blocking streams wait for and which waits for them.
const StreamPointer& legacy_stream();

/// All streams that exist or still have work.
const std::vector<StreamPointer>& all_streams();

/// Queues work on a stream, or records it while the stream is captured.
cudaError_t enqueue(cudaStream_t handle, Work work);

/// Queues work on a stream that is not captured, after further points.
cudaError_t enqueue_now(const StreamPointer& stream, WorkPointer work, std::vector<Mark> after = {});

/// The end of what is queued on a stream.
Mark end_of(const StreamPointer& stream);

bool is_done(const Mark& mark);

/// Runs what is queued up to the mark, and what that needs. Returns the device's state.
cudaError_t run_until(const Mark& mark);

/// Runs everything. Returns the device's state.
cudaError_t run_everything();

/// Lets a poll make progress, as time passing would.
void run_a_little(const Mark& mark);

/// Random numbers of the schedule, from the seed of the settings.
std::uint64_t schedule_random();

/// Before memory goes: work that still uses it is a fault, and is finished first.
cudaError_t finish_work_on(Range memory, const char* who);

/// True when queued work may use the memory. Work that comes before the end of `ordered_with` does not count.
bool is_in_use(Range memory, std::string* user = nullptr, const StreamPointer& ordered_with = nullptr);

std::string list_streams();
std::size_t stream_count();

/// Forgets queued work and open captures.
void drop_queued_work();

}  // namespace simt::runtime
