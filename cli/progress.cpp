#include "progress.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ostream>
#include <utility>

#include "format.h"
#include "utf8.h"

namespace reprise::cli {

namespace {

constexpr double kRewriteSeconds = 0.1;
constexpr double kPlainSeconds = 10.0;
constexpr int kBarCells = 20;
constexpr std::string_view kEraseLine = "\r\x1b[2K";

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// A bar that grows by eighths of a cell.
std::string bar(double fraction) {
  const int eighths = static_cast<int>(fraction * kBarCells * 8);
  std::string text;
  for (int cell = 0; cell < kBarCells; ++cell) {
    const int filled = std::clamp(eighths - 8 * cell, 0, 8);
    // U+2588 is a full block, U+2589 ... U+258F are seven eighths ... one eighth.
    if (filled == 0)
      text += "\xC2\xB7";
    else
      text += std::string("\xE2\x96") + static_cast<char>(0x90 - filled);
  }
  return text;
}

/// An estimate, so that whole seconds are exact enough.
std::string remaining(double seconds) {
  return (seconds < 99.5 ? format_fixed(seconds, 0) + " s" : format_ms(1e3 * std::round(seconds))) + " left";
}

}  // namespace

Progress::Progress(std::ostream& out, const Terminal& terminal, std::string_view label, std::int64_t total,
                   Unwatched unwatched, Clock clock)
    : out_(out),
      terminal_(terminal),
      label_(printable(label)),
      total_(total),
      unwatched_(unwatched),
      clock_(clock ? std::move(clock) : Clock(steady_seconds)),
      start_(clock_()),
      // The first line on a terminal is shown at once, the first plain line after its interval.
      shown_at_(terminal.interactive ? start_ - kRewriteSeconds : start_) {}

Progress::~Progress() {
  if (line_open_) out_ << "\n" << std::flush;
}

void Progress::update(std::int64_t done, std::string_view detail) {
  if (finished_ || (!terminal_.interactive && unwatched_ == Unwatched::silent)) return;
  const double now = clock_();
  if (now - shown_at_ < (terminal_.interactive ? kRewriteSeconds : kPlainSeconds)) return;
  shown_at_ = now;
  const std::string text = line(done, detail, now - start_);
  if (terminal_.interactive) {
    // One column stays free, because some terminals wrap when the last one is written.
    out_ << kEraseLine << fit(text, terminal_.columns - 1);
    line_open_ = true;
  } else {
    out_ << text << "\n";
  }
  out_ << std::flush;
}

void Progress::finish(std::string_view summary) {
  if (finished_) return;
  finished_ = true;
  if (line_open_) out_ << kEraseLine;
  line_open_ = false;
  const bool shown = terminal_.interactive || unwatched_ == Unwatched::plain_lines;
  if (shown && !summary.empty()) out_ << printable(summary) << "\n";
  out_ << std::flush;
}

std::string Progress::line(std::int64_t done, std::string_view detail, double elapsed) const {
  std::string text = label_ + "  ";
  if (total_ > 0) {
    const double fraction = std::clamp(static_cast<double>(done) / static_cast<double>(total_), 0.0, 1.0);
    if (terminal_.interactive) text += bar(fraction) + "  ";
    text += format_count(done) + " / " + format_count(total_);
    if (fraction > 0.0 && fraction < 1.0 && elapsed > 0.0) {
      text += "  " + remaining(elapsed * (1.0 - fraction) / fraction);
    }
  } else {
    text += format_count(done);
  }
  if (!detail.empty()) text += "  " + printable(detail);
  return text;
}

}  // namespace reprise::cli
