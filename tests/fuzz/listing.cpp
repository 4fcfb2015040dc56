#include "listing.h"

#include <fmt/format.h>

#include <cctype>
#include <fstream>
#include <set>
#include <sstream>

#include "operations.h"

namespace reprise::fuzz {
namespace {

constexpr const char* kPrelude = R"(#include <reprise/reprise.h>

#include <cmath>
#include <cstdio>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

using namespace reprise;
)";

constexpr const char* kHelpers = R"(
static bool segments = false;
static std::vector<std::string> shown;

static void note(const std::string& line) {
  std::printf("  %s\n", line.c_str());
  std::fflush(stdout);
  shown.push_back(line);
}

static void show(const std::string& name, const Tensor& t) {
  if (!t.defined()) return;
  const NoGrad no_grad;
  std::string line = name + " " + to_string(t.shape()) + ":";
  char text[40];
  for (double v : t.detach().to(DType::float64).to_vector<double>()) {
    std::snprintf(text, sizeof text, " %.17g", v);
    line += text;
  }
  note(line);
}

template <class F>
void attempt(const std::string& what, F&& f) {
  try {
    f();
  } catch (const std::exception& e) {
    note(what + " throws: " + e.what());
  }
}

/// A checkpoint segment in the second run, nothing in the first.
struct Segment {
  Segment(const char* name, checkpoint::Drop drop, bool spare_last) {
    if (segments) segment.emplace(name, checkpoint::SegmentOptions{.drop = drop, .spare_last = spare_last});
  }
  std::optional<checkpoint::Segment> segment;
};

struct Unwind {
  int levels;
};
template <class F>
void scope(F&& f) {
  try {
    f();
  } catch (Unwind& unwind) {
    if (--unwind.levels > 0) throw;
  }
}

static void blocks(checkpoint::Setting setting, const std::vector<std::function<void()>>& all) {
  const auto body = [&](std::int64_t i) { all[static_cast<std::size_t>(i)](); };
  if (segments) {
    checkpoint::sequence(setting, static_cast<std::int64_t>(all.size()), body);
  } else {
    for (std::size_t i = 0; i < all.size(); ++i) all[i]();
  }
}

static Tensor values(const Shape& shape, DType dtype, int from, bool channels_last = false) {
  std::vector<double> v(static_cast<std::size_t>(shape.numel()));
  for (std::size_t k = 0; k < v.size(); ++k) v[k] = std::remainder(0.17 + 0.37 * static_cast<double>(k) + 0.113 * from, 2.0);
  return from_host<double>(std::span<const double>(v), shape, {.dtype = dtype, .channels_last = channels_last});
}

static Tensor identifiers(const Shape& shape, int bound, int from) {
  std::vector<std::int64_t> v(static_cast<std::size_t>(shape.numel()));
  for (std::size_t k = 0; k < v.size(); ++k) v[k] = static_cast<std::int64_t>((k * 3 + static_cast<std::size_t>(from)) % static_cast<std::size_t>(bound));
  return tensor<std::int64_t>(v, shape);
}

static Tensor flags(const Shape& shape, int from) {
  std::vector<double> v(static_cast<std::size_t>(shape.numel()));
  for (std::size_t k = 0; k < v.size(); ++k) v[k] = (k * 5 + static_cast<std::size_t>(from)) % 3 == 0;
  const NoGrad no_grad;
  return cast(tensor<double>(v, shape), DType::boolean).detach();
}

static void step(Tensor& leaf) {
  if (leaf.defined() && leaf.requires_grad() && leaf.is_leaf() && leaf.grad().defined()) leaf.add_(leaf.grad(), -0.125);
}

)";

constexpr const char* kMain = R"(
int main() {
  std::vector<std::string> plain;
  for (const bool with : {false, true}) {
    segments = with;
    shown.clear();
    manual_seed(11);
    std::printf("%s segments:\n", with ? "with" : "without");
    try {
      program();
    } catch (const std::exception& e) {
      note(std::string("ended by ") + e.what());
    } catch (const Unwind&) {
    }
    note("nodes left: " + std::to_string(live_nodes()) +
         ", bytes: " + std::to_string(current_pool().statistics().all.requested.current));
    if (!with) plain = shown;
  }
  if (plain == shown) return std::printf("equal\n"), 0;
  for (std::size_t i = 0; i < std::max(plain.size(), shown.size()); ++i) {
    const std::string expected = i < plain.size() ? plain[i] : "-", actual = i < shown.size() ? shown[i] : "-";
    if (expected != actual) std::printf("expected %s\nactual   %s\n", expected.c_str(), actual.c_str());
  }
  return 1;
}
)";

