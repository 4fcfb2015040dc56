#include "generate.h"

#include "composer.h"

namespace reprise::fuzz {

Program generate(std::span<const std::uint8_t> bytes, const Setting& setting) {
  Bytes decisions(bytes);
  return Composer(decisions, setting).compose();
}

Program generate(std::uint64_t seed, const Setting& setting) {
  const std::vector<std::uint8_t> bytes = random_bytes(seed, 900);
  Program program = generate(bytes, setting);
  program.seed = seed;
  return program;
}

}  // namespace reprise::fuzz
