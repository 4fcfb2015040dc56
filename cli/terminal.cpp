#include "terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

namespace reprise::cli {

namespace {

Terminal inspect(int descriptor) {
  Terminal terminal;
  if (isatty(descriptor) == 0) return terminal;
  const char* kind = std::getenv("TERM");
  const bool dumb = kind == nullptr || std::string_view(kind) == "dumb";
  const char* no_colour = std::getenv("NO_COLOR");
  terminal.interactive = !dumb;
  terminal.colour = !dumb && (no_colour == nullptr || *no_colour == '\0');
  winsize size{};
  if (ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) terminal.columns = size.ws_col;
  return terminal;
}

}  // namespace

Terminal standard_output() { return inspect(STDOUT_FILENO); }
Terminal standard_error() { return inspect(STDERR_FILENO); }

}  // namespace reprise::cli
