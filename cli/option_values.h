// What options take: each refuses what is none of it in words, before anything runs.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

namespace reprise::cli {

/// A whole number in [least, most], in decimal digits.
CLI::Validator whole_number(std::int64_t least, std::int64_t most);

/// A seed: a whole number of 64 bits without a sign.
CLI::Validator seed_number();

/// A number in [least, most] that is finite, or in (least, most].
CLI::Validator number(double least, double most);
CLI::Validator number_above(double least, double most);

/// One of these words; refuses another by naming them.
CLI::Validator one_of(std::vector<std::string> words);

/// The name of a file or folder, which is not empty.
CLI::Validator file_name();

}  // namespace reprise::cli
