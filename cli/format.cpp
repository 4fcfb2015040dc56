#include "format.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>

namespace reprise::cli {

namespace {

constexpr const char* kNothing = "\xE2\x80\x93";

/// Three significant digits, without an exponent.
std::string three_digits(double value) {
  const double magnitude = std::abs(value);
  return format_fixed(value, magnitude < 9.995 ? 2 : magnitude < 99.95 ? 1 : 0);
}

std::string two_digits(std::int64_t value) { return (value < 10 ? "0" : "") + std::to_string(value); }

}  // namespace

std::string format_fixed(double value, int decimals) {
  if (!std::isfinite(value)) return kNothing;
  // The longest double has 309 digits before the point.
  std::array<char, 360> text{};
  const auto result =
      std::to_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed, decimals);
  std::string digits(text.data(), result.ptr);
  const bool zero = digits.find_first_not_of("-0.") == std::string::npos;
  return zero && digits.front() == '-' ? digits.substr(1) : digits;
}

std::string format_ms(double ms) {
  if (!std::isfinite(ms)) return kNothing;
  const double magnitude = std::abs(ms);
  if (magnitude == 0.0) return "0 ms";
  if (magnitude < 0.0009995) return format_fixed(ms * 1e6, 0) + " ns";
  if (magnitude < 0.9995) return three_digits(ms * 1e3) + " \xC2\xB5s";
  if (magnitude < 999.5) return three_digits(ms) + " ms";
  if (magnitude < 99'950.0) return three_digits(ms / 1e3) + " s";
  const std::int64_t seconds = std::llround(std::fmin(magnitude / 1e3, 1e15));
  const std::string sign = ms < 0 ? "-" : "";
  if (seconds < 3600) return sign + std::to_string(seconds / 60) + " min " + two_digits(seconds % 60) + " s";
  return sign + format_count(seconds / 3600) + " h " + two_digits(seconds % 3600 / 60) + " min";
}

std::string format_count(std::int64_t count) {
  const std::string digits = std::to_string(count);
  const std::size_t first = count < 0 ? 1 : 0;
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > first && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

std::string format_rate(double per_second, std::string_view unit) {
  constexpr std::array suffixes{"", "k", "M", "G", "T"};
  std::size_t suffix = 0;
  double value = per_second;
  while (std::abs(value) >= 999.5 && suffix + 1 < suffixes.size()) {
    value /= 1000.0;
    ++suffix;
  }
  return three_digits(value) + suffixes[suffix] + " " + std::string(unit) + "/s";
}

std::string format_ratio(double value, double reference) {
  if (reference == 0.0) return kNothing;
  const double ratio = value / reference;
  return std::isfinite(ratio) ? "\xC3\x97" + three_digits(ratio) : kNothing;
}

std::string format_percent(double value, double reference) {
  if (reference == 0.0) return kNothing;
  const double percent = 100.0 * value / reference;
  if (!std::isfinite(percent)) return kNothing;
  return format_fixed(percent, std::abs(percent) < 9.95 ? 1 : 0) + " %";
}

}  // namespace reprise::cli
