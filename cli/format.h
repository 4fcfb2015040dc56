// Quantities as people read them: a few digits and a unit. For bytes see reprise/memory/statistics.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace reprise::cli {

/// "850 ns", "12.4 µs", "41.2 ms", "3.07 s", "4 min 05 s", "2 h 03 min".
std::string format_ms(double ms);

/// "1.77–5.85 s", in the unit that format_ms has for `like`; a unit each where that has two.
std::string format_ms_range(double least, double most, double like);

/// "1,234,567".
std::string format_count(std::int64_t count);

/// "1 layer", "1,024 layers".
std::string format_counted(std::int64_t count, std::string_view noun);

/// "15.3k tokens/s", "690 images/s".
std::string format_rate(double per_second, std::string_view unit);

/// "×1.31"; "–" where there is nothing to compare with.
std::string format_ratio(double value, double reference);

/// "40 %"; "–" where there is nothing to compare with.
std::string format_percent(double value, double reference);

/// A number with `decimals` digits after the point, whatever the locale; "–" when it is not finite.
std::string format_fixed(double value, int decimals);

}  // namespace reprise::cli
