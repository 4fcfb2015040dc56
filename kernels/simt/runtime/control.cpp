// What tests ask of the whole runtime.
#include "simt/runtime/control.h"

#include "simt/runtime/call.h"
#include "simt/runtime/events.h"
#include "simt/runtime/graphs.h"
#include "simt/runtime/host_memory.h"
#include "simt/runtime/memory.h"
#include "simt/runtime/objects.h"
#include "simt/runtime/streams.h"

namespace simt::runtime {

Control& control() {
  static auto& settings = *new Control;
  return settings;
}

std::size_t live_allocations() {
  const std::lock_guard lock(runtime_mutex());
  return device_block_count() + pinned_block_count();
}

std::size_t live_objects() {
  const std::lock_guard lock(runtime_mutex());
  return stream_count() + event_count() + graph_count() + object_count();
}

std::string leak_report() {
  const std::lock_guard lock(runtime_mutex());
  return list_device_blocks() + list_pinned_blocks() + list_streams() + list_events() + list_graphs() +
         list_objects();
}

void drain() {
  const std::lock_guard lock(runtime_mutex());
  run_everything();
}

void reset() {
  const std::lock_guard lock(runtime_mutex());
  control() = Control();
  drop_queued_work();
  clear_errors();
  last_error.clear();
}

}  // namespace simt::runtime
