#include "simt/emulator/cp_async.h"

#include <cstring>

#include "simt/emulator/asan.h"
#include "simt/emulator/block.h"
#include "simt/emulator/call_sites.h"
#include "simt/emulator/diagnostics.h"

namespace simt {

namespace {

void observe(const void* address, std::size_t bytes, Access kind, void* program_counter) {
  if (race_hooks.access != nullptr)
    race_hooks.access(address, bytes, static_cast<int>(kind), program_counter);
}

void copy(const PendingCopy& c) {
  if (c.valid) {
    std::memcpy(c.shared, c.global, c.bytes);
  } else {
    std::memset(c.shared, 0, c.bytes);
  }
}

}  // namespace

void cp_async_issue(void* shared, const void* global, std::size_t bytes, bool valid, Site site,
                    void* program_counter) {
  Thread& me = *current;
  me.site = site;
  const auto addresses =
      reinterpret_cast<std::uintptr_t>(shared) | (valid ? reinterpret_cast<std::uintptr_t>(global) : 0);
  if ((addresses & (bytes - 1)) != 0) {
    fail("misaligned", site, format("cp.async of %zu bytes from %p to %p", bytes, global, shared));
  }
  if (!in_shared_memory(shared, bytes)) {
    fail("cp-async", site, format("the destination %p (%zu bytes) is not in shared memory", shared, bytes));
  }
  if (valid && in_shared_memory(global, bytes)) fail("cp-async", site, "the source is in shared memory");
  if (valid && asan_is_poisoned(global, bytes)) {
    fail("cp-async", site,
         format("the source %p (%zu bytes) is out of bounds: %s", global, bytes,
                describe_device_address(global).c_str()));
  }
  observe(shared, bytes, Access::write, program_counter);
  if (valid) observe(global, bytes, Access::read, program_counter);
  const PendingCopy pending{shared, global, static_cast<std::uint32_t>(bytes), block.copy_group[me.linear],
                            valid};
  block.copies[me.linear].push_back(pending);
  // Whatever the mode, nobody may rely on the bytes before the wait.
  if (config.late_cp_async) {
    std::memset(shared, 0xff, bytes);
  } else {
    copy(pending);
  }
  if (race_hooks.set_written != nullptr) race_hooks.set_written(shared, bytes, false);
}

void cp_async_commit_group() { block.copy_group[current->linear]++; }

void cp_async_wait_groups(int keep, Site site, void* program_counter) {
  if (skipped(site, "cp_async_wait")) return;
  Thread& me = *current;
  me.site = site;
  auto& copies = block.copies[me.linear];
  const int complete_below = block.copy_group[me.linear] - keep;
  std::size_t kept = 0;
  for (const PendingCopy& c : copies) {
    if (c.group >= complete_below) {
      copies[kept++] = c;
      continue;
    }
    if (config.late_cp_async) {
      copy(c);
      if (c.valid) observe(c.global, c.bytes, Access::read, program_counter);
    }
    observe(c.shared, c.bytes, Access::write, program_counter);
  }
  copies.resize(kept);
}

void check_pending_copies(const Thread& thread) {
  const auto& copies = block.copies[thread.linear];
  if (copies.empty()) return;
  fail("cp-async", "", format("the thread exits with %zu copies that it never waited for", copies.size()));
}

}  // namespace simt
