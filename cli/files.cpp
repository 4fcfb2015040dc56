#include "files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "reprise/error.h"

namespace reprise::cli {

namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, int error, std::string_view advice) {
  throw Error("[write] " + path.string() + " cannot be written (" + std::generic_category().message(error) +
              "); " + std::string(advice));
}

constexpr std::string_view kAdvice = "name a file in a folder that exists and that you may write to";

/// An open file that is closed, and if it was not kept removed, at the end of its scope.
class Output {
 public:
  Output(int descriptor, std::string temporary) : descriptor_(descriptor), temporary_(std::move(temporary)) {}
  ~Output() {
    if (descriptor_ >= 0) ::close(descriptor_);
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
  }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  bool write(std::string_view text) {
    while (!text.empty()) {
      const ssize_t written = ::write(descriptor_, text.data(), text.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return false;
      text.remove_prefix(static_cast<std::size_t>(written));
    }
    return true;
  }

  /// Some file systems report a full disk only here.
  bool close() { return ::close(std::exchange(descriptor_, -1)) == 0; }
  int descriptor() const { return descriptor_; }
  const std::string& temporary() const { return temporary_; }
  void keep() { temporary_.clear(); }

 private:
  int descriptor_;
  std::string temporary_;
};

void write_directly(const fs::path& path, std::string_view text) {
  Output output(::open(path.c_str(), O_WRONLY | O_CLOEXEC), {});
  if (output.descriptor() < 0 || !output.write(text)) fail(path, errno, kAdvice);
}

/// The permissions of the file that is replaced, or those that a new file would get.
mode_t permissions_of(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) return status.st_mode & 0777;
  const mode_t mask = ::umask(0);
  ::umask(mask);
  return 0666 & ~mask;
}

}  // namespace

void write_file_atomically(const fs::path& path, std::string_view text) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (fs::is_directory(status)) fail(path, EISDIR, "name a file in that folder");
  if (fs::exists(status) && !fs::is_regular_file(status)) return write_directly(path, text);
  // Behind a symbolic link it is the file that is replaced, not the link.
  const fs::path target = fs::exists(status) ? fs::canonical(path, error) : path;
  std::string temporary = target.string() + ".XXXXXX";
  const int descriptor = ::mkstemp(temporary.data());
  if (descriptor < 0) fail(path, errno, kAdvice);
  Output output(descriptor, temporary);
  if (!output.write(text) || ::fchmod(descriptor, permissions_of(target)) != 0 || !output.close()) {
    fail(path, errno, "check that the disk has room");
  }
  if (::rename(temporary.c_str(), target.c_str()) != 0) fail(path, errno, kAdvice);
  output.keep();
}

}  // namespace reprise::cli
