// What tests of the program share.
#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "program.h"

using Arguments = std::vector<std::string>;

inline Arguments operator+(Arguments all, const Arguments& more) {
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

inline bool available() {
  if (reprise_program()) return true;
  WARN("skipped: the tests were built without the program");
  return false;
}

/// Ends with one line that holds every part of `message`.
inline void check_refused(const Arguments& arguments, const std::vector<std::string>& message) {
  const Ended ended = run_program(arguments);
  CAPTURE(arguments, ended.output, ended.errors);
  CHECK(ended.status == 2);
  CHECK_THAT(ended.errors, Catch::Matchers::StartsWith("reprise: "));
  CHECK(std::count(ended.errors.begin(), ended.errors.end(), '\n') == 1);
  CHECK_THAT(ended.errors, Catch::Matchers::EndsWith("\n"));
  for (const std::string& part : message) CHECK_THAT(ended.errors, Catch::Matchers::Contains(part));
}
