#include "support.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

namespace simt_test {

void check_report(const std::string& report, const Expected& expected) {
  using Catch::Matchers::Contains;
  CHECK_THAT(report, Contains("[" + expected.kind + "]"));
  if (!expected.kernel.empty()) CHECK_THAT(report, Contains("kernel " + expected.kernel));
  if (!expected.block.empty()) CHECK_THAT(report, Contains("block " + expected.block));
  if (!expected.thread.empty()) CHECK_THAT(report, Contains("thread " + expected.thread));
  if (!expected.line.empty()) CHECK_THAT(report, Contains(expected.line));
  if (!expected.text.empty()) CHECK_THAT(report, Contains(expected.text));
}

namespace {

std::string read_all(int descriptor) {
  std::string text;
  char buffer[4096];
  for (ssize_t n = 0; (n = read(descriptor, buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(n));
  return text;
}

}  // namespace

std::string stderr_of_child(const std::function<void()>& body) {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  std::fflush(nullptr);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    simt::config.print_faults = true;
    simt::config.abort_on_error = false;
    body();
    _exit(0);
  }
  close(ends[1]);
  const std::string text = read_all(ends[0]);
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return text;
}

std::string output_of_test(const std::string& environment, const std::string& test) {
  char program[4096];
  const ssize_t length = readlink("/proc/self/exe", program, sizeof program);
  REQUIRE(length > 0);
  const std::string command =
      environment + " '" + std::string(program, static_cast<std::size_t>(length)) + "' '" + test + "' 2>&1";
  std::FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  const std::string text = read_all(fileno(pipe));
  pclose(pipe);
  return text;
}

}  // namespace simt_test
