#include "cli/option_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <string>
#include <utility>

#include "cli/format.h"

namespace reprise::cli {
namespace {

/// The number that all of the text is.
template <class T>
std::optional<T> parsed(const std::string& text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// CLI11 reads digits after a leading 0 as octal: what it is given begins with none.
template <class T>
CLI::Validator whole(T least, T most, const std::string& range) {
  return CLI::Validator(
      [=](std::string& text) -> std::string {
        const std::optional<T> value = parsed<T>(text);
        if (!value || *value < least || *value > most)
          return fmt::format("'{}' is not a whole number {}", text, range);
        text = std::to_string(*value);
        return {};
      },
      range);
}

CLI::Validator real(double least, double most, bool above) {
  const std::string range = above ? fmt::format("above {:g}, up to {:g}", least, most)
                                  : fmt::format("from {:g} to {:g}", least, most);
  return CLI::Validator(
      [=](std::string& text) -> std::string {
        const std::optional<double> value = parsed<double>(text);
        const bool within =
            value && std::isfinite(*value) && *value <= most && (above ? *value > least : *value >= least);
        return within ? std::string() : fmt::format("'{}' is not a number {}", text, range);
      },
      range);
}

}  // namespace

CLI::Validator whole_number(std::int64_t least, std::int64_t most) {
  return whole(least, most, fmt::format("from {} to {}", format_count(least), format_count(most)));
}

CLI::Validator seed_number() {
  return whole(std::uint64_t{0}, UINT64_MAX, fmt::format("from 0 to {}", UINT64_MAX));
}

CLI::Validator number(double least, double most) { return real(least, most, false); }
CLI::Validator number_above(double least, double most) { return real(least, most, true); }

CLI::Validator one_of(std::vector<std::string> words) {
  return CLI::Validator(
      [words = std::move(words)](std::string& text) -> std::string {
        if (std::find(words.begin(), words.end(), text) != words.end()) return {};
        return fmt::format("'{}' is none of {}", text, fmt::join(words, ", "));
      },
      "");
}

CLI::Validator file_name() {
  return CLI::Validator(
      [](std::string& text) -> std::string { return text.empty() ? "the name is empty" : std::string(); },
      "");
}

}  // namespace reprise::cli
