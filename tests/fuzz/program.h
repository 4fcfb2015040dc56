// A program over tensors as plain data: it can be run, printed, read back and made smaller.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace reprise::fuzz {

/// The name of a tensor handle: t7 has the id 7.
using Id = std::uint16_t;
inline constexpr Id kNone = 0xffff;

enum class Kind : std::uint8_t {
  leaf,          // what: a Filling; p: sizes, rank, type, bound
  operation,     // what: index into operations()
  drop,          // lets go of in[0]
  elsewhere,     // lets go of in[0] on another thread; p[0]: which goes on beside this one
  in_place,      // what: a Change of in[0] (by in[1]); p[0]: its tape's NoGrad; p[1]: the amount
  want,          // set_requires_grad(p[0]) of in[0]
  gradient_of,   // the handle of in[0]'s gradient
  backward,      // from in[0], in[1], ...; p[0]: retain; p[1]: gradients are given
  gradients,     // of in[0] for in[1], in[2], in[3]; p[0]: retain
  clear,         // the gradient of in[0], or of all leaves
  step,          // every leaf -= gradient / 8, under NoGrad
  set_gradient,  // of in[0], to in[1]
  hook,          // what: a Hook on in[0]; in[1]: what it is about
  read,          // in[0], by the library's own functions
  unwind,        // throws through p[0] scopes
  // With bodies:
  segment,  // p[0]: drop cheap; p[1]: spare_last; p[2]: its name
  no_grad,
  anomaly,
  sequence,  // p[0]: strategy, p[1]: every; a body a block
  thread,    // on another thread, which is waited for
  together,  // two bodies on two threads at once
};

enum class Filling : std::uint8_t { normal, uniform, host, ones, identifiers, flags };
enum class Change : std::uint8_t { fill, copy, add, mul };
enum class Hook : std::uint8_t { count, scale, replace, add_hook, drop, fail, segment, play, meet };

struct Instruction {
  Kind kind = Kind::drop;
  std::uint8_t what = 0;
  std::uint8_t consumes = 0;  // bit i: operand i is moved into the operation, its handle is gone
  std::uint8_t escapes = 0;   // an error leaves that many scopes
  std::uint8_t layout = 0;    // of a leaf, a Layout
  bool wants = false;         // of a leaf
  Id result = kNone;          // the first of `results`
  std::uint8_t results = 0;
  std::uint32_t at = 0;  // its number in the first program; does not change when others go
  std::array<Id, 6> in{kNone, kNone, kNone, kNone, kNone, kNone};
  std::array<std::int16_t, 8> p{};
  std::vector<std::vector<Instruction>> bodies{};
};

enum class Layout : std::uint8_t { dense, transposed, strided, expanded, channels_last };

using Code = std::vector<Instruction>;

struct Program {
  Code code;
  Id ids = 0;  // one more than the largest
  std::string setting;
  std::uint64_t seed = 0;
};

/// Calls f(instruction) for all of them, scopes before what is inside.
template <class C, class F>
void for_each(C& code, F&& f) {
  for (auto& instruction : code) {
    f(instruction);
    for (auto& body : instruction.bodies) for_each(body, f);
  }
}

std::size_t size_of(const Program& program);
const char* name_of(Kind kind);

/// One line an instruction; `read_program` reads it back. Throws std::runtime_error for anything else.
std::string to_text(const Program& program);
Program read_program(const std::string& text);

}  // namespace reprise::fuzz
