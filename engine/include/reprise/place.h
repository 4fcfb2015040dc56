// Where in a model's code work comes from: names of modules, each with the line that opened it.
#pragma once

#include <string>
#include <string_view>

#include "reprise/detail/work_scope.h"

namespace reprise {

/// One step of a path through a model. Places live as long as the program; equal ones are one object.
struct Place {
  const Place* parent = nullptr;
  std::string path;  // from the outermost scope on, joined by dots: "transformer.h.3.mlp"
  std::string file;  // that opened the scope, as the compiler names it; empty for a name alone
  int line = 0;
};

/// The place `name` inside `parent` (null: outermost), made where it is new. Any thread may call it.
const Place* place_in(const Place* parent, std::string_view name, const char* file, int line);

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
