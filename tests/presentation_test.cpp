#include <sys/resource.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>

#include "cli/files.h"
#include "cli/format.h"
#include "cli/json.h"
#include "cli/plot.h"
#include "cli/plot_layout.h"
#include "cli/progress.h"
#include "cli/table.h"
#include "cli/utf8.h"
#include "reprise/error.h"
#include "temporary_folder.h"

using namespace reprise;
using namespace reprise::cli;
namespace fs = std::filesystem;
using Catch::Matchers::Contains;
using namespace std::string_literals;

namespace {

constexpr double kMiB = 1048576.0;
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

struct Folder : TemporaryFolder {
  std::size_t entries() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(path), fs::directory_iterator()));
  }
};

std::string content_of(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

std::size_t occurrences(const std::string& text, const std::string& word) {
  std::size_t count = 0;
  for (std::size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++count;
  return count;
}

/// Every element that is opened is closed, and nothing but markup begins with "<".
void check_well_formed(const std::string& svg) {
  std::vector<std::string> open;
  for (std::size_t at = svg.find('<'); at != std::string::npos; at = svg.find('<', at + 1)) {
    const std::size_t end = svg.find('>', at);
    REQUIRE(end != std::string::npos);
    const std::string tag = svg.substr(at + 1, end - at - 1);
    REQUIRE(tag.find('<') == std::string::npos);
    if (tag.front() == '/') {
      REQUIRE_FALSE(open.empty());
      CHECK(open.back() == tag.substr(1));
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(tag.substr(0, tag.find(' ')));
    }
  }
  CHECK(open.empty());
  CHECK(svg.find("nan") == std::string::npos);
  CHECK(svg.find("inf") == std::string::npos);
}

std::vector<Point> staircase(int count, double height) {
  std::vector<Point> points;
  points.reserve(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) points.push_back({i * 500.0 / count, 200.0 - std::fmod(i * 37.0, height)});
  return points;
}

}  // namespace

TEST_CASE("times, rates and ratios are short and have units", "[presentation]") {
  CHECK(format_ms(0) == "0 ms");
  CHECK(format_ms(0.00085) == "850 ns");
  CHECK(format_ms(0.0124) == "12.4 µs");
  CHECK(format_ms(41.23) == "41.2 ms");
  CHECK(format_ms(999.4) == "999 ms");
  CHECK(format_ms(999.6) == "1.00 s");
  CHECK(format_ms(3070) == "3.07 s");
  CHECK(format_ms(245e3) == "4 min 05 s");
  CHECK(format_ms(7380e3) == "2 h 03 min");
  CHECK(format_ms(kInfinity) == "–");
  CHECK(format_counted(1, "layer") == "1 layer");
  CHECK(format_counted(0, "layer") == "0 layers");
  CHECK(format_counted(1024, "layer") == "1,024 layers");
  CHECK(format_ms_range(1772, 5846, 2640) == "1.77–5.85 s");
  CHECK(format_ms_range(412, 1204, 998) == "412–1204 ms");
  CHECK(format_ms_range(0.9, 1.2, 0.95) == "900–1200 µs");
  CHECK(format_ms_range(245e3, 7380e3, 300e3) == "4 min 05 s–2 h 03 min");

  CHECK(format_count(0) == "0");
  CHECK(format_count(999) == "999");
  CHECK(format_count(-1000) == "-1,000");
  CHECK(format_count(1234567) == "1,234,567");
  CHECK(format_count(std::numeric_limits<std::int64_t>::min()) == "-9,223,372,036,854,775,808");

  CHECK(format_rate(15300, "tokens") == "15.3k tokens/s");
  CHECK(format_rate(690, "images") == "690 images/s");
  CHECK(format_rate(5.7, "images") == "5.70 images/s");
  CHECK(format_ratio(1.31, 1.0) == "×1.31");
  CHECK(format_ratio(1.0, 0.0) == "–");
  CHECK(format_percent(18.0, 45.2) == "40 %");
  CHECK(format_percent(1.0, 64.0) == "1.6 %");
  CHECK(format_percent(kNaN, 1.0) == "–");
  CHECK(format_fixed(-0.001, 1) == "0.0");
  CHECK(format_fixed(std::numeric_limits<double>::max(), 2).size() == 312);
}

TEST_CASE("text is as wide as a terminal shows it", "[presentation]") {
  CHECK(display_width("") == 0);
  CHECK(display_width("abc") == 3);
  CHECK(display_width("µs ×1.3") == 7);
  CHECK(display_width("e\xCC\x81") == 1);  // a combining acute accent
  CHECK(display_width("記憶") == 4);
  CHECK(display_width("\xFF\xC3") == 2);  // two broken bytes
  CHECK(fit("abcdef", 6) == "abcdef");
  CHECK(fit("abcdef", 5) == "abcd…");
  CHECK(fit("記憶記憶", 4) == "記…");
  CHECK(fit("abc", 1) == "…");
  CHECK(fit("abc", 0).empty());
  CHECK(printable("a\tb\x1b[0m") == "a b [0m");
  CHECK(printable("\xF0\x9F\x98\x80") == "\xF0\x9F\x98\x80");
  CHECK(printable("a\xE2\x82") == "a\xEF\xBF\xBD\xEF\xBF\xBD");  // cut short
  CHECK(printable("\xC0\xAF") == "\xEF\xBF\xBD\xEF\xBF\xBD");    // overlong
  CHECK(printable("\xED\xA0\x80").size() == 9);                  // a surrogate
}

TEST_CASE("what would act on a terminal, or hide, is not shown", "[presentation]") {
  const std::string replacement = "\xEF\xBF\xBD";
  for (const std::string& control :
       {"\x1b"s, "\x07"s, "\0"s, "\x7f"s, "\r"s, "\b"s, "\xC2\x9B"s, "\xC2\x85"s}) {
    CHECK(printable("a" + control + "b") == "a b");
    CHECK(printable_lines("a" + control + "b\n\tc") == "a b\n\tc");
  }
  CHECK(printable("a\n\tb") == "a  b");
  for (const std::string character :
       {"\u061C", "\u200E", "\u200F", "\u202A", "\u202B", "\u202C", "\u202D", "\u202E", "\u2066", "\u2067",
        "\u2068", "\u2069", "\u2028", "\u2029", "\u206A", "\uFEFF", "\uFFF9", "\U000E0041"}) {
    CHECK(printable("a" + character + "b") == "a" + replacement + "b");
    CHECK(printable_lines("a" + character + "\n") == "a" + replacement + "\n");
  }
  for (const std::string kept :
       {"\u05D0", "\u0627", "\u200D", "\u200C", "\uFE0F", "\u00E9", "\U0001F468\u200D\U0001F469"})
    CHECK(printable(kept) == kept);
  CHECK(printable("\x9B") == replacement);  // a C1 byte by itself
}

TEST_CASE("tables and progress stand any width of a terminal", "[presentation]") {
  for (const int columns : {-1, 0, 1, 2, 3, 7, 65535}) {
    CAPTURE(columns);
    const Terminal terminal{.interactive = true, .colour = true, .columns = columns};
    Table table({{.title = "a name", .align = Align::left}, {.title = "n"}});
    table.add_row({"checkpoint::segment of block 3", "1"});
    CHECK_THAT(table.render(terminal), Contains("1\n"));
    std::ostringstream out;
    Progress progress(out, terminal, "training", 10, Unwatched::silent, [] { return 0.0; });
    progress.update(5, "loss 1");
    CHECK(display_width(out.str().substr(5)) <= std::max(columns - 1, 0));
  }
}

TEST_CASE("results are JSON in ASCII whatever names they hold", "[presentation]") {
  const std::string name = "\x1b[31m\xff\u202E</script>\u00E9";
  const std::string text = json_text({{"name", name}});
  CHECK(std::all_of(text.begin(), text.end(), [](char c) { return c == '\n' || (c >= ' ' && c < 0x7F); }));
  CHECK(nlohmann::json::parse(text)["name"] == "\x1b[31m\uFFFD\u202E</script>\u00E9");
}

TEST_CASE("a table aligns its columns", "[presentation]") {
  Table table({{.title = "policy", .align = Align::left},
               {.title = "peak", .unit = "MiB"},
               {.title = "step", .unit = "ms"}});
  table.add_row({"none", "45.2", "56.0"});
  table.add_row({"récalculé", Cell("9.0", Tone::good)});
  table.add_rule();
  table.add_row({"", "", "7", "not shown"});
  CHECK(table.render({}) ==
        "policy     peak  step\n"
        "            MiB    ms\n"
        "─────────────────────\n"
        "none       45.2  56.0\n"
        "récalculé   9.0\n"
        "─────────────────────\n"
        "                    7\n");
}

TEST_CASE("a table is coloured and fits only where somebody watches", "[presentation]") {
  Table table({{.title = "a name", .align = Align::left}, {.title = "n"}});
  table.add_row({"checkpoint::segment of block 3", Cell("1", Tone::bad)});
  const std::string plain = table.render({});
  CHECK_THAT(plain, !Contains("\x1b"));
  CHECK_THAT(plain, Contains("checkpoint::segment of block 3  1\n"));
  const std::string narrow = table.render({.interactive = true, .colour = true, .columns = 20});
  CHECK_THAT(narrow, Contains("checkpoint::segm…  \x1b[31m1\x1b[0m\n"));
  CHECK_THAT(narrow, Contains("\x1b[1ma name\x1b[0m"));
  const std::string tiny = table.render({.interactive = true, .colour = false, .columns = 3});
  CHECK_THAT(tiny, Contains("checkpo…  1\n"));
  CHECK(Table({}).render({}) == "\n\n");
}

TEST_CASE("progress rewrites its line on a terminal", "[presentation]") {
  double now = 0.0;
  std::ostringstream out;
  {
    Progress progress(out, {.interactive = true, .colour = false, .columns = 40}, "training", 2000,
                      Unwatched::silent, [&] { return now; });
    progress.update(0);
    CHECK_THAT(out.str(), Contains("\r\x1b[2Ktraining  ·") && !Contains("left"));
    out.str("");
    now = 0.05;
    progress.update(10);
    CHECK(out.str().empty());
    now = 5.0;
    progress.update(1000, "loss 2.31");
    // 39 columns are shown of "training  ██████████··········  1,000 / 2,000  5 s left  loss 2.31".
    CHECK(display_width(out.str().substr(5)) == 39);
    CHECK_THAT(out.str(), Contains("██████████·········"));
    CHECK_THAT(out.str(), !Contains("\n"));
    out.str("");
    progress.finish("done");
    CHECK(out.str() == "\r\x1b[2Kdone\n");
    now = 9.0;
    progress.update(2000);
    CHECK(out.str() == "\r\x1b[2Kdone\n");
  }
  CHECK(out.str() == "\r\x1b[2Kdone\n");
}

TEST_CASE("progress that is left by an exception ends its line", "[presentation]") {
  std::ostringstream out;
  try {
    Progress progress(out, {.interactive = true}, "work", 0);
    progress.update(3);
    throw Error("[work] failed");
  } catch (const Error&) {
    CHECK(out.str() == "\r\x1b[2Kwork  3\n");
  }
}

TEST_CASE("progress is silent or plain where nobody watches", "[presentation]") {
  double now = 0.0;
  std::ostringstream out;
  const auto clock = [&] { return now; };
  Progress silent(out, {}, "work", 100, Unwatched::silent, clock);
  Progress plain(out, {}, "work", 100, Unwatched::plain_lines, clock);
  for (int i = 0; i < 25; ++i) {
    now = i;
    silent.update(i);
    plain.update(i, "loss 1");
  }
  silent.finish("done");
  CHECK(out.str() == "work  10 / 100  90 s left  loss 1\nwork  20 / 100  80 s left  loss 1\n");
  plain.finish("done");
  CHECK_THAT(out.str(), Catch::EndsWith("loss 1\ndone\n"));
}

TEST_CASE("files are replaced as a whole", "[presentation]") {
  const Folder folder;
  const fs::path path = folder.path / "chart.svg";
  write_file_atomically(path, "first");
  write_file_atomically(path, "second");
  CHECK(content_of(path) == "second");
  CHECK(folder.entries() == 1);
  fs::permissions(path, fs::perms::owner_read | fs::perms::owner_write);
  write_file_atomically(path, "third");
  CHECK(fs::status(path).permissions() == (fs::perms::owner_read | fs::perms::owner_write));
  fs::create_symlink("chart.svg", folder.path / "link");
  write_file_atomically(folder.path / "link", "through the link");
  CHECK(content_of(path) == "through the link");
  CHECK(fs::is_symlink(folder.path / "link"));
  CHECK_NOTHROW(write_file_atomically("/dev/null", "gone"));
  CHECK(fs::is_character_file("/dev/null"));
}

TEST_CASE("files that cannot be written give an error and no debris", "[presentation]") {
  const Folder folder;
  const auto message = [](const fs::path& path) -> std::string {
    try {
      write_file_atomically(path, "text");
    } catch (const Error& error) {
      return error.what();
    }
    return {};
  };
  CHECK_THAT(message(folder.path / "none" / "chart.svg"),
             Contains("none/chart.svg") && Contains("folder that exists"));
  CHECK_THAT(message(folder.path), Contains("name a file in that folder"));
  CHECK_THAT(message(""), Contains("cannot be written"));
  CHECK_THAT(message("/dev/full"), Contains("No space left"));
  CHECK(folder.entries() == 0);
}

TEST_CASE("a file that cannot be written whole leaves the one that is there", "[presentation]") {
  const Folder folder;
  const fs::path path = folder.path / "result.json";
  write_file_atomically(path, "old");
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{.rlim_cur = 8192, .rlim_max = before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  std::string message;
  try {
    write_file_atomically(path, std::string(100000, 'x'));
  } catch (const Error& error) {
    message = error.what();
  }
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  CHECK_THAT(message, Contains("[write] ") && Contains("File too large") && Contains("ulimit"));
  CHECK(content_of(path) == "old");
  CHECK(folder.entries() == 1);
}

TEST_CASE("a file is tried out before it is needed, and stays as it is", "[presentation]") {
  const Folder folder;
  const auto refused = [](const fs::path& path, const std::string& message) {
    CAPTURE(path);
    CHECK_THROWS_WITH(require_writable(path), Contains("[write] ") && Contains(message));
    CHECK_THROWS_WITH(write_file_atomically(path, "text"), Contains("[write] ") && Contains(message));
  };
  write_file_atomically(folder.path / "there", "text");
  fs::create_symlink("there", folder.path / "link");
  fs::create_symlink("new", folder.path / "dangling");
  fs::create_symlink("loop", folder.path / "loop");
  const std::string longest(255, 'n');
  for (const fs::path& good :
       {folder.path / "there", folder.path / "link", folder.path / "dangling", folder.path / "absent",
        folder.path / longest, fs::path("/dev/null"), fs::path()})
    CHECK_NOTHROW(require_writable(good));
  CHECK(content_of(folder.path / "there") == "text");
  CHECK(folder.entries() == 4);
  refused(folder.path / (longest + "n"), "give a shorter name");
  refused(folder.path / "none" / "file", "make it first");
  refused(folder.path / "there" / "file", "Not a directory");
  refused(folder.path, "name a file in that folder");
  refused(folder.path / "new-folder/", "name a file in that folder");
  refused(folder.path / "loop", "symbolic links");
  refused("/proc/result.json", "cannot be written");
  refused(folder.path / "\x1b[31m" / "file", " [31m");
  CHECK(folder.entries() == 4);
  write_file_atomically(folder.path / longest, "long");
  write_file_atomically(folder.path / "dangling", "made");
  CHECK(content_of(folder.path / longest) == "long");
  CHECK(content_of(folder.path / "new") == "made");
  CHECK(fs::is_symlink(folder.path / "dangling"));
}

TEST_CASE("files that are one are found by any of their names", "[presentation]") {
  const Folder folder;
  write_file_atomically(folder.path / "data", "text");
  fs::create_symlink("data", folder.path / "link");
  fs::create_directory(folder.path / "in");
  fs::create_symlink("in", folder.path / "also-in");
  const auto same = [](const fs::path& a, const fs::path& b) {
    const std::vector<NamedFile> none;
    CHECK_THROWS_WITH(require_distinct({{"--a", a}, {"--b", b}}, none),
                      Contains("--a and --b name the same file"));
    CHECK_THROWS_WITH(require_distinct({{"--a", a}}, {{"--b", b}}),
                      Contains("--b and --a name the same file"));
  };
  same(folder.path / "data", folder.path / "in" / ".." / "data");
  same(folder.path / "link", folder.path / "data");
  same(folder.path / "in" / "absent", folder.path / "also-in" / "absent");
  CHECK_NOTHROW(require_distinct({{"--a", folder.path / "data"}, {"--b", folder.path / "in" / "data"}}, {}));
  CHECK_NOTHROW(require_distinct({{"--a", ""}, {"--b", ""}}, {{"--c", ""}}));
  CHECK_NOTHROW(require_distinct({{"--a", "/dev/null"}, {"--b", "/dev/null"}}, {}));
}

TEST_CASE("ticks are round and reach the highest value", "[presentation]") {
  for (const double highest : {1e-9, 0.03, 0.7, 1.0, 1.0000001, 9.99, 10.0, 47.3, 54.1, 99.9, 1234.0, 8e12}) {
    for (const int at_least : {1, 2, 4}) {
      CAPTURE(highest, at_least);
      const Ticks ticks = ticks_up_to(highest, at_least);
      CHECK(ticks.count >= at_least);
      CHECK(ticks.count <= 10);
      CHECK(ticks.step * ticks.count >= highest * (1 - 1e-6));
      CHECK(ticks.step * (ticks.count - 1) < highest);
      const double leading = ticks.step / std::pow(10.0, std::floor(std::log10(ticks.step) + 1e-9));
      CHECK((leading == Approx(1.0) || leading == Approx(2.0) || leading == Approx(5.0)));
    }
  }
  CHECK(ticks_up_to(0.0, 4).count == 1);
  CHECK(ticks_up_to(kNaN, 4).count == 1);
}

TEST_CASE("text is wrapped between words and never wider than its room", "[presentation]") {
  const std::string text = "memory over one training step of a model with averyverylongwordthatfitsnowhere";
  for (const double width : {40.0, 100.0, 200.0, 1000.0}) {
    for (const int max_lines : {1, 2, 5}) {
      const std::vector<std::string> lines = wrap(text, 16, true, width, max_lines);
      CHECK(static_cast<int>(lines.size()) <= max_lines);
      for (const std::string& line : lines) CHECK(text_width(line, 16, true) <= width);
    }
  }
  CHECK(wrap("", 16, false, 100, 2).empty());
  CHECK(wrap("one two", 16, false, 1000, 2) == std::vector<std::string>{"one two"});
}

TEST_CASE("thinned steps keep every extreme", "[presentation]") {
  for (const int count : {1, 2, 33, 1000, 20000}) {
    const std::vector<Point> points = staircase(count, 150.0);
    const std::vector<Point> corners = step_corners(points, 500.0);
    CAPTURE(count);
    CHECK(corners.size() <= 500 * 8 + 2);
    const auto [low, high] = std::minmax_element(points.begin(), points.end(),
                                                 [](const Point& a, const Point& b) { return a.y < b.y; });
    const auto [low_corner, high_corner] = std::minmax_element(
        corners.begin(), corners.end(), [](const Point& a, const Point& b) { return a.y < b.y; });
    CHECK(low_corner->y == low->y);
    CHECK(high_corner->y == high->y);
    CHECK(corners.back().x == 500.0);
    for (std::size_t i = 1; i < corners.size(); ++i) {
      CHECK((corners[i].x == corners[i - 1].x || corners[i].y == corners[i - 1].y));
      CHECK(corners[i].x >= corners[i - 1].x);
    }
  }
  CHECK(step_corners({}, 10.0).empty());
}

TEST_CASE("labels touch neither each other nor a marker", "[presentation]") {
  const Box area{50, 100, 580, 400};
  const std::vector<std::vector<Point>> lines{step_corners(staircase(500, 100.0), 500.0)};
  for (const double spread : {0.0, 5.0, 40.0, 150.0}) {
    std::vector<Label> labels;
    labels.reserve(5);
    for (int i = 0; i < 5; ++i) labels.push_back({{570.0 - spread * i, 110.0 + spread * i / 4}, 140.0, 18.0});
    place_labels(labels, lines, area, 8.0);
    CAPTURE(spread);
    for (std::size_t i = 0; i < labels.size(); ++i) {
      const Box& box = labels[i].box;
      CHECK(box.left >= area.left);
      CHECK(box.right <= area.right);
      CHECK(box.top >= area.top);
      CHECK(box.bottom <= area.bottom);
      for (std::size_t j = 0; j < labels.size(); ++j) {
        const Point& anchor = labels[j].anchor;
        CHECK_FALSE(box.overlaps({anchor.x - 8, anchor.y - 8, anchor.x + 8, anchor.y + 8}));
        if (i != j) CHECK_FALSE(box.overlaps(labels[j].box));
      }
    }
  }
}

TEST_CASE("the chart names every series, its peak and its share", "[presentation]") {
  const std::vector<Series> series{{"none", {{0, 10 * kMiB}, {1, 40 * kMiB}, {2, 5 * kMiB}}},
                                   {"blocks", {{0, 10 * kMiB}, {1, 16 * kMiB}, {3, 5 * kMiB}}}};
  const std::string svg = render_memory_svg("Memory", "of a step", "events", series);
  check_well_formed(svg);
  CHECK_THAT(svg, Contains("viewBox=\"0 0 600 ") && Contains("prefers-color-scheme:dark"));
  CHECK_THAT(svg, Contains(">MiB<") && Contains(">events<") && Contains(">of a step<"));
  CHECK_THAT(svg, Contains(">none 40.00 MiB<") && Contains(">blocks 16.00 MiB<") && Contains(">40 %<"));
  CHECK_THAT(svg, Contains("<desc>Peak memory: none 40.00 MiB, blocks 16.00 MiB.</desc>"));
  CHECK(occurrences(svg, "<circle") == 2);  // one in the legend, one at the peak
  CHECK_THAT(svg, !Contains("http://www.w3.org/1999") && !Contains("href") && !Contains("<script"));
  CHECK(svg == render_memory_svg("Memory", "of a step", "events", series));
}

TEST_CASE("the chart stands whatever it is given", "[presentation]") {
  const std::string markup = "<b>&\"'\x01\xFF</b>";
  std::vector<Series> many;
  many.reserve(15);
  for (int i = 0; i < 15; ++i)
    many.push_back({"series " + std::to_string(i), {{0, 1e6 * i}, {5, 3e6 * i}, {9, 0}}});
  const std::vector<std::vector<Series>> cases{
      {},
      {{"empty", {}}},
      {{"one", {{5, 1e12}}}},
      {{"zero", {{0, 0}, {1, 0}}}},
      {{"negative", {{-5, -1e6}, {3, -2e6}}}},
      {{"wild", {{kNaN, 1}, {1, kInfinity}, {kInfinity, 2}, {2, kNaN}}}},
      {{"unsorted", {{3, 1e6}, {1, 2e6}, {2, 3e6}}}, {"empty", {}}},
      {{"huge", {{-1e300, 1e300}, {1e300, 1e308}}}},
      {{"tiny", {{1e18, 1}, {1e18 + 1, 2}}}},
      {{markup, {{0, 1e6}}}},
      {{std::string(500, 'w'), {{0, 1e6}, {1, 2e6}}}, {std::string(500, 'w'), {{0, 1e6}}}},
      many,
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    CAPTURE(i);
    const std::string svg = render_memory_svg(markup, markup, markup, cases[i]);
    check_well_formed(svg);
    CHECK_THAT(svg, !Contains("<b>") && !Contains("\x01") && !Contains("\xFF"));
  }
  CHECK_THAT(render_memory_svg("t", "", "ms", {}), Contains("nothing was measured"));
}

TEST_CASE("a chart of very many events stays small", "[presentation]") {
  Series series{"none", {}};
  for (int i = 0; i < 200000; ++i) series.points.emplace_back(i, 1e6 * (1 + i * 7919 % 100));
  CHECK(render_memory_svg("t", "", "events", {&series, 1}).size() < 120000);
}
