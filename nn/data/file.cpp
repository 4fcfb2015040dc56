#include "file.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "reprise/error.h"

namespace reprise::nn::data {

namespace fs = std::filesystem;

InputFile::InputFile(std::string_view operation, fs::path path)
    : operation_(operation), path_(std::move(path)) {
  std::error_code error;
  const fs::file_status status = fs::status(path_, error);
  if (status.type() == fs::file_type::not_found) fail("there is no such file; check the path");
  if (status.type() == fs::file_type::directory) fail("this is a folder; name a file");
  if (status.type() == fs::file_type::none) fail("cannot be opened (" + error.message() + ")");
  // Devices and pipes have no size, so that nothing would bound what is read from them.
  if (status.type() != fs::file_type::regular) fail("this is not a regular file; copy it to one first");
  size_ = fs::file_size(path_, error);
  if (error) fail("its size cannot be read (" + error.message() + ")");
  stream_.open(path_, std::ios::binary);
  if (!stream_) fail("cannot be opened; check that you may read it");
}

void InputFile::read(std::span<std::uint8_t> bytes) {
  stream_.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (static_cast<std::size_t>(stream_.gcount()) != bytes.size()) {
    fail("reading stopped " + std::to_string(bytes.size() - static_cast<std::size_t>(stream_.gcount())) +
         " bytes early; is the file still being written?");
  }
}

void InputFile::fail(const std::string& problem) const {
  throw Error("[" + operation_ + "] " + shown(path_) + ": " + problem);
}

std::string shown(const fs::path& path) {
  std::string text = path.string();
  const auto control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; };
  std::replace_if(text.begin(), text.end(), control, '?');
  return text;
}

std::string read_text(std::string_view operation, const fs::path& path) {
  InputFile file(operation, path);
  std::string text;
  try {
    text.resize(static_cast<std::size_t>(file.size()));
  } catch (const std::exception&) {  // bad_alloc, or a length that no string has
    file.fail("its " + std::to_string(file.size()) + " bytes do not fit into memory; give a smaller file");
  }
  file.read({reinterpret_cast<std::uint8_t*>(text.data()), text.size()});
  return text;
}

std::string hexadecimal(std::uint32_t value, int digits) {
  std::string text = "0x";
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) text += "0123456789abcdef"[value >> shift & 15u];
  return text;
}

}  // namespace reprise::nn::data
