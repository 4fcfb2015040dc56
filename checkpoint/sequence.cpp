#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <utility>

#include "reprise/checkpoint.h"
#include "reprise/error.h"
#include "sequence_advice.h"

namespace reprise::checkpoint {
namespace {

std::string segment_name(std::int64_t first, std::int64_t last) {
  return last - first == 1 ? fmt::format("block {}", first) : fmt::format("blocks {}-{}", first, last - 1);
}

/// Throws unless the setting and the number of blocks are ones that a sequence can be cut by.
void check(const Setting& setting, std::int64_t n) {
  if (n < 0) throw ValueError(fmt::format("[sequence] {} blocks; give at least 0", n));
  if (static_cast<std::size_t>(setting.strategy) > static_cast<std::size_t>(Strategy::cheap)) {
    throw ValueError(fmt::format("[sequence] there is no strategy {}; give one of checkpoint::Strategy",
                                 static_cast<int>(setting.strategy)));
  }
  if (setting.strategy == Strategy::every && setting.every < 1) {
    throw ValueError(fmt::format(
        "[sequence] every is {}; a segment holds at least 1 block: set Setting::every to 1 or more",
        setting.every));
  }
}

/// Halves [first, last) down to single blocks; each half is a segment.
void run_halves(std::int64_t first, std::int64_t last, const SegmentOptions& options, detail::Body body,
                void* context) {
  if (last - first == 1) {
    body(context, first, last);
    return;
  }
  const std::int64_t n = last - first;
  const std::int64_t middle = first + n / 2 + n % 2;
  for (const auto& [from, to] : {std::pair{first, middle}, std::pair{middle, last}}) {
    const Segment scope(segment_name(from, to), options);
    run_halves(from, to, options, body, context);
  }
}

}  // namespace

Setting parse_setting(std::string_view text) {
  if (text == "none") return {.strategy = Strategy::none};
  if (text == "blocks") return {.strategy = Strategy::blocks};
  if (text == "sqrt") return {.strategy = Strategy::sqrt};
  if (text == "nested") return {.strategy = Strategy::nested};
  if (text == "cheap") return {.strategy = Strategy::cheap};
  constexpr std::string_view kEvery = "every:";
  if (text.starts_with(kEvery)) {
    const std::string_view digits = text.substr(kEvery.size());
    int k = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), k);
    if (error == std::errc() && end == digits.data() + digits.size() && k >= 1)
      return {.strategy = Strategy::every, .every = k};
  }
  throw ValueError(fmt::format(
      "[segments] '{}' is not a setting; give none, blocks, every:K with K >= 1, sqrt, nested or cheap",
      text));
}

std::string to_string(const Setting& setting) {
  switch (setting.strategy) {
    case Strategy::none:
      return "none";
    case Strategy::blocks:
      return "blocks";
    case Strategy::every:
      return fmt::format("every:{}", setting.every);
    case Strategy::sqrt:
      return "sqrt";
    case Strategy::nested:
      return "nested";
    case Strategy::cheap:
      return "cheap";
  }
  return "?";
}

std::int64_t blocks_per_segment(const Setting& setting, std::int64_t n) {
  check(setting, n);
  switch (setting.strategy) {
    case Strategy::none:
      return n;
    case Strategy::every:
      return setting.every;
    case Strategy::sqrt:
      return static_cast<std::int64_t>(std::ceil(std::sqrt(static_cast<double>(n))));
    default:
      return 1;
  }
}

void detail::begin_block(std::int64_t i) { sequence_advice().begin_block(i); }

void detail::run_sequence(const Setting& setting, std::int64_t n, Body body, void* context) {
  check(setting, n);
  if (n == 0) return;
  const SequenceAdvice::Sequence noted(setting, n);
  if (setting.strategy == Strategy::none) {
    body(context, 0, n);
    return;
  }
  if (setting.strategy == Strategy::nested || setting.strategy == Strategy::cheap) {
    run_halves(0, n, {.drop = setting.strategy == Strategy::cheap ? Drop::cheap : Drop::everything}, body,
               context);
    return;
  }
  const std::int64_t size = blocks_per_segment(setting, n);
  std::int64_t last = 0;
  for (std::int64_t first = 0; first < n; first = last) {
    last = n - first > size ? first + size : n;
    const Segment scope(segment_name(first, last));
    body(context, first, last);
  }
}

}  // namespace reprise::checkpoint