std::string type_name(DType type) {
  return "DType::" + std::string(type == DType::boolean ? "boolean" : name_of(type));
}

std::string braces(const Shape& shape) {
  std::string text = "Shape{";
  for (int axis = 0; axis < shape.rank(); ++axis)
    text += fmt::format("{}{}", axis > 0 ? ", " : "", shape[axis]);
  return text + "}";
}

std::string handle(Id id) { return fmt::format("t{}", id); }

/// Writes one program.
class Writer {
 public:
  explicit Writer(const Program& program) {
    for_each(program.code, [&](const Instruction& i) {
      unwinds_ |= i.kind == Kind::unwind || i.escapes > 0;
      if (i.kind == Kind::leaf) leaves_.insert(i.result);
      if (i.kind == Kind::elsewhere && i.p[0] != 0) beside_ = true;
      if (i.kind == Kind::step || i.kind == Kind::clear) uses_all_ = true;
      if (i.kind == Kind::want) leaves_.insert(i.in[0]);
    });
  }

  std::string function(const Program& program) {
    write(program.code);
    std::string names;
    for (const Id id : made_) names += (names.empty() ? "" : ", ") + handle(id);
    std::string text = "static void program() {\n";
    if (!names.empty()) text += "  Tensor " + names + ";\n";
    if (beside_) text += "  std::vector<std::thread> beside;\n";
    text += "  const auto show_gradients = [&] {\n";
    for (const Id id : leaves_) {
      if (made_.contains(id))
        text += fmt::format(
            "    if ({0}.defined()) attempt(\"gradient of {0}\", [&] {{ show(\"gradient of {0}\", "
            "{0}.grad()); }});\n",
            handle(id));
    }
    text += "  };\n" + text_;
    if (beside_) text += "  for (std::thread& thread : beside) thread.join();\n";
    for (const Id id : made_) text += fmt::format("  show(\"{0} in the end\", {0});\n", handle(id));
    return text + "  show_gradients();\n}\n";
  }

  bool uses_user_operations() const { return uses_user_; }

 private:
  void line(const std::string& text) { text_ += std::string(2 * depth_, ' ') + text + "\n"; }
  bool is_made(Id id) const { return id != kNone && made_.contains(id); }

  void write(const Code& code) {
    for (const Instruction& i : code) write(i);
  }

  void write(const Instruction& i) {
    const bool play = i.kind == Kind::backward || i.kind == Kind::gradients;
    for (std::size_t k = 0; k < (play ? std::size_t{1} : i.in.size()); ++k) {
      if (i.in[k] != kNone && !made_.contains(i.in[k])) return;  // passed over in the run, too
    }
    for (Id part = 0; part < i.results; ++part) made_.insert(static_cast<Id>(i.result + part));
    switch (i.kind) {
      case Kind::leaf:
        return write_leaf(i);
      case Kind::operation:
        return write_operation(i);
      case Kind::drop:
        return line(handle(i.in[0]) + " = Tensor();");
      case Kind::elsewhere:
        return line(fmt::format("{}([t = std::move({})]() mutable {{ t = Tensor(); }}){};",
                                i.p[0] != 0 ? "beside.emplace_back" : "std::thread", handle(i.in[0]),
                                i.p[0] != 0 ? "" : ".join()"));
      case Kind::in_place:
        return write_in_place(i);
      case Kind::want:
        return guarded(i, fmt::format("{}.set_requires_grad({});", handle(i.in[0]), i.p[0] != 0));
      case Kind::gradient_of:
        return guarded(i, fmt::format("{} = {}.grad();", handle(i.result), handle(i.in[0])));
      case Kind::backward:
        return write_backward(i);
      case Kind::gradients:
        return write_gradients(i);
      case Kind::clear:
        if (i.in[0] != kNone) return guarded(i, handle(i.in[0]) + ".clear_grad();");
        for (const Id id : leaves_)
          if (is_made(id)) line(fmt::format("if ({0}.defined()) {0}.clear_grad();", handle(id)));
        return;
      case Kind::step: {
        std::string steps;
        for (const Id id : leaves_)
          if (is_made(id)) steps += " step(" + handle(id) + ");";
        return guarded(i, "const NoGrad no_grad;" + steps);
      }
      case Kind::set_gradient:
        return guarded(
            i, fmt::format("{}.set_grad({}.detach().clone().detach());", handle(i.in[0]), handle(i.in[1])));
      case Kind::hook:
        return write_hook(i);
      case Kind::read:
        return line(fmt::format("show(\"{0}\", {0});", handle(i.in[0])));
      case Kind::unwind:
        return line(fmt::format("throw Unwind{{{}}};", i.p[0]));
      default:
        return write_scope(i);
    }
  }

