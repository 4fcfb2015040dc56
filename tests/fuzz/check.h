// Whether a program behaves: with segments as without, with memory refused or not, and nothing is left
// behind.
#pragma once

#include <optional>
#include <string>

#include "program.h"
#include "run.h"
#include "settings.h"

namespace reprise::fuzz {

struct Finding {
  std::string kind;    // what shrinking keeps
  std::string detail;  // for people
  bool operator==(const Finding& other) const { return kind == other.kind; }
};

struct Verdict {
  std::optional<Finding> finding;
  bool stale = false;  // one of two runs refused what was changed in place; compared up to there
  long runs = 0;
  // In all runs, on their main thread:
  long played = 0;    // nodes, backward
  long replayed = 0;  // nodes
  long errors = 0;    // that instructions threw
};

/// Runs the program in every way that the setting asks for.
Verdict check(const Program& program, const Setting& setting);

}  // namespace reprise::fuzz
