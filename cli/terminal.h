// What the program's output is connected to.
#pragma once

namespace reprise::cli {

/// What a stream can show.
struct Terminal {
  bool interactive = false;  ///< a person watches: lines may be rewritten
  bool colour = false;
  int columns = 80;
};

/// Standard output or standard error, as it is now. No colour when NO_COLOR is set or TERM is "dumb".
Terminal standard_output();
Terminal standard_error();

}  // namespace reprise::cli