  void guarded(const Instruction& i, const std::string& statement) {
    const std::string what = fmt::format("instruction {}", i.at);
    if (i.escapes > 0)
      line(
          fmt::format("try {{ {} }} catch (const Error& e) {{ note(\"{} throws: \" + std::string(e.what())); "
                      "throw Unwind{{{}}}; }}",
                      statement, what, int{i.escapes}));
    else
      line(fmt::format("attempt(\"{}\", [&] {{ {} }});", what, statement));
  }

  void write_leaf(const Instruction& i) {
    const Shape shape = shape_of(i.p);
    const auto layout = static_cast<Layout>(i.layout);
    const int last = shape.rank() - 1;
    const Shape base = base_of(layout, shape);
    std::string before, after;
    if (layout == Layout::transposed && last > 0) {
      before = "transpose(", after = fmt::format(", {}, {}).detach()", last, last - 1);
    } else if (layout == Layout::strided && last >= 0) {
      before = "slice(", after = fmt::format(", {}, 1, {}, 2).detach()", last, 2 * shape[last] + 1);
    } else if (layout == Layout::expanded && last >= 0) {
      before = "expand(", after = fmt::format(", {}).detach()", braces(shape));
    }
    const DType type = dtype_of(i.p);
    const std::string options = fmt::format("{{.dtype = {}}}", type_name(type));
    std::string made;
    switch (static_cast<Filling>(i.what)) {
      case Filling::normal:
        made = fmt::format("randn({}, {})", braces(base), options);
        break;
      case Filling::uniform:
        made = fmt::format("rand({}, {})", braces(base), options);
        break;
      case Filling::ones:
        made = fmt::format("ones({}, {})", braces(base), options);
        break;
      case Filling::identifiers:
        made = fmt::format("identifiers({}, {}, {})", braces(base), std::max<int>(1, i.p[4]), i.at);
        break;
      case Filling::flags:
        made = fmt::format("flags({}, {})", braces(base), i.at);
        break;
      case Filling::host:
        made = fmt::format("values({}, {}, {}{})", braces(base), type_name(type), i.at,
                           layout == Layout::channels_last ? ", true" : "");
        break;
    }
    line(fmt::format("{} = {}{}{}{};", handle(i.result), before, made, after, ""));
    if (i.wants) line(fmt::format("{}.set_requires_grad(true);", handle(i.result)));
  }

  std::string operand(char name, const Instruction& i, bool moved) const {
    const std::size_t k = std::string_view("xyzuvw").find(name);
    if (moved && (i.consumes >> k & 1u) != 0) return "std::move(" + handle(i.in[k]) + ")";
    return handle(i.in[k]);
  }

