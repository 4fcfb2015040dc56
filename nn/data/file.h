// Reading files of data, with errors that say what is wrong, where, and what to do.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>

namespace reprise::nn::data {

/// An open regular file and its size.
class InputFile {
 public:
  /// Throws Error, beginning with [operation], when `path` is not a regular file that can be read.
  InputFile(std::string_view operation, std::filesystem::path path);

  std::uint64_t size() const { return size_; }

  /// Reads exactly as much as `bytes` holds; throws Error when the file ends first.
  void read(std::span<std::uint8_t> bytes);

  /// Throws Error: "[operation] path: problem".
  [[noreturn]] void fail(const std::string& problem) const;

 private:
  std::string operation_;
  std::filesystem::path path_;
  std::uint64_t size_ = 0;
  std::ifstream stream_;
};

/// A path as messages show it: control bytes, which could write lines of their own, as '?'.
std::string shown(const std::filesystem::path& path);

/// A whole file; throws Error as InputFile does.
std::string read_text(std::string_view operation, const std::filesystem::path& path);

/// "0x" and the lowest `digits` hexadecimal digits of a value, for messages.
std::string hexadecimal(std::uint32_t value, int digits);

}  // namespace reprise::nn::data
