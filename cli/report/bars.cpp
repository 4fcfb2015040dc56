#include "cli/report/bars.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>

#include "cli/format.h"
#include "cli/report/markup.h"
#include "cli/report/work_times.h"
#include "cli/svg.h"

namespace reprise::cli {

namespace {

constexpr std::size_t kMost = 12;
constexpr int kBarHeight = 12;
constexpr std::array kPhaseOrder{Phase::forward, Phase::replay, Phase::backward, Phase::optimiser,
                                 Phase::other};

/// The bars of one run.
struct Card {
  const RunView* view = nullptr;
  std::string note;  // beside its name
  std::vector<WorkTime> rows;
};

std::string ms_text(std::int64_t ns) { return format_ms(static_cast<double>(ns) / 1e6); }

/// "forward 71.0 ms, replay 44.2 ms".
std::string split_text(const WorkTime& time) {
  std::string text;
  for (const Phase phase : kPhaseOrder) {
    if (time.of(phase) <= 0) continue;
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name_of(phase), ms_text(time.of(phase)));
  }
  return text;
}

std::string bar(const WorkTime& time, std::int64_t longest) {
  std::string pieces;
  double left = 0;
  for (const Phase phase : kPhaseOrder) {
    if (time.of(phase) <= 0) continue;
    const double share = static_cast<double>(time.of(phase)) / static_cast<double>(longest);
    pieces += fmt::format("<rect class=\"{}\" x=\"{}\" width=\"{}\" height=\"{}\"/>", name_of(phase),
                          share_text(left), share_text(share), kBarHeight);
    left += share;
  }
  return fmt::format("<svg width=\"100%\" height=\"{}\" role=\"img\"><title>{}</title>{}</svg>", kBarHeight,
                     escaped(fmt::format("{}: {}", time.name, split_text(time))), pieces);
}

std::string card_markup(const Card& card, std::string_view what, std::int64_t longest) {
  std::string rows;
  for (const WorkTime& time : card.rows) {
    rows += "<tr>" + header_cell("row", escaped(time.name)) + data_cell(bar(time, longest), "bar") +
            data_cell(ms_text(time.total()), "number") + "</tr>\n";
  }
  return fmt::format("<table class=\"bars\"><caption><b>{}</b> <span>{}</span></caption>\n",
                     escaped(card.view->run.segments), card.note) +
         fmt::format("<thead class=\"unseen\"><tr>{}{}{}</tr></thead>\n<tbody>\n", header_cell("col", what),
                     header_cell("col", "by phase"), header_cell("col", "time")) +
         rows + "</tbody></table>\n";
}

std::string cards_markup(const std::vector<Card>& cards, std::string_view what) {
  std::int64_t longest = 1;
  for (const Card& card : cards) {
    for (const WorkTime& time : card.rows) longest = std::max(longest, time.total());
  }
  std::string text;
  for (const Card& card : cards) text += card_markup(card, what, longest);
  return text.empty() ? text : "<div class=\"cards\">\n" + text + "</div>\n";
}

/// Appends the sum of `rest` under a name that says how many they are.
void add_rest(const std::vector<WorkTime>& rest, std::vector<WorkTime>& rows) {
  WorkTime sum = sum_of(rest);
  if (sum.total() <= 0) return;
  sum.name = fmt::format("other ({})", rest.size());
  rows.push_back(std::move(sum));
}

std::vector<Span> all_spans(const std::vector<RunView>& views) {
  std::vector<Span> spans;
  std::int64_t offset = 0;
  for (const RunView& view : views) {
    std::int64_t end = offset;
    for (Span span : view.run.spans) {
      span.start_ns += offset;
      span.end_ns += offset;
      end = std::max(end, span.end_ns);
      spans.push_back(span);
    }
    offset = end;
  }
  return spans;
}

}  // namespace

std::string operation_bars(const std::vector<RunView>& views) {
  std::vector<WorkTime> ranking = times_by_operation(all_spans(views));
  ranking.resize(std::min(ranking.size(), kMost));
  std::vector<Card> cards;
  for (const RunView& view : views) {
    if (view.run.spans.empty()) continue;
    std::vector<WorkTime> times = times_by_operation(view.run.spans);
    const WorkTime sum = sum_of(times);
    Card card{&view, fmt::format("{} measured: {}", ms_text(sum.total()), split_text(sum)), {}};
    for (const WorkTime& named : ranking) {
      const auto found = std::find_if(times.begin(), times.end(),
                                      [&](const WorkTime& time) { return time.name == named.name; });
      if (found == times.end()) continue;
      card.rows.push_back(*found);
      times.erase(found);
    }
    add_rest(times, card.rows);
    cards.push_back(std::move(card));
  }
  return cards_markup(cards, "operation");
}

std::string segment_bars(const std::vector<RunView>& views) {
  std::vector<Card> cards;
  for (const RunView& view : views) {
    std::vector<WorkTime> times = times_by_segment(view.run.spans);
    const auto outside = std::stable_partition(times.begin(), times.end(),
                                               [](const WorkTime& time) { return !time.name.empty(); });
    std::vector<WorkTime> unnamed(outside, times.end());
    times.erase(outside, times.end());
    if (times.empty()) continue;
    Card card{&view, fmt::format("{} segments", times.size()), {}};
    const auto shown = static_cast<std::ptrdiff_t>(std::min(times.size(), kMost));
    card.rows.assign(times.begin(), times.begin() + shown);
    std::sort(card.rows.begin(), card.rows.end(),
              [](const WorkTime& a, const WorkTime& b) { return a.rank < b.rank; });
    add_rest({times.begin() + shown, times.end()}, card.rows);
    for (WorkTime& time : unnamed) {
      time.name = "outside segments";
      card.rows.push_back(std::move(time));
    }
    cards.push_back(std::move(card));
  }
  return cards_markup(cards, "segment");
}

}  // namespace reprise::cli
