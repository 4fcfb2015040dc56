// What the program says: everything that goes to standard output and, but for progress, to standard error.
#pragma once

#include <fmt/format.h>

#include <string_view>

namespace reprise::cli {

/// Writes text to standard output at once; control and direction characters that a name or a model's text may
/// hold do not reach the terminal. Never throws: what cannot be written is remembered.
void say(std::string_view text);

template <class First, class... Rest>
void say(fmt::format_string<First, Rest...> format, First&& first, Rest&&... rest) {
  say(std::string_view(fmt::format(format, std::forward<First>(first), std::forward<Rest>(rest)...)));
}

/// The same for text with the program's own escape sequences, whose names are already printable.
void say_styled(std::string_view text);

/// "reprise: " and the text as a line of standard error.
void complain(std::string_view text);

/// True once standard output has not taken what was said: its reader has gone, or its disk is full.
bool output_lost();

/// Exit statuses beside 0, 1 (digests differ) and 2 (misuse, or a run that failed).
inline constexpr int kFailed = 2;
inline constexpr int kIncomplete = 3;  // the work is done; something that comes after it failed

/// `status`, or where that is 0 and standard output was lost, one that says so: 141 for a reader that has
/// gone, as if SIGPIPE had ended the program, else kIncomplete, with a message.
int status_with_output(int status);

/// Thrown where work stops because nobody would learn its results.
struct NobodyListens {};

/// Opens /dev/null for standard streams that are closed, whose output nobody wants, so that no file that is
/// opened takes their place.
void open_standard_streams();

}  // namespace reprise::cli