  /// The operation's text with this instruction's operands and numbers.
  std::string expression(const Instruction& i) const {
    const std::string_view text = operations()[i.what].text;
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
      if (std::isalnum(static_cast<unsigned char>(text[at])) == 0 && text[at] != '_') {
        out += text[at++];
        continue;
      }
      std::size_t end = at;
      while (end < text.size() &&
             (std::isalnum(static_cast<unsigned char>(text[end])) != 0 || text[end] == '_'))
        ++end;
      const std::string_view word = text.substr(at, end - at);
      if (word == "mv") {
        out += operand(text[end + 1], i, true);
        at = end + 3;  // mv(x)
        continue;
      }
      at = end;
      if (word.size() == 1 && std::string_view("xyzuvw").find(word[0]) != std::string_view::npos)
        out += operand(word[0], i, false);
      else if (word.size() == 1 && std::string_view("ijkl").find(word[0]) != std::string_view::npos)
        out += std::to_string(i.p[std::string_view("ijkl").find(word[0])]);
      else if (word == "alpha")
        out += number(alpha_of(i.p));
      else if (word == "dtype_of")
        out += type_name(dtype_of(i.p)), at += 3;
      else if (word == "shape_of")
        out += braces(shape_of(i.p)), at += 3;
      else
        out += word;
    }
    return out;
  }

  static std::string number(double value) {
    std::string text = fmt::format("{}", value);
    if (text.find_first_of(".e") == std::string::npos) text += ".0";
    return text;
  }

  void write_operation(const Instruction& i) {
    const Pattern pattern = operations()[i.what].pattern;
    uses_user_ |= pattern == Pattern::user || pattern == Pattern::user_pair;
    std::string text;
    if (pattern == Pattern::batch_norm) {
      static constexpr const char* parts[] = {"y", "mean", "variance"};
      text = fmt::format("const auto r = {};", expression(i));
      for (Id k = 0; k < i.results && k < 3; ++k)
        text += fmt::format(" {} = r.{};", handle(static_cast<Id>(i.result + k)), parts[k]);
    } else if (pattern == Pattern::split || pattern == Pattern::user_pair) {
      text = fmt::format("const auto r = {};", expression(i));
      for (Id k = 0; k < i.results; ++k)
        text += fmt::format(" if (r.size() > {0}) {1} = r[{0}];", k, handle(static_cast<Id>(i.result + k)));
    } else {
      text = fmt::format("{} = {};", handle(i.result), expression(i));
    }
    for (std::size_t k = 0; k < 6; ++k) {  // those that are not moved by the text itself
      if ((i.consumes >> k & 1) != 0 && text.find("std::move(" + handle(i.in[k]) + ")") == std::string::npos)
        text += fmt::format(" {} = Tensor();", handle(i.in[k]));
    }
    if (i.escapes > 0)
      guarded(i, text);
    else if (text.find("const auto r") != std::string::npos)
      line("{ " + text + " }");
    else
      line(text);
  }

  void write_in_place(const Instruction& i) {
    const std::string amount = number(i.p[1] / 8.0), target = handle(i.in[0]);
    std::string change;
    switch (static_cast<Change>(i.what)) {
      case Change::fill:
        change = fmt::format("{}.fill_({});", target, amount);
        break;
      case Change::copy:
        change = fmt::format("{}.copy_({});", target, handle(i.in[1]));
        break;
      case Change::add:
        change = fmt::format("{}.add_({}, {});", target, handle(i.in[1]), amount);
        break;
      case Change::mul:
        change = fmt::format("{}.mul_({});", target, amount);
        break;
    }
    guarded(i, (i.p[0] != 0 ? "const NoGrad no_grad; " : "") + change);
  }

  void write_backward(const Instruction& i) {
    const std::string options = i.p[0] != 0 ? "{.retain_tape = true}" : "{}";
    if (i.p[1] != 0 && is_made(i.in[3]))
      guarded(i, fmt::format("{}.backward({}, {});", handle(i.in[0]), handle(i.in[3]), options));
    else if (is_made(i.in[1]))
      guarded(i, fmt::format("backward(std::vector<Tensor>{{{}, {}}}, {{}}, {});", handle(i.in[0]),
                             handle(i.in[1]), options));
    else
      guarded(i, fmt::format("{}.backward({});", handle(i.in[0]), i.p[0] != 0 ? options : ""));
    line("show_gradients();");
  }

  void write_gradients(const Instruction& i) {
    std::string inputs, takes;
    int n = 0;
    for (std::size_t k = 1; k <= 3; ++k) {
      if (!is_made(i.in[k])) continue;
      inputs += (n > 0 ? ", " : "") + handle(i.in[k]);
      const std::string to = handle(static_cast<Id>(i.result + k - 1));
      takes += fmt::format(" {0} = g[{1}]; show(\"{0}\", {0});", to, n++);
    }
    guarded(i, fmt::format("const auto g = gradients({}, std::vector<Tensor>{{{}}}{});{}", handle(i.in[0]),
                           inputs, i.p[0] != 0 ? ", {.retain_tape = true}" : "", takes));
  }

  void write_hook(const Instruction& i) {
    const std::string on = handle(i.in[0]), other = is_made(i.in[1]) ? handle(i.in[1]) : "";
    const std::string head =
        fmt::format("{0}.on_gradient([&](const Tensor& g) {{ show(\"hook of {0}\", g);", on);
    switch (static_cast<Hook>(i.what)) {
      case Hook::count:
      case Hook::meet:  // where the two threads wait for each other
        return guarded(i, head + " return Tensor(); });");
      case Hook::scale:
        return guarded(i, head + " return g * 2.0; });");
      case Hook::replace:
        return guarded(i, head + fmt::format(" return {}.detach(); }});", other));
      case Hook::add_hook:
        return guarded(
            i, fmt::format(
                   "{0}.on_gradient([&, added = 0](const Tensor& g) mutable {{ show(\"hook of {0}\", g); "
                   "for (; added < 5 && {0}.defined(); ++added) {0}.on_gradient([](const Tensor&) {{ return "
                   "Tensor(); }}); "
                   "return Tensor(); }});",
                   on));
      case Hook::drop:
        return guarded(i,
                       head + (other.empty() ? "" : " " + other + " = Tensor();") + " return Tensor(); });");
      case Hook::fail:
        return guarded(
            i, fmt::format(
                   "{0}.on_gradient([failed = false](const Tensor& g) mutable {{ show(\"hook of {0}\", g); "
                   "if (!std::exchange(failed, true)) throw std::runtime_error(\"a hook failed\"); return "
                   "Tensor(); }});",
                   on));
      case Hook::segment:
        return guarded(i, head + " const Segment s(\"hook\", checkpoint::Drop::everything, false);" +
                              (other.empty() ? ""
                                             : fmt::format(" if ({0}.defined() && is_floating({0}.dtype())) "
                                                           "show(\"in the hook\", tanh({0} * 2.0));",
                                                           other)) +
                              " return Tensor(); });");
      case Hook::play:
        return guarded(
            i,
            head +
                (other.empty()
                     ? ""
                     : fmt::format(
                           " if ({0}.defined()) attempt(\"backward in a hook\", [&] {{ {0}.backward(); }});",
                           other)) +
                " return Tensor(); });");
    }
  }

  void write_body(const Code& body) {
    ++depth_;
    write(body);
    --depth_;
  }

  void write_scope(const Instruction& i) {
    switch (i.kind) {
      case Kind::segment:
      case Kind::no_grad:
      case Kind::anomaly: {
        line(unwinds_ ? "scope([&] {" : "{");
        static constexpr const char* names[] = {"a", "b", "c"};
        ++depth_;
        line(i.kind == Kind::no_grad ? "const NoGrad no_grad;"
             : i.kind == Kind::anomaly
                 ? "const AnomalyMode anomaly;"
                 : fmt::format("const Segment segment(\"{}\", checkpoint::Drop::{}, {});", names[i.p[2] % 3],
                               i.p[0] != 0 ? "cheap" : "everything", i.p[1] != 0));
        --depth_;
        write_body(i.bodies[0]);
        return line(unwinds_ ? "});" : "}");
      }
      case Kind::sequence: {
        static constexpr const char* strategies[] = {"none", "blocks", "every", "sqrt", "nested", "cheap"};
        const std::string setting =
            fmt::format("{{.strategy = checkpoint::Strategy::{}, .every = {}}}", strategies[i.p[0]], i.p[1]);
        if (unwinds_) line("scope([&] {");
        line(fmt::format("blocks({}, {{", setting));
        for (const Code& body : i.bodies) {
          line("[&] {");
          write_body(body);
          line("},");
        }
        line("});");
        if (unwinds_) line("});");
        return;
      }
      case Kind::thread:
        line("std::thread([&] { scope([&] {");
        ++depth_;
        line(fmt::format("manual_seed({});", i.at));
        --depth_;
        write_body(i.bodies[0]);
        return line("}); }).join();");
      default:
        line("{");
        ++depth_;
        line("std::vector<std::thread> threads;");
        for (std::size_t k = 0; k < i.bodies.size(); ++k) {
          line("threads.emplace_back([&] { scope([&] {");
          ++depth_;
          line(fmt::format("manual_seed({});", i.at + k));
          --depth_;
          write_body(i.bodies[k]);
          line("}); });");
        }
        line("for (std::thread& thread : threads) thread.join();");
        --depth_;
        return line("}");
    }
  }

  std::string text_;
  std::size_t depth_ = 1;
  std::set<Id> made_;
  std::set<Id> leaves_;
  bool unwinds_ = false, beside_ = false, uses_user_ = false, uses_all_ = false;
};

std::string user_operations() {
  std::ifstream in(std::string(REPRISE_FUZZ_SOURCES) + "/user_operations.h");
  std::stringstream text;
  std::string line;
  while (std::getline(in, line)) {
    if (!line.starts_with("#pragma once")) text << line << '\n';
  }
  return text.str();
}

std::string as_comment(const std::string& text) {
  std::string out = "// ";
  for (const char c : text.substr(0, 600)) {
    out += c;
    if (c == '\n') out += "// ";
  }
  return out + "\n";
}

}  // namespace

std::string statements(const Program& program) { return Writer(program).function(program); }

std::string listing(const Program& program, const Setting& setting, const Finding& finding) {
  Writer writer(program);
  const std::string function = writer.function(program);
  return as_comment(
             fmt::format("{}, seed {}: {}. {}", setting.name, program.seed, finding.kind, finding.detail)) +
         kPrelude + (writer.uses_user_operations() ? user_operations() : "") + kHelpers + function + kMain;
}

}  // namespace reprise::fuzz
