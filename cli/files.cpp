#include "cli/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <random>
#include <system_error>

#include "cli/signals.h"
#include "cli/utf8.h"
#include "reprise/error.h"

namespace reprise::cli {

namespace {

namespace fs = std::filesystem;

std::string advice_for(const fs::path& path, int error) {
  switch (error) {
    case EISDIR:
      return "it is a folder; name a file in that folder";
    case ENAMETOOLONG:
      return "give a shorter name";
    case ENOSPC:
    case EDQUOT:
      return "make room on the disk, or name a file on another";
    case EFBIG:
      return "raise the limit on file sizes (ulimit -f)";
    case EPIPE:
      return "its reader has gone; keep it until the program ends";
    case ENOENT: {
      const fs::path folder = path.parent_path();
      std::error_code ignored;
      if (!folder.empty() && !fs::is_directory(folder, ignored)) {
        return fmt::format("there is no folder {}: make it first, or name a folder that exists",
                           printable(folder.string()));
      }
      [[fallthrough]];
    }
    default:
      return "name a file in a folder that exists and that you may write to";
  }
}

[[noreturn]] void fail(const fs::path& path, int error) {
  throw Error(fmt::format("[write] {} cannot be written ({}); {}", printable(path.string()),
                          std::generic_category().message(error), advice_for(path, error)));
}

/// An open file; closed at the end of its scope.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  bool is_open() const { return number_ >= 0; }
  bool write(std::string_view text) const {
    while (!text.empty()) {
      const ssize_t written = ::write(number_, text.data(), text.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return false;
      text.remove_prefix(static_cast<std::size_t>(written));
    }
    return true;
  }
  bool set_permissions(mode_t mode) const { return ::fchmod(number_, mode) == 0; }
  /// What the disk holds from here on survives a loss of power; some file systems know no such thing.
  bool sync() const {
    return ::fsync(number_) == 0 || errno == EINVAL || errno == ENOTSUP || errno == ENOSYS;
  }
  /// Some file systems report a full disk only here.
  bool close() { return ::close(std::exchange(number_, -1)) == 0; }

 private:
  int number_;
};

/// The permissions of the file that is replaced, or those that a new file would get.
mode_t permissions_of(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) return status.st_mode & 0777;
  const mode_t mask = ::umask(0);
  ::umask(mask);
  return 0666 & ~mask;
}

/// What symbolic links lead to: it is replaced, or made, and the link stays.
fs::path behind_links(fs::path path) {
  constexpr int kMostLinks = 40;  // as many as the system follows
  std::error_code error;
  if (fs::exists(path, error)) {
    const fs::path found = fs::canonical(path, error);
    return error ? path : found;
  }
  for (int i = 0; i < kMostLinks && fs::is_symlink(fs::symlink_status(path, error)); ++i) {
    const fs::path to = fs::read_symlink(path, error);
    if (error) break;
    path = to.is_absolute() ? to : path.parent_path() / to;
  }
  return path;
}

/// The standard output or error that goes to the same place; -1: neither does.
int stream_of(const struct stat& place) {
  for (const int stream : {STDOUT_FILENO, STDERR_FILENO}) {
    struct stat status {};
    const bool same =
        ::fstat(stream, &status) == 0 && status.st_dev == place.st_dev && status.st_ino == place.st_ino;
    if (same) return stream;
  }
  return -1;
}

/// Where `path` leads to. Throws Error for a folder and for what cannot even be looked at.
struct Target {
  fs::path path;
  bool there = false;
  bool replaced = true;  // as a whole: a file of its own, or none yet
  int stream = -1;       // of the program, that it is: /dev/stdout

  explicit Target(const fs::path& named) : path(named) {
    struct stat status {};
    there = ::stat(named.c_str(), &status) == 0;
    if (!there && errno != ENOENT) fail(named, errno);
    if (!there && !named.has_filename()) fail(named, named.empty() ? ENOENT : EISDIR);
    if (there && S_ISDIR(status.st_mode)) fail(named, EISDIR);
    if (there) stream = stream_of(status);
    replaced = !there || (S_ISREG(status.st_mode) && stream < 0);
    if (replaced) path = behind_links(named);
  }
};

/// Of a length that does not depend on the file's, so that any name that is short enough for it will do.
std::string temporary_beside(const fs::path& path) {
  std::random_device random;
  return (path.parent_path() / fmt::format(".reprise-{:08x}{:08x}", random(), random())).string();
}

/// Makes a temporary file with `text`, ready to take the place of `target`.
void write_temporary(const fs::path& named, const fs::path& target, const std::string& temporary,
                     std::string_view text) {
  Descriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file.is_open() || !file.write(text) || !file.set_permissions(permissions_of(target)) || !file.sync() ||
      !file.close())
    fail(named, errno);
}

/// Goes on where the program's own output is, if it goes to the same place.
void write_directly(const fs::path& named, const Target& target, std::string_view text) {
  Descriptor file(target.stream >= 0 ? ::dup(target.stream)
                                     : ::open(target.path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY));
  if (!file.is_open() || !file.write(text) || !file.close()) fail(named, errno);
}

/// The same for all names of a file, there or not.
fs::path identity(const fs::path& path) {
  std::error_code error;
  const fs::path target = behind_links(path);
  const fs::path folder = target.has_parent_path() ? target.parent_path() : fs::path(".");
  const fs::path found = fs::weakly_canonical(folder, error);
  return (error ? folder : found) / target.filename();
}

}  // namespace

void write_file_atomically(const fs::path& path, std::string_view text) {
  const Target target(path);
  if (!target.replaced) return write_directly(path, target, text);
  ShortLivedFile temporary(temporary_beside(target.path));
  write_temporary(path, target.path, temporary.path(), text);
  if (::rename(temporary.path().c_str(), target.path.c_str()) != 0) fail(path, errno);
  temporary.keep();
}

void require_writable(const fs::path& path) {
  if (path.empty()) return;
  const Target target(path);
  if (target.there && ::access(target.path.c_str(), W_OK) != 0) fail(path, errno);
  if (!target.replaced) return;
  constexpr std::size_t kTrialBytes = 4096;
  const ShortLivedFile trial(temporary_beside(target.path));
  write_temporary(path, target.path, trial.path(), std::string(kTrialBytes, ' '));
}

EmptyFolders::EmptyFolders(const fs::path& path) {
  std::error_code error;
  const fs::path whole = path.empty() ? path : fs::absolute(path, error).lexically_normal();
  for (fs::path folder = whole; folder.has_relative_path() && !fs::exists(fs::symlink_status(folder, error));
       folder = folder.parent_path())
    folders_.push_back(folder);
}

EmptyFolders::~EmptyFolders() {
  for (const fs::path& folder : folders_) {
    std::error_code error;
    // Removes no folder that holds something, and nothing that has come there in a folder's place.
    if (::rmdir(folder.c_str()) != 0 && fs::exists(folder, error)) return;
  }
}

bool replaced_as_a_whole(const fs::path& path) { return Target(path).replaced; }

void require_distinct(const std::vector<NamedFile>& written, const std::vector<NamedFile>& read) {
  std::vector<NamedFile> others = read;
  for (const auto& [option, path] : written) {
    if (path.empty()) continue;
    const bool replaced = replaced_as_a_whole(path);
    for (const auto& [other, other_path] : others) {
      if (!replaced || other_path.empty() || identity(path) != identity(other_path)) continue;
      throw ValueError(fmt::format("[write] {} and {} name the same file, {}; name two", other, option,
                                   printable(path.string())));
    }
    others.emplace_back(option, path);
  }
}

}  // namespace reprise::cli
