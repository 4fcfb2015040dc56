// Where in a model's code work comes from: names of modules, each with the line that opened it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "reprise/detail/work_scope.h"

namespace reprise {

/// How many names there are in one place, and places in all. Programs that make names up as they run, one for
/// each step, would need more and more memory: further names in a place are booked as one, `kFurtherNames`.
inline constexpr std::size_t kMostNames = std::size_t{1} << 14;
inline constexpr std::size_t kMostPlaces = std::size_t{1} << 16;
inline constexpr std::string_view kFurtherNames = "(further names)";

/// One step of a path through a model. Places live as long as the program; equal ones are one object.
struct Place {
  const Place* parent = nullptr;
  std::string path;  // from the outermost scope on, joined by dots: "transformer.h.3.mlp"
  std::string file;  // that opened the scope, as the compiler names it; empty for a name alone
  int line = 0;
  bool is_further = false;  // stands for all names in `parent` beyond the bound, and what is inside them
};

/// The place `name` inside `parent` (null: outermost), made where it is new; beyond the bound the one for
/// further names. Any thread may call it.
const Place* place_in(const Place* parent, std::string_view name, const char* file, int line);

/// How many places have been made.
std::size_t place_count();

/// While it lives, what this thread records, allocates and runs belongs to the module `name`:
///
///   Tensor Mlp::operator()(Tensor x) const {
///     const ModuleScope scope("mlp");
class ModuleScope : detail::WorkScope {
 public:
  // Not std::source_location, which clang reads only from 16 on.
  explicit ModuleScope(std::string_view name, const char* file = __builtin_FILE(),
                       int line = __builtin_LINE());
  ModuleScope(const ModuleScope&) = delete;
  ModuleScope& operator=(const ModuleScope&) = delete;
};

/// The last two folders of the file and its line, "models/gpt.cpp:98"; empty for null.
std::string location_of(const Place* place);

}  // namespace reprise
