// Block barriers and memory fences.
#pragma once

#include "simt/emulator/thread.h"

namespace simt {

/// Waits for every thread of the block that has not exited; `what` is for messages.
void block_barrier(Site site, const char* what);

struct BarrierVotes {
  int count = 0;  // threads whose predicate held
  int voters = 0;
};

/// The same, and counts the predicates.
BarrierVotes block_vote(bool predicate, Site site, const char* what);

/// Orders the thread's writes, as it knows them, before its later atomics, for all blocks.
void device_fence(Site site);

}  // namespace simt

SIMT_PRIMITIVE inline void __syncthreads(SIMT_SITE) { simt::block_barrier(simt_site, "__syncthreads"); }
SIMT_PRIMITIVE inline int __syncthreads_count(int predicate, SIMT_SITE) {
  return simt::block_vote(predicate != 0, simt_site, "__syncthreads_count").count;
}
SIMT_PRIMITIVE inline int __syncthreads_and(int predicate, SIMT_SITE) {
  const simt::BarrierVotes votes = simt::block_vote(predicate != 0, simt_site, "__syncthreads_and");
  return votes.count == votes.voters;
}
SIMT_PRIMITIVE inline int __syncthreads_or(int predicate, SIMT_SITE) {
  return simt::block_vote(predicate != 0, simt_site, "__syncthreads_or").count != 0;
}
SIMT_PRIMITIVE inline void __threadfence(SIMT_SITE) { simt::device_fence(simt_site); }
SIMT_PRIMITIVE inline void __threadfence_system(SIMT_SITE) { simt::device_fence(simt_site); }
// Orders nothing between blocks; within a block the race checker asks for barriers.
inline void __threadfence_block() {}
