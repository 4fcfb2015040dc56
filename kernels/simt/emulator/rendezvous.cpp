// Warp operations: who waits for whom.
#include <bit>
#include <cstring>

#include "simt/emulator/block.h"
#include "simt/emulator/call_sites.h"
#include "simt/emulator/clocks.h"
#include "simt/emulator/diagnostics.h"

namespace simt {

namespace {

// A lane can lag one meeting behind in reading its result, and masks can split a warp into 32.
constexpr std::size_t kRecords = 4096;
Rendezvous records[kRecords];
std::size_t records_used = 0;
std::vector<Rendezvous*>& idle = *new std::vector<Rendezvous*>;

Rendezvous& take_record() {
  if (!idle.empty()) {
    Rendezvous* r = idle.back();
    idle.pop_back();
    return *r;
  }
  if (records_used == kRecords) fail("internal", "", "out of records for warp operations");
  return records[records_used++];
}

constexpr std::uint32_t kNoLane = 32;

/// Everyone is there: lets all but one lane, which is running, go on.
void complete(Warp& warp, std::uint32_t first_thread, Rendezvous& r, std::uint32_t running_lane) {
  if (r.kind == Rendezvous::Kind::whole_warp && r.arrived != 0xffffffffu) {
    fail("absent-lane", r.site, format("%s needs all 32 lanes; present are %08x", r.what, r.arrived));
  }
  if (r.kind == Rendezvous::Kind::sync && race_hooks.access != nullptr)
    order_warp(warp, first_thread, r.arrived);
  if (r.last != nullptr) r.last(r);
  r.to_leave = static_cast<std::uint32_t>(std::popcount(r.arrived));
  statistics.rendezvous += r.to_leave;
  std::erase(warp.open, &r);
  const bool reverse = config.order == Order::reverse;
  for (std::uint32_t k = 0; k < 32; k++) {
    const std::uint32_t lane = reverse ? k : 31 - k;  // pushed in front of each other
    if (((r.arrived >> lane) & 1u) != 0 && lane != running_lane)
      make_ready(block.threads[first_thread + lane], true);
  }
}

}  // namespace

bool same_site(const Site& a, const Site& b) {
  if (identity(a) == identity(b)) return true;
  return a.line() == b.line() && a.column() == b.column() && std::strcmp(a.file_name(), b.file_name()) == 0;
}

Rendezvous& enter_rendezvous(std::uint32_t mask, Rendezvous::Kind kind, const char* what, Site site) {
  Thread& me = *current;
  Warp& warp = block.warps[me.warp()];
  const std::uint32_t my_bit = 1u << me.lane();
  if ((mask & my_bit) == 0) {
    fail("warp-mask", site,
         format("%s with mask %08x, which lacks the calling lane %u", what, mask, me.lane()));
  }
  me.site = site;
  me.waits_in = what;
  me.mask = mask;
  for (Rendezvous* r : warp.open) {
    if ((r->mask & my_bit) == 0 || (r->arrived & my_bit) != 0) continue;
    if (r->mask != mask) {
      // Lanes may wait for this one to come later, but not while it waits for them here.
      if ((r->arrived & mask) == 0) continue;
      fail("warp-mask", site,
           format("%s with mask %08x, but lanes %08x wait for this lane with mask %08x in %s at %s", what,
                  mask, r->arrived, r->mask, r->what, describe(r->site).c_str()));
    }
    if (!same_site(r->site, site)) {
      fail("warp-divergence", site,
           format("%s, but lanes %08x with the same mask %08x wait in %s at %s", what, r->arrived, mask,
                  r->what, describe(r->site).c_str()));
    }
    return *r;
  }
  Rendezvous& r = take_record();
  r.mask = mask;
  r.arrived = 0;
  r.kind = kind;
  r.what = what;
  r.site = site;
  r.last = nullptr;
  warp.open.push_back(&r);
  return r;
}

void meet(Rendezvous& r) {
  Thread& me = *current;
  Warp& warp = block.warps[me.warp()];
  r.arrived |= 1u << me.lane();
  if (r.arrived == (r.mask & ~warp.exited)) {
    complete(warp, me.linear - me.lane(), r, me.lane());
    if (!random_turn(2)) return;
    make_ready(me, false);
  } else {
    me.state = ThreadState::at_rendezvous;
  }
  suspend();
}

void leave(Rendezvous& r) {
  if (--r.to_leave == 0) idle.push_back(&r);
}

void warp_barrier(std::uint32_t mask, Site site) {
  if (skipped(site, "__syncwarp")) return;
  Rendezvous& r = enter_rendezvous(mask, Rendezvous::Kind::sync, "__syncwarp", site);
  meet(r);
  leave(r);
}

std::uint32_t live_lanes() { return ~block.warps[current->warp()].exited; }

void leave_open_rendezvous(Thread& thread) {
  Warp& warp = block.warps[thread.warp()];
  warp.exited |= 1u << thread.lane();
  for (std::size_t i = 0; i < warp.open.size();) {
    Rendezvous& r = *warp.open[i];
    if (((r.mask >> thread.lane()) & 1u) != 0 && r.arrived == (r.mask & ~warp.exited)) {
      complete(warp, thread.linear - thread.lane(), r, kNoLane);
      i = 0;
    } else {
      i++;
    }
  }
}

void reset_rendezvous(bool after_fault) {
  for (std::uint32_t w = 0; w < block.warp_count; w++) {
    Warp& warp = block.warps[w];
    warp.open.clear();
    const std::uint32_t present = block.size - w * 32;
    warp.exited = present < 32 ? ~0u << present : 0u;
  }
  if (after_fault) {
    idle.clear();
    records_used = 0;
  }
}

}  // namespace simt
