#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <utility>

#include "reprise/checkpoint.h"
#include "reprise/error.h"

namespace reprise::checkpoint {
namespace {

std::string segment_name(std::int64_t first, std::int64_t last) {
  return last - first == 1 ? fmt::format("block {}", first) : fmt::format("blocks {}-{}", first, last - 1);
}

/// Halves [first, last) down to single blocks; each half is a segment.
void run_halves(std::int64_t first, std::int64_t last, detail::Body body, void* context) {
  if (last - first == 1) {
    body(context, first, last);
    return;
  }
  const std::int64_t middle = first + (last - first + 1) / 2;
  for (const auto& [from, to] : {std::pair{first, middle}, std::pair{middle, last}}) {
    const Segment scope(segment_name(from, to));
    run_halves(from, to, body, context);
  }
}

/// Calls group(first, last) for every `size` blocks, each in a segment.
template <class F>
void run_groups(std::int64_t n, std::int64_t size, const SegmentOptions& options, F&& group) {
  for (std::int64_t first = 0; first < n; first += size) {
    const std::int64_t last = std::min(n, first + size);
    const Segment scope(segment_name(first, last), options);
    group(first, last);
  }
}

/// Blocks inside groups of ceil(sqrt(n)): where a block's output is cheap to compute from its input, as in a residual network, only
/// the groups' inputs stay, and a group brings back one block after the other.
void run_cheap(std::int64_t n, detail::Body body, void* context) {
  const SegmentOptions options{.drop = Drop::cheap};
  const std::int64_t size = blocks_per_segment({.strategy = Strategy::sqrt}, n);
  run_groups(n, size, options, [&](std::int64_t first, std::int64_t last) {
    run_groups(last - first, 1, options, [&](std::int64_t i, std::int64_t) { body(context, first + i, first + i + 1); });
  });
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
    if (error == std::errc() && end == digits.data() + digits.size() && k >= 1) return {.strategy = Strategy::every, .every = k};
  }
  throw ValueError(fmt::format("[segments] '{}' is not a setting; give none, blocks, every:K with K >= 1, sqrt, nested or cheap", text));
}

std::string to_string(const Setting& setting) {
  switch (setting.strategy) {
    case Strategy::none: return "none";
    case Strategy::blocks: return "blocks";
    case Strategy::every: return fmt::format("every:{}", setting.every);
    case Strategy::sqrt: return "sqrt";
    case Strategy::nested: return "nested";
    case Strategy::cheap: return "cheap";
  }
  return "?";
}

std::int64_t blocks_per_segment(const Setting& setting, std::int64_t n) {
  switch (setting.strategy) {
    case Strategy::none: return n;
    case Strategy::every: return setting.every;
    case Strategy::sqrt: return static_cast<std::int64_t>(std::ceil(std::sqrt(static_cast<double>(n))));
    default: return 1;
  }
}

void detail::run_sequence(const Setting& setting, std::int64_t n, Body body, void* context) {
  if (n <= 0) return;
  if (setting.strategy == Strategy::none) {
    body(context, 0, n);
    return;
  }
  if (setting.strategy == Strategy::nested) {
    run_halves(0, n, body, context);
    return;
  }
  if (setting.strategy == Strategy::cheap) {
    run_cheap(n, body, context);
    return;
  }
  run_groups(n, blocks_per_segment(setting, n), {}, [&](std::int64_t first, std::int64_t last) { body(context, first, last); });
}

}  // namespace reprise::checkpoint
