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

/// A unit of time, and its milliseconds.
struct TimeUnit {
  const char* name;
  double ms;
};

/// The unit for a time below 99.95 s.
TimeUnit unit_for(double magnitude) {
  if (magnitude < 0.0009995) return {" ns", 1e-6};
  if (magnitude < 0.9995) return {" \xC2\xB5s", 1e-3};
  if (magnitude < 999.5) return {" ms", 1};
  return {" s", 1e3};
}

constexpr double kMostInOneUnit = 99'950.0;

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
  if (magnitude < kMostInOneUnit) {
    const TimeUnit unit = unit_for(magnitude);
    return (unit.ms < 1e-3 ? format_fixed(ms / unit.ms, 0) : three_digits(ms / unit.ms)) + unit.name;
  }
  const std::int64_t seconds = std::llround(std::fmin(magnitude / 1e3, 1e15));
  const std::string sign = ms < 0 ? "-" : "";
  if (seconds < 3600) return sign + std::to_string(seconds / 60) + " min " + two_digits(seconds % 60) + " s";
  return sign + format_count(seconds / 3600) + " h " + two_digits(seconds % 3600 / 60) + " min";
}

std::string format_ms_range(double least, double most, double like) {
  if (!(std::abs(like) < kMostInOneUnit)) return format_ms(least) + kNothing + format_ms(most);
  const TimeUnit unit = unit_for(std::abs(like));
  return three_digits(least / unit.ms) + kNothing + three_digits(most / unit.ms) + unit.name;
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

std::string format_counted(std::int64_t count, std::string_view noun) {
  return format_count(count) + " " + std::string(noun) + (count == 1 ? "" : "s");
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
