// A program as C++ that compiles against <reprise/reprise.h>.
#pragma once

#include <string>

#include "check.h"
#include "program.h"

namespace reprise::fuzz {

/// The whole source: both runs, what each shows, and where they differ.
std::string listing(const Program& program, const Setting& setting, const Finding& finding);

/// The part of it that is this program's own.
std::string statements(const Program& program);

}  // namespace reprise::fuzz
