// The barriers that a run met, and the one that mutation takes out.
#pragma once

#include "simt/emulator/thread.h"

namespace simt {

/// SIMT_SKIP_BARRIER or SIMT_LIST_BARRIERS is set.
extern bool watch_sites;

/// Writes a barrier's site down when it is new. True when it is to be skipped.
[[gnu::cold]] bool visit_site(const Site& site, const char* what);

/// True when the barrier at this site is to be skipped.
inline bool skipped(const Site& site, const char* what) { return watch_sites && visit_site(site, what); }

}  // namespace simt
