// What is said when the command line makes no sense.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace reprise::cli {

/// The error in one line that names what was given, what there is, and where help stands.
std::string explain(const CLI::ParseError& error, const CLI::App& app);

}  // namespace reprise::cli
