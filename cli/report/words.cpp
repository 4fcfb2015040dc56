#include "cli/report/words.h"

#include <fmt/format.h>

#include "cli/json.h"
#include "reprise/shape.h"

namespace reprise::cli {

std::string tensor_text(const Origin& origin) {
  if (!origin.operation.empty()) {
    return describe({.operation = origin.operation,
                     .scratch = origin.scratch,
                     .dtype = origin.dtype,
                     .shape = origin.shape});
  }
  if (origin.place == nullptr) return "unknown";
  return fmt::format("{} {}", to_string(origin.shape), name_of(origin.dtype));
}

std::string_view path_of(const Place* place) {
  return place == nullptr ? std::string_view() : std::string_view(place->path);
}

std::string json_string(std::string_view text) { return json_text(text, -1); }

}  // namespace reprise::cli
