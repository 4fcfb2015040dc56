#include "cli/output.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <system_error>

#include "cli/utf8.h"

namespace reprise::cli {
namespace {

int output_error = 0;  // the first

}  // namespace

void say(std::string_view text) { say_styled(printable_lines(text)); }

void say_styled(std::string_view text) {
  if (output_error != 0) return;
  const bool taken = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (!taken || std::fflush(stdout) != 0) output_error = errno != 0 ? errno : EIO;
}

void complain(std::string_view text) {
  std::cerr << "reprise: " + printable_lines(text) + "\n" << std::flush;
  std::cerr.clear();
}

bool output_lost() { return output_error != 0; }

int status_with_output(int status) {
  if (status != 0 || output_error == 0) return status;
  if (output_error == EPIPE) return 128 + SIGPIPE;
  complain(fmt::format("[output] standard output cannot be written ({}); what was said is not complete",
                       std::generic_category().message(output_error)));
  return kIncomplete;
}

void open_standard_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    // The lowest number that is free is this one.
    if (::fcntl(stream, F_GETFD) < 0 && errno == EBADF) ::open("/dev/null", O_RDWR);
  }
}

}  // namespace reprise::cli
