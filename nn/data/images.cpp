#include <algorithm>
#include <initializer_list>

#include "file.h"
#include "reprise/error.h"
#include "reprise/nn/data.h"

namespace reprise::nn {

namespace {

namespace fs = std::filesystem;
using data::InputFile;
using data::shown;

constexpr int kCifarSide = 32;
constexpr int kCifarClasses = 10;
constexpr std::size_t kCifarRecordBytes = 1 + 3 * kCifarSide * kCifarSide;

/// Larger sides are taken for a damaged header.
constexpr std::uint32_t kMaxSide = 65535;

bool is_file(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

template <std::size_t kWords>
std::array<std::uint32_t, kWords> read_big_endian(InputFile& file) {
  std::array<std::uint8_t, 4 * kWords> bytes{};
  if (file.size() < bytes.size()) {
    file.fail("it has " + std::to_string(file.size()) + " bytes, fewer than the " +
              std::to_string(bytes.size()) + " of an IDX header; fetch the file again");
  }
  file.read(bytes);
  std::array<std::uint32_t, kWords> words{};
  for (std::size_t i = 0; i < bytes.size(); ++i) words[i / 4] = words[i / 4] << 8 | bytes[i];
  return words;
}

void check_magic(const InputFile& file, std::uint32_t magic, std::uint32_t expected, std::string_view what) {
  if (magic == expected) return;
  const bool gzip = magic >> 16 == 0x1F8B;
  file.fail("it begins with " + data::hexadecimal(magic, 8) + ", not " + data::hexadecimal(expected, 8) +
            ", so it is no IDX file of " + std::string(what) + "; " +
            (gzip ? "it is compressed: run gunzip on it" : "check which file this is"));
}

/// Fails unless exactly `count` items of `item_bytes` follow a header of `header_bytes`.
void check_length(const InputFile& file, std::uint64_t header_bytes, std::uint64_t count,
                  std::uint64_t item_bytes, const std::string& what) {
  const std::uint64_t body_bytes = file.size() - header_bytes;
  // Division, because a damaged header can name more bytes than 64 bits count.
  if (body_bytes / item_bytes == count && body_bytes % item_bytes == 0) return;
  file.fail("its header promises " + std::to_string(count) + " " + what + " of " +
            std::to_string(item_bytes) + " bytes, but " + std::to_string(body_bytes) +
            " bytes follow it; fetch the file again");
}

void check_label(const InputFile& file, std::int64_t index, int label, int classes) {
  if (label < classes) return;
  file.fail("label " + std::to_string(label) + " of image " + std::to_string(index) + " is not one of " +
            std::to_string(classes) + " classes; fetch the file again");
}

void read_idx_pixels(const fs::path& path, ImageSet& set) {
  InputFile file("load_images", path);
  const auto [magic, count, height, width] = read_big_endian<4>(file);
  check_magic(file, magic, 0x00000803, "images");
  if (height < 1 || width < 1 || height > kMaxSide || width > kMaxSide) {
    file.fail("images of " + std::to_string(height) + " x " + std::to_string(width) +
              " pixels are not readable; fetch the file again");
  }
  check_length(file, 16, count, std::uint64_t{height} * width, "images");
  set.count = count;
  set.channels = 1;
  set.height = static_cast<int>(height);
  set.width = static_cast<int>(width);
  set.pixels.resize(static_cast<std::size_t>(set.count * set.image_bytes()));
  file.read(set.pixels);
}

void read_idx_labels(const fs::path& path, int classes, ImageSet& set) {
  InputFile file("load_images", path);
  const auto [magic, count] = read_big_endian<2>(file);
  check_magic(file, magic, 0x00000801, "labels");
  check_length(file, 8, count, 1, "labels");
  if (count != set.count) {
    file.fail("it has " + std::to_string(count) + " labels for " + std::to_string(set.count) +
              " images; use the two files that belong together");
  }
  std::vector<std::uint8_t> labels(count);
  file.read(labels);
  set.labels.assign(labels.begin(), labels.end());
  const int found = labels.empty() ? 0 : 1 + *std::max_element(labels.begin(), labels.end());
  set.classes = classes > 0 ? classes : found;
  for (std::int64_t i = 0; i < set.count; ++i) {
    check_label(file, i, set.labels[static_cast<std::size_t>(i)], set.classes);
  }
}

/// The first of several spellings of a file's name that is there; the first spelling when none is.
fs::path first_present(const fs::path& folder, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (is_file(folder / name)) return folder / name;
  }
  return folder / *names.begin();
}

ImageData load_idx(const fs::path& folder) {
  ImageData data;
  data.name = "IDX images in " + shown(folder);
  data.train = read_idx(first_present(folder, {"train-images-idx3-ubyte", "train-images.idx3-ubyte"}),
                        first_present(folder, {"train-labels-idx1-ubyte", "train-labels.idx1-ubyte"}));
  const fs::path test_images = first_present(folder, {"t10k-images-idx3-ubyte", "t10k-images.idx3-ubyte",
                                                      "test-images-idx3-ubyte", "test-images.idx3-ubyte"});
  const fs::path test_labels = first_present(folder, {"t10k-labels-idx1-ubyte", "t10k-labels.idx1-ubyte",
                                                      "test-labels-idx1-ubyte", "test-labels.idx1-ubyte"});
  data.test = read_idx(test_images, test_labels, data.train.classes);
  if (data.test.height != data.train.height || data.test.width != data.train.width) {
    throw Error("[load_images] " + shown(test_images) + ": images of " + std::to_string(data.test.height) +
                " x " + std::to_string(data.test.width) + " pixels, but those for training have " +
                std::to_string(data.train.height) + " x " + std::to_string(data.train.width) +
                "; use the files that belong together");
  }
  for (int label = 0; label < data.train.classes; ++label) data.class_names.push_back(std::to_string(label));
  return data;
}

ImageData load_cifar10(const fs::path& folder) {
  std::vector<fs::path> train;
  for (int batch = 1; batch <= 5; ++batch)
    train.push_back(folder / ("data_batch_" + std::to_string(batch) + ".bin"));
  const std::array<fs::path, 1> test{folder / "test_batch.bin"};
  ImageData data;
  data.name = "CIFAR-10 in " + shown(folder);
  data.class_names = {"airplane", "automobile", "bird",  "cat",  "deer",
                      "dog",      "frog",       "horse", "ship", "truck"};
  data.train = read_cifar10(train);
  data.test = read_cifar10(test);
  return data;
}

}  // namespace

ImageSet read_idx(const fs::path& images, const fs::path& labels, int classes) {
  ImageSet set;
  read_idx_pixels(images, set);
  read_idx_labels(labels, classes, set);
  return set;
}

ImageSet read_cifar10(std::span<const fs::path> files) {
  ImageSet set{.channels = 3, .height = kCifarSide, .width = kCifarSide, .classes = kCifarClasses};
  std::array<std::uint8_t, kCifarRecordBytes> record{};
  for (const fs::path& path : files) {
    InputFile file("load_images", path);
    if (file.size() == 0 || file.size() % kCifarRecordBytes != 0) {
      file.fail("its " + std::to_string(file.size()) + " bytes are not whole CIFAR-10 records of " +
                std::to_string(kCifarRecordBytes) + "; fetch the file again (the binary version)");
    }
    const std::uint64_t count = file.size() / kCifarRecordBytes;
    set.pixels.reserve(set.pixels.size() + static_cast<std::size_t>(count) * (kCifarRecordBytes - 1));
    for (std::uint64_t i = 0; i < count; ++i) {
      file.read(record);
      check_label(file, static_cast<std::int64_t>(i), record[0], kCifarClasses);
      set.labels.push_back(record[0]);
      set.pixels.insert(set.pixels.end(), record.begin() + 1, record.end());
    }
    set.count += static_cast<std::int64_t>(count);
  }
  return set;
}

ImageData load_images(const fs::path& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) {
    throw Error("[load_images] " + shown(folder) + ": " +
                (fs::exists(folder, error) ? "this is not a folder; name the folder that holds the files"
                                           : "there is no such folder; check the path"));
  }
  for (const fs::path& place : {folder, folder / "cifar-10-batches-bin"}) {
    if (is_file(place / "data_batch_1.bin") || is_file(place / "test_batch.bin")) return load_cifar10(place);
  }
  bool compressed = false;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.find("idx3-ubyte") == std::string::npos && name.find("idx1-ubyte") == std::string::npos)
      continue;
    if (!name.ends_with(".gz")) return load_idx(folder);
    compressed = true;
  }
  if (compressed) {
    throw Error("[load_images] " + shown(folder) +
                ": the IDX files are compressed; run gunzip on the .gz files");
  }
  throw Error(
      "[load_images] " + shown(folder) +
      ": neither MNIST's IDX files (train-images-idx3-ubyte, ...) nor CIFAR-10's (data_batch_1.bin, ...) are "
      "here; name the folder that holds them");
}

}  // namespace reprise::nn
