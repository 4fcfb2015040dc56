// The sets of instructions that a compiler may use by itself, for which build, and where the processor tells
// of each. Compiled twice, with the build's own -march and with the least: nothing here may become a shared
// function.
#pragma once

#include <cstdint>

namespace reprise::kernels::processor {

enum class Register : std::uint8_t { eax, ebx, ecx, edx };

/// What the operating system must save when it changes threads.
enum class State : std::uint8_t { sse, avx, avx512 };

struct Instructions {
  const char* name;
  bool compiled_for;  // by this source's own flags
  std::uint32_t leaf, subleaf;
  Register where;
  int bit;
  State state;
};

// A macro of the compiler's becomes 1 where it is defined and remains its name otherwise.
#define REPRISE_TEXT_OF(value) #value
#define REPRISE_COMPILED_FOR(macro) (REPRISE_TEXT_OF(macro)[0] == '1')

static constexpr Instructions kInstructions[] = {
    {"SSE3", REPRISE_COMPILED_FOR(__SSE3__), 1, 0, Register::ecx, 0, State::sse},
    {"SSSE3", REPRISE_COMPILED_FOR(__SSSE3__), 1, 0, Register::ecx, 9, State::sse},
    {"SSE4.1", REPRISE_COMPILED_FOR(__SSE4_1__), 1, 0, Register::ecx, 19, State::sse},
    {"SSE4.2", REPRISE_COMPILED_FOR(__SSE4_2__), 1, 0, Register::ecx, 20, State::sse},
    {"POPCNT", REPRISE_COMPILED_FOR(__POPCNT__), 1, 0, Register::ecx, 23, State::sse},
    {"LZCNT", REPRISE_COMPILED_FOR(__LZCNT__), 0x80000001, 0, Register::ecx, 5, State::sse},
    {"MOVBE", REPRISE_COMPILED_FOR(__MOVBE__), 1, 0, Register::ecx, 22, State::sse},
    {"BMI", REPRISE_COMPILED_FOR(__BMI__), 7, 0, Register::ebx, 3, State::sse},
    {"BMI2", REPRISE_COMPILED_FOR(__BMI2__), 7, 0, Register::ebx, 8, State::sse},
    {"TBM", REPRISE_COMPILED_FOR(__TBM__), 0x80000001, 0, Register::ecx, 21, State::sse},
    {"AVX", REPRISE_COMPILED_FOR(__AVX__), 1, 0, Register::ecx, 28, State::avx},
    {"F16C", REPRISE_COMPILED_FOR(__F16C__), 1, 0, Register::ecx, 29, State::avx},
    {"FMA", REPRISE_COMPILED_FOR(__FMA__), 1, 0, Register::ecx, 12, State::avx},
    {"FMA4", REPRISE_COMPILED_FOR(__FMA4__), 0x80000001, 0, Register::ecx, 16, State::avx},
    {"XOP", REPRISE_COMPILED_FOR(__XOP__), 0x80000001, 0, Register::ecx, 11, State::avx},
    {"AVX2", REPRISE_COMPILED_FOR(__AVX2__), 7, 0, Register::ebx, 5, State::avx},
    {"AVX-VNNI", REPRISE_COMPILED_FOR(__AVXVNNI__), 7, 1, Register::eax, 4, State::avx},
    {"AVX-512F", REPRISE_COMPILED_FOR(__AVX512F__), 7, 0, Register::ebx, 16, State::avx512},
    {"AVX-512CD", REPRISE_COMPILED_FOR(__AVX512CD__), 7, 0, Register::ebx, 28, State::avx512},
    {"AVX-512DQ", REPRISE_COMPILED_FOR(__AVX512DQ__), 7, 0, Register::ebx, 17, State::avx512},
    {"AVX-512BW", REPRISE_COMPILED_FOR(__AVX512BW__), 7, 0, Register::ebx, 30, State::avx512},
    {"AVX-512VL", REPRISE_COMPILED_FOR(__AVX512VL__), 7, 0, Register::ebx, 31, State::avx512},
    {"AVX-512VBMI", REPRISE_COMPILED_FOR(__AVX512VBMI__), 7, 0, Register::ecx, 1, State::avx512},
    {"AVX-512VBMI2", REPRISE_COMPILED_FOR(__AVX512VBMI2__), 7, 0, Register::ecx, 6, State::avx512},
    {"AVX-512VNNI", REPRISE_COMPILED_FOR(__AVX512VNNI__), 7, 0, Register::ecx, 11, State::avx512},
    {"AVX-512BITALG", REPRISE_COMPILED_FOR(__AVX512BITALG__), 7, 0, Register::ecx, 12, State::avx512},
    {"AVX-512VPOPCNTDQ", REPRISE_COMPILED_FOR(__AVX512VPOPCNTDQ__), 7, 0, Register::ecx, 14, State::avx512},
    {"AVX-512BF16", REPRISE_COMPILED_FOR(__AVX512BF16__), 7, 1, Register::eax, 5, State::avx512},
    {"AVX-512FP16", REPRISE_COMPILED_FOR(__AVX512FP16__), 7, 0, Register::edx, 23, State::avx512},
};

#undef REPRISE_COMPILED_FOR
#undef REPRISE_TEXT_OF

/// A set of the above: bit i is kInstructions[i].
using Set = std::uint64_t;
static_assert(sizeof(kInstructions) / sizeof(kInstructions[0]) <= 64);

/// What this build was compiled for.
extern const Set kCompiledFor;

/// What this processor has and its operating system lets programs use.
Set of_this_processor() noexcept;

/// Writes the line of `missing_instructions` for a build and a processor, at most `size` bytes with its end;
/// an empty one where nothing is missing.
void describe_missing(Set compiled_for, Set has, char* line, int size) noexcept;

}  // namespace reprise::kernels::processor
