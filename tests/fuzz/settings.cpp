#include "settings.h"

namespace reprise::fuzz {

std::span<const Setting> settings() {
  static constexpr Setting all[] = {
      {.name = "blocks", .spare = false},
      {.name = "nested", .segments = 40, .depth = 5, .spare = false},
      {.name = "cheap", .segments = 32, .depth = 3, .only_cheap = true},
      {.name = "mixed", .segments = 40, .depth = 5, .cheap = true, .elsewhere = 2},
      {.name = "sequence", .segments = 8, .depth = 4, .cheap = true, .sequences = 24},
      {.name = "threads",
       .depth = 3,
       .cheap = true,
       .threads = 10,
       .together = 10,
       .elsewhere = 16,
       .hooks = 0},
      {.name = "hooks", .depth = 3, .cheap = true, .hooks = 32},
      {.name = "errors", .depth = 4, .cheap = true, .hooks = 6, .errors = 24},
      {.name = "pool-faults",
       .segments = 32,
       .depth = 4,
       .cheap = true,
       .sequences = 4,
       .faults = Faults::pool},
      {.name = "new-faults",
       .segments = 32,
       .depth = 4,
       .cheap = true,
       .sequences = 4,
       .faults = Faults::new_},
  };
  return all;
}

const Setting* find_setting(std::string_view name) {
  for (const Setting& setting : settings()) {
    if (setting.name == name) return &setting;
  }
  return nullptr;
}

}  // namespace reprise::fuzz
