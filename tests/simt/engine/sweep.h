// One fault at a time at every place of a run: it ends well or with a clear error, and leaves nothing behind.
#pragma once

#include "stand_in.h"

namespace reprise::test {

using Countdown = std::int64_t simt::runtime::Control::*;

/// How many runs met the fault, and how many of those did not get over it.
struct Sweep {
  std::int64_t faults = 0, errors = 0;
};

/// Runs from the start with the fault after `n` more calls, n = first, first + stride, ..., until it is not
/// reached any more. `prepare` sets what else the fault is, `check` looks at every run that met it. Each run
/// that ends well must give `expected`, as must the run after one that did not.
template <class Run, class Prepare, class Check>
Sweep sweep(StandIn& stand_in, Countdown countdown, std::int64_t stride, const Run& run,
            const Outcome& expected, const Prepare& prepare, const Check& check) {
  Sweep all;
  for (std::int64_t n = 0;; n += stride) {
    CAPTURE(n);
    StandIn::start_again();
    prepare();
    stand_in.control().*countdown = n;
    const Attempt result = attempt(run);
    const bool met = stand_in.control().*countdown < 0;
    stand_in.control().*countdown = -1;
    stand_in->fail_releases = false;
    if (stand_in->fail_for_good) {  // as if the device were there again, to see what is left
      simt::runtime::reset();
      CHECK(left_on_device() == "");
    }
    if (result.error.empty()) {
      CHECK(result.outcome == expected);
    } else {
      CHECK(names_its_operation(result.error));
      ++all.errors;
      CHECK(attempt(run) == Attempt{expected, "", false});
    }
    CHECK(left_on_device() == "");
    if (!met) return all;
    ++all.faults;
    check(result);
  }
}

}  // namespace reprise::test
