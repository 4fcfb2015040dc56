// A program made smaller for as long as it shows the same kind of finding.
#pragma once

#include <functional>

#include "program.h"

namespace reprise::fuzz {

/// `shows` says whether a program still does; it is asked at most `most` times.
Program shrink(Program program, const std::function<bool(const Program&)>& shows, int most = 1500);

}  // namespace reprise::fuzz
