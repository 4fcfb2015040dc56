// Where every byte of a tensor comes from: a source (host pages, a device), a caching pool on top of it, and
// statistics.
#pragma once

#include "reprise/memory/placement.h"
#include "reprise/memory/plan.h"
#include "reprise/memory/pool.h"
#include "reprise/memory/source.h"
#include "reprise/memory/statistics.h"
#include "reprise/memory/trace.h"
