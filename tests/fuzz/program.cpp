#include "program.h"

#include <algorithm>
#include <sstream>
#include <stdexcept>

namespace reprise::fuzz {
namespace {

constexpr const char* kNames[] = {
    "leaf",     "operation", "drop",    "elsewhere", "in_place",     "want",   "gradient",
    "backward", "gradients", "clear",   "step",      "set_gradient", "hook",   "read",
    "unwind",   "segment",   "no_grad", "anomaly",   "sequence",     "thread", "together"};

void write(std::ostream& out, const Code& code, int depth) {
  const std::string indent(static_cast<std::size_t>(depth) * 2, ' ');
  for (const Instruction& i : code) {
    out << indent << kNames[static_cast<std::size_t>(i.kind)] << ' ' << i.at << ' ' << int{i.what} << ' '
        << int{i.consumes} << ' ' << int{i.escapes} << ' ' << int{i.layout} << ' ' << int{i.wants} << ' '
        << i.result << ' ' << int{i.results};
    for (const Id id : i.in) out << ' ' << id;
    for (const std::int16_t p : i.p) out << ' ' << p;
    out << ' ' << i.bodies.size() << '\n';
    for (const Code& body : i.bodies) {
      out << indent << "{\n";
      write(out, body, depth + 1);
      out << indent << "}\n";
    }
  }
}

template <class T>
T number(std::istream& in) {
  long value = 0;
  if (!(in >> value)) throw std::runtime_error("a number is missing");
  return static_cast<T>(value);
}

Code read(std::istream& in) {
  Code code;
  std::string word;
  while (in >> word && word != "}") {
    const auto* name = std::find(std::begin(kNames), std::end(kNames), word);
    if (name == std::end(kNames)) throw std::runtime_error("no instruction is called '" + word + "'");
    Instruction i;
    i.kind = static_cast<Kind>(name - std::begin(kNames));
    i.at = number<std::uint32_t>(in);
    i.what = number<std::uint8_t>(in);
    i.consumes = number<std::uint8_t>(in);
    i.escapes = number<std::uint8_t>(in);
    i.layout = number<std::uint8_t>(in);
    i.wants = number<int>(in) != 0;
    i.result = number<Id>(in);
    i.results = number<std::uint8_t>(in);
    for (Id& id : i.in) id = number<Id>(in);
    for (std::int16_t& p : i.p) p = number<std::int16_t>(in);
    i.bodies.resize(number<std::size_t>(in));
    for (Code& body : i.bodies) {
      if (!(in >> word) || word != "{") throw std::runtime_error("a body is missing");
      body = read(in);
    }
    code.push_back(std::move(i));
  }
  return code;
}

}  // namespace

const char* name_of(Kind kind) { return kNames[static_cast<std::size_t>(kind)]; }

std::size_t size_of(const Program& program) {
  std::size_t n = 0;
  for_each(program.code, [&](const Instruction&) { ++n; });
  return n;
}

std::string to_text(const Program& program) {
  std::ostringstream out;
  out << "program " << program.setting << ' ' << program.seed << '\n';
  write(out, program.code, 0);
  return out.str();
}

Program read_program(const std::string& text) {
  std::istringstream in(text);
  Program program;
  std::string word;
  if (!(in >> word >> program.setting >> program.seed) || word != "program")
    throw std::runtime_error("a program begins with the word, its setting and its seed");
  program.code = read(in);
  for_each(program.code, [&](const Instruction& i) {
    if (i.result != kNone) program.ids = std::max<Id>(program.ids, static_cast<Id>(i.result + i.results));
    for (const Id id : i.in)
      if (id != kNone) program.ids = std::max<Id>(program.ids, static_cast<Id>(id + 1));
  });
  return program;
}

}  // namespace reprise::fuzz
