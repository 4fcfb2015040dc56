// Bytes become a program.
#pragma once

#include <cstdint>
#include <span>

#include "program.h"
#include "settings.h"

namespace reprise::fuzz {

/// The same bytes give the same program, whatever the library does: sizes and types are followed here.
Program generate(std::span<const std::uint8_t> bytes, const Setting& setting);
/// From the bytes that `seed` stands for.
Program generate(std::uint64_t seed, const Setting& setting);

}  // namespace reprise::fuzz
