// How the report names memory and work.
#pragma once

#include <string>
#include <string_view>

#include "reprise/memory/origin.h"

namespace reprise::cli {

/// "gelu (8, 256, 768) float32", "linear, 1.06 MiB of scratch": what was allocated, without its place.
std::string tensor_text(const Origin& origin);

/// "transformer.h.3.mlp"; empty when unknown.
std::string_view path_of(const Place* place);

/// A text as a string of JSON in ASCII, quotes included; what is not UTF-8 is replaced.
std::string json_string(std::string_view text);

}  // namespace reprise::cli
