// Compares what the build was compiled for with what the processor has. This file is compiled for the least
// processor (see CMakeLists.txt) and calls no inline function of a header, which might come from a file that
// is not: so it runs where the rest would end with an illegal instruction.
#include "reprise/kernels/processor.h"

#include <unistd.h>
#include <csignal>
#include <cstddef>

#include "processor/instructions.h"
#include "reprise/error.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace reprise::kernels {

namespace processor {

namespace {

/// A line that is cut rather than too long.
struct Line {
  char* text;
  int size, length = 0;

  void add(const char* more) noexcept {
    for (; *more != '\0' && length + 1 < size; ++more) text[length++] = *more;
    text[length] = '\0';
  }
};

bool same(const char* a, const char* b) noexcept {
  for (; *a == *b; ++a, ++b) {
    if (*a == '\0') return true;
  }
  return false;
}

template <std::size_t n>
bool has_all(Set has, const char* const (&names)[n]) noexcept {
  for (const char* name : names) {
    int bit = 0;
    for (const Instructions& instructions : kInstructions) {
      if (same(instructions.name, name) && (has >> bit & 1u) == 0) return false;
      ++bit;
    }
  }
  return true;
}

/// The richest portable value of REPRISE_CPU_ARCH that runs on a processor.
const char* portable_architecture(Set has) noexcept {
  if (!has_all(has, {"SSE3", "SSSE3", "SSE4.1", "SSE4.2", "POPCNT"})) return "x86-64";
  return has_all(has, {"AVX", "AVX2", "BMI", "BMI2", "F16C", "FMA", "LZCNT", "MOVBE"}) ? "x86-64-v3"
                                                                                       : "x86-64-v2";
}

}  // namespace

void describe_missing(Set compiled_for, Set has, char* text, int size) noexcept {
  Line line{text, size};
  line.add("");
  const Set missing = compiled_for & ~has;
  if (missing == 0) return;
  line.add("[processor] Reprise was compiled for instructions that this processor lacks (");
  int bit = 0;
  const char* separator = "";
  for (const Instructions& instructions : kInstructions) {
    if ((missing >> bit++ & 1u) == 0) continue;
    line.add(separator);
    line.add(instructions.name);
    separator = ", ";
  }
  line.add("); build it with -DREPRISE_CPU_ARCH=");
  line.add(portable_architecture(has));
}

#if defined(__x86_64__)

namespace {

/// Which registers the operating system saves, as the processor's XCR0 tells.
State saved_state() noexcept {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kOsxsave = 1u << 27, kAvx = 0x6, kAvx512 = 0xE6;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & kOsxsave) == 0) return State::sse;
  __asm__("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
  if ((a & kAvx512) == kAvx512) return State::avx512;
  return (a & kAvx) == kAvx ? State::avx : State::sse;
}

}  // namespace

Set of_this_processor() noexcept {
  const State saved = saved_state();
  Set has = 0;
  int bit = 0;
  for (const Instructions& instructions : kInstructions) {
    unsigned registers[4] = {};
    const bool told = __get_cpuid_count(instructions.leaf, instructions.subleaf, &registers[0], &registers[1],
                                        &registers[2], &registers[3]) != 0;
    const unsigned word = registers[static_cast<int>(instructions.where)];
    if (told && instructions.state <= saved) has |= Set{word >> instructions.bit & 1u} << bit;
    ++bit;
  }
  return has;
}

#else

Set of_this_processor() noexcept { return ~Set{0}; }

#endif

}  // namespace processor

namespace {

char missing_line[1024];

void write_all(const char* text) noexcept {
  int length = 0;
  while (text[length] != '\0') ++length;
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text, static_cast<std::size_t>(length));
}

void explain(int) noexcept {
  write_all(missing_line);
  write_all("\n");
}

/// Runs before all other code of the program that the build's own -march compiled, objects of static storage
/// included. A program that never comes to an instruction which is missing is none of our business: only one
/// that does ends, as it would have, with this line.
[[gnu::constructor(101)]] void look_at_processor() noexcept {
  processor::describe_missing(processor::kCompiledFor, processor::of_this_processor(), missing_line,
                              sizeof(missing_line));
  if (missing_line[0] == '\0') return;
  struct sigaction action = {};
  action.sa_handler = explain;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  ::sigaction(SIGILL, &action, nullptr);
}

}  // namespace

const char* missing_instructions() noexcept { return missing_line; }

void require_processor() {
  if (missing_line[0] != '\0') throw DeviceError(missing_line);
}

}  // namespace reprise::kernels
