// Running a program, with its segments or without.
#pragma once

#include <map>
#include <string>

#include "observe.h"
#include "program.h"
#include "settings.h"

namespace reprise::fuzz {

/// What a program does about memory that was refused.
enum class After : std::uint8_t {
  stop,   // lets the exception out of everything
  retry,  // tries an operation again, and must then see what it would have seen without the fault; else stops
  go_on,  // goes on with the next instruction
};

struct Mode {
  bool segments = false;
  Faults faults = Faults::none;
  long fails_at = 0;  // the allocation that fails, counted from 1
  After after = After::stop;
};

struct Outcome {
  Log log;
  bool changed = false;  // something was changed in place before the end
  long allocations = 0;  // that faults of the mode's kind could strike
  std::string foreign;   // what the library threw that it must not
  bool out_of_memory = false;
  std::map<std::uint32_t, std::string> texts;  // of errors, by instruction
};

/// Runs the program from a fresh generator; everything that it made is gone afterwards.
Outcome run(const Program& program, const Mode& mode);

}  // namespace reprise::fuzz
