// Copies from global to shared memory that complete later. Late mode copies when the thread waits, early mode
// when it issues: the two extremes that a device allows.
#pragma once

#include <type_traits>

#include "simt/emulator/thread.h"

namespace simt {

void cp_async_issue(void* shared, const void* global, std::size_t bytes, bool valid, Site site,
                    void* program_counter);
void cp_async_commit_group();
void cp_async_wait_groups(int keep, Site site, void* program_counter);

/// Copies 16 bytes from global to shared memory without waiting; when not valid, writes zeros and reads
/// nothing.
SIMT_PRIMITIVE inline void cp_async16(void* shared, const void* global, bool valid = true, SIMT_SITE) {
  cp_async_issue(shared, global, 16, valid, simt_site, __builtin_return_address(0));
}
/// Copies 4 bytes from global to shared memory without waiting; when not valid, writes zeros and reads
/// nothing.
SIMT_PRIMITIVE inline void cp_async4(void* shared, const void* global, bool valid = true, SIMT_SITE) {
  cp_async_issue(shared, global, 4, valid, simt_site, __builtin_return_address(0));
}
/// Ends a group of this thread's copies.
SIMT_PRIMITIVE inline void cp_async_commit() { cp_async_commit_group(); }
/// Waits until at most N of this thread's groups are still under way.
template <int N>
SIMT_PRIMITIVE inline void cp_async_wait(SIMT_SITE) {
  static_assert(N >= 0);
  cp_async_wait_groups(N, simt_site, __builtin_return_address(0));
}

}  // namespace simt
