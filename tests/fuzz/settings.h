// What the programs of a run are rich in; each has a line in the table at the end.
#pragma once

#include <span>
#include <string_view>

namespace reprise::fuzz {

enum class Faults : unsigned char { none, pool, new_ };

/// Chances are of 256, for each instruction.
struct Setting {
  std::string_view name;
  int segments = 24;   // opens one
  int depth = 1;       // of scopes in scopes
  bool cheap = false;  // both kinds; else everything is dropped
  bool only_cheap = false;
  bool spare = true;  // both ways; else no segment is spared
  int sequences = 0;
  int threads = 0;
  int together = 0;
  int elsewhere = 0;
  int hooks = 2;
  int errors = 2;  // unfitting operands, errors that leave scopes, throws
  int in_place = 6;
  Faults faults = Faults::none;
};

std::span<const Setting> settings();
/// Null when none is called that.
const Setting* find_setting(std::string_view name);

}  // namespace reprise::fuzz
