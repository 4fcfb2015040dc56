// Results as JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace reprise::cli {

/// JSON in ASCII, so that it can be shown and embedded anywhere; what is not UTF-8 becomes U+FFFD. An
/// `indent` of -1 puts all on one line.
inline std::string json_text(const nlohmann::json& json, int indent = 2) {
  return json.dump(indent, ' ', true, nlohmann::json::error_handler_t::replace);
}

}  // namespace reprise::cli
