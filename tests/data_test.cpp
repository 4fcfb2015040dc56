#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <string>

#include "reprise/error.h"
#include "reprise/nn/data.h"
#include "temporary_folder.h"

using namespace reprise;
using namespace reprise::nn;
namespace fs = std::filesystem;
using Catch::Matchers::Contains;

namespace {

struct Folder : TemporaryFolder {
  fs::path write(const fs::path& name, const std::string& bytes) const {
    fs::create_directories((path / name).parent_path());
    std::ofstream(path / name, std::ios::binary) << bytes;
    return path / name;
  }
};

std::string words(std::initializer_list<std::uint32_t> values) {
  std::string bytes;
  for (const std::uint32_t value : values) {
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift & 255u);
  }
  return bytes;
}

std::string idx_images(std::uint32_t count, std::uint32_t height, std::uint32_t width) {
  std::string bytes = words({0x803, count, height, width});
  for (std::uint32_t i = 0; i < count * height * width; ++i) bytes += static_cast<char>(i * 7 % 256);
  return bytes;
}

std::string idx_labels(std::uint32_t count, std::uint32_t classes) {
  std::string bytes = words({0x801, count});
  for (std::uint32_t i = 0; i < count; ++i) bytes += static_cast<char>(i % classes);
  return bytes;
}

std::string cifar_records(int count, int first_label) {
  std::string bytes;
  for (int i = 0; i < count; ++i) {
    bytes += static_cast<char>((first_label + i) % 10);
    for (int pixel = 0; pixel < 3072; ++pixel)
      bytes += static_cast<char>((pixel / 1024 * 80 + pixel % 32 + i) % 256);
  }
  return bytes;
}

/// What `f` throws as an Error; every message must be one line that begins with an operation.
template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    std::string message = error.what();
    CHECK(message.front() == '[');
    CHECK(message.find('\n') == std::string::npos);
    CHECK(message.find("; ") != std::string::npos);
    return message;
  }
  FAIL("nothing was thrown");
  return {};
}

std::uint64_t checksum(const std::vector<std::uint8_t>& bytes) {
  std::uint64_t hash = 14695981039346656037u;
  for (const std::uint8_t byte : bytes) hash = (hash ^ byte) * 1099511628211u;
  return hash;
}

/// Of the pixels of forty shapes drawn with seed 1.
constexpr std::uint64_t kTrainChecksum = 0xA2DDBD238F73458Cu;

struct TokenBatch {
  std::vector<std::int32_t> inputs, targets;
  TokenBatch(const TextCorpus& corpus, Split split, std::uint64_t seed, std::uint64_t step,
             std::int64_t batch, std::int64_t seq)
      : inputs(static_cast<std::size_t>(batch * seq)), targets(inputs.size()) {
    corpus.random_batch(split, seed, step, batch, seq, std::span(inputs), std::span(targets));
  }
};

}  // namespace

TEST_CASE("a corpus numbers the bytes that occur in ascending order", "[data]") {
  const TextCorpus corpus("banana\n\xFF");
  CHECK(corpus.vocabulary() == "\nabn\xFF");
  CHECK(corpus.vocabulary_size() == 5);
  CHECK(corpus.encode("nab") == std::vector<std::int32_t>{3, 1, 2});
  CHECK(corpus.decode(corpus.encode("banana\n\xFF")) == "banana\n\xFF");
  CHECK(corpus.encode("").empty());
  CHECK_THAT(error_of([&] { corpus.encode("bat"); }), Contains("'t' at byte 2"));
  CHECK_THAT(error_of([&] { corpus.encode(std::string_view("\0", 1)); }), Contains("0x00"));
  CHECK_THAT(error_of([&] { corpus.decode(std::array{0, 5}); }), Contains("token 5"));
  CHECK_THAT(error_of([&] { corpus.decode(std::array{-1}); }), Contains("token -1"));
  CHECK_THROWS_AS(TextCorpus(""), ValueError);
}

TEST_CASE("a corpus of all bytes uses 256 tokens", "[data]") {
  std::string text;
  for (int byte = 255; byte >= 0; --byte) text += static_cast<char>(byte);
  const TextCorpus corpus(text);
  CHECK(corpus.vocabulary_size() == 256);
  CHECK(corpus.decode(corpus.encode(text)) == text);
}

TEST_CASE("nine tenths of a corpus are for training", "[data]") {
  for (const std::size_t length : {1u, 9u, 10u, 11u, 19u, 100u, 1115394u}) {
    const TextCorpus corpus(std::string(length, 'x'));
    CAPTURE(length);
    CHECK(corpus.size(Split::train) == static_cast<std::int64_t>(length * 9 / 10));
    CHECK(corpus.size(Split::train) + corpus.size(Split::validation) == static_cast<std::int64_t>(length));
  }
}

TEST_CASE("random batches are windows of the text, targets one token ahead", "[data]") {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += static_cast<char>(i % 251);
  const TextCorpus corpus(text);
  for (const Split split : {Split::train, Split::validation}) {
    for (const std::int64_t seq : {1, 31, 32, 33}) {
      const TokenBatch batch(corpus, split, 7, 3, 5, seq);
      const std::string part = split == Split::train ? text.substr(0, 900) : text.substr(900);
      for (std::int64_t row = 0; row < 5; ++row) {
        const auto first = static_cast<std::size_t>(row * seq);
        const auto length = static_cast<std::size_t>(seq);
        std::string window = corpus.decode(std::span(batch.inputs).subspan(first, length));
        const std::string ahead = corpus.decode(std::span(batch.targets).subspan(first, length));
        window += ahead.back();
        CHECK(part.find(window) != std::string::npos);
        CHECK(ahead == window.substr(1));
      }
    }
  }
}

TEST_CASE("random batches are a function of seed and step", "[data]") {
  const TextCorpus corpus(
      std::string("the quick brown fox jumps over the lazy dog, again and again. ") +
      std::string("pack my box with five dozen liquor jugs; sphinx of black quartz, judge my vow."));
  const auto draw = [&](std::uint64_t seed, std::uint64_t step) {
    return TokenBatch(corpus, Split::train, seed, step, 8, 16).inputs;
  };
  CHECK(draw(1, 5) == draw(1, 5));
  CHECK(draw(1, 5) != draw(1, 6));
  CHECK(draw(1, 5) != draw(2, 5));
  CHECK(draw(5, 1) != draw(1, 5));

  std::vector<std::int64_t> inputs(8 * 16);
  std::vector<std::int64_t> targets(8 * 16);
  corpus.random_batch(Split::train, 1, 5, 8, 16, std::span(inputs), std::span(targets));
  const TokenBatch narrow(corpus, Split::train, 1, 5, 8, 16);
  CHECK(std::equal(inputs.begin(), inputs.end(), narrow.inputs.begin(), narrow.inputs.end()));
  CHECK(std::equal(targets.begin(), targets.end(), narrow.targets.begin(), narrow.targets.end()));
}

TEST_CASE("every window of a corpus is drawn about equally often", "[data]") {
  const TextCorpus corpus("abcdefghij");  // nine tokens for training: eight windows of one token
  std::array<int, 8> counts{};
  constexpr int steps = 1000;
  for (std::uint64_t step = 0; step < steps; ++step) {
    for (const std::int32_t token : TokenBatch(corpus, Split::train, 11, step, 8, 1).inputs) {
      REQUIRE(token < 8);
      ++counts[static_cast<std::size_t>(token)];
    }
  }
  for (const int count : counts) CHECK(std::abs(count - steps) < 5 * std::sqrt(steps));
}

TEST_CASE("windows for validation follow one another", "[data]") {
  const TextCorpus corpus(std::string(90, 'a') + "bcdefghijk");
  CHECK(corpus.windows(Split::validation, 3) == 3);
  CHECK(corpus.windows(Split::validation, 9) == 1);
  CHECK(corpus.windows(Split::validation, 10) == 0);
  std::vector<std::int32_t> inputs(6);
  std::vector<std::int32_t> targets(6);
  corpus.window_batch(Split::validation, 1, 2, 3, std::span(inputs), std::span(targets));
  CHECK(corpus.decode(inputs) == "efghij");
  CHECK(corpus.decode(targets) == "fghijk");
  CHECK_THAT(error_of([&] {
               corpus.window_batch(Split::validation, 2, 2, 3, std::span(inputs), std::span(targets));
             }),
             Contains("has 3 of 3 tokens"));
  CHECK_THROWS_AS(corpus.window_batch(Split::validation, -1, 2, 3, std::span(inputs), std::span(targets)),
                  ValueError);
  CHECK_THROWS_AS(corpus.windows(Split::validation, 0), ValueError);
}

TEST_CASE("batches of a corpus refuse what does not fit", "[data]") {
  const TextCorpus corpus(std::string(100, 'a'));
  std::vector<std::int32_t> inputs(8);
  std::vector<std::int32_t> targets(8);
  const auto draw = [&](std::int64_t batch, std::int64_t seq) {
    corpus.random_batch(Split::validation, 0, 0, batch, seq, std::span(inputs), std::span(targets));
  };
  draw(2, 4);
  CHECK_THROWS_AS(draw(2, 5), ShapeError);
  CHECK_THROWS_AS(draw(-2, -4), ValueError);
  CHECK_THROWS_AS(draw(8, 0), ValueError);
  CHECK_THROWS_AS(draw(std::int64_t{1} << 62, 8), ShapeError);
  targets.resize(7);
  CHECK_THROWS_AS(draw(2, 4), ShapeError);
  inputs.resize(10);
  targets.resize(10);
  CHECK_THAT(error_of([&] { draw(1, 10); }), Contains("validation part") && Contains("10 tokens, too few"));
  inputs.clear();
  targets.clear();
  CHECK_NOTHROW(draw(0, 4));
}

TEST_CASE("a corpus is read from a file", "[data]") {
  const Folder folder;
  const fs::path path = folder.write("text.txt", "some\r\ntext\n");
  CHECK(TextCorpus::from_file(path).vocabulary() == "\n\remostx");
  CHECK_THAT(error_of([&] { TextCorpus::from_file(folder.path / "none.txt"); }), Contains("no such file"));
  CHECK_THAT(error_of([&] { TextCorpus::from_file(folder.path); }), Contains("folder"));
  CHECK_THAT(error_of([&] { TextCorpus::from_file(folder.write("empty", "")); }), Contains("is empty"));
  CHECK_THAT(error_of([&] { TextCorpus::from_file("/dev/zero"); }), Contains("not a regular file"));
}

TEST_CASE("the project's sources are joined in the order of their paths", "[data]") {
  const Folder folder;
  folder.write("nn/b.h", "B");
  folder.write("nn/a/z.cpp", "Z\n");
  folder.write("kernels/README.md", "K\n");
  folder.write("cli/main.cpp", "M\n");
  folder.write("cli/CMakeLists.txt", "no\n");
  folder.write("tests/t.cpp", "no\n");
  CHECK(project_sources(folder.path) == "M\n\nK\n\nZ\n\nB\n\n");
  CHECK_THAT(error_of([&] { project_sources(folder.path / "tests"); }), Contains("no .h, .cpp or .md files"));
}

TEST_CASE("IDX files are read as they were written", "[data]") {
  const Folder folder;
  folder.write("train-images-idx3-ubyte", idx_images(7, 3, 5));
  folder.write("train-labels-idx1-ubyte", idx_labels(7, 4));
  const std::string prefix = GENERATE("t10k-", "test-");
  const bool dotted = GENERATE(false, true);
  folder.write(prefix + (dotted ? "images.idx3-ubyte" : "images-idx3-ubyte"), idx_images(2, 3, 5));
  folder.write(prefix + (dotted ? "labels.idx1-ubyte" : "labels-idx1-ubyte"), idx_labels(2, 2));
  const ImageData data = load_images(folder.path);
  CHECK(data.train.count == 7);
  CHECK(data.train.channels == 1);
  CHECK(data.train.height == 3);
  CHECK(data.train.width == 5);
  CHECK(data.train.classes == 4);
  CHECK(data.test.count == 2);
  CHECK(data.test.classes == 4);
  CHECK(data.class_names == std::vector<std::string>{"0", "1", "2", "3"});
  CHECK(data.train.labels == std::vector<std::int32_t>{0, 1, 2, 3, 0, 1, 2});
  for (std::size_t i = 0; i < data.train.pixels.size(); ++i) REQUIRE(data.train.pixels[i] == i * 7 % 256);
  CHECK(data.train.image(1)[0] == 105);
}

TEST_CASE("IDX files that are not right are refused", "[data]") {
  struct Wrong {
    const char* name;
    std::string images, labels;
    const char* words;
  };
  const std::string images = idx_images(4, 2, 2);
  const std::string labels = idx_labels(4, 2);
  const Wrong wrong = GENERATE_COPY(values<Wrong>({
      {"empty images", "", labels, "0 bytes, fewer than the 16"},
      {"header cut short", images.substr(0, 15), labels, "fewer than the 16"},
      {"images cut short", images.substr(0, images.size() - 1), labels,
       "promises 4 images of 4 bytes, but 15"},
      {"images too long", images + "x", labels, "but 17 bytes follow"},
      {"labels as images", labels + "12345678", labels, "begins with 0x00000801"},
      {"compressed", "\x1F\x8B\x08" + std::string(20, '\1'), labels, "run gunzip"},
      {"no height", words({0x803, 4, 0, 2}), labels, "0 x 2 pixels"},
      {"sides that multiply to 0 in 64 bits", words({0x803, 4, 0x80000000, 0x80000000}), labels,
       "not readable"},
      {"far too many", words({0x803, 0xFFFFFFFF, 65535, 65535}), labels, "promises 4294967295 images"},
      {"empty labels", images, "", "fewer than the 8"},
      {"labels cut short", images, labels.substr(0, 11), "promises 4 labels"},
      {"wrong magic of labels", images, images, "IDX file of labels"},
      {"fewer labels", images, idx_labels(3, 2), "3 labels for 4 images"},
      {"label out of range", images, words({0x801, 4}) + std::string("\0\1\2\3", 4), "label 3 of image 3"},
  }));
  CAPTURE(wrong.name);
  const Folder folder;
  const fs::path image_path = folder.write("i", wrong.images);
  const fs::path label_path = folder.write("l", wrong.labels);
  const std::string message = error_of([&] { read_idx(image_path, label_path, 3); });
  CHECK_THAT(message, Contains(wrong.words));
  CHECK_THAT(message, Contains(folder.path.string()));
}

TEST_CASE("an IDX pair without images is an empty set", "[data]") {
  const Folder folder;
  const ImageSet set = read_idx(folder.write("i", idx_images(0, 2, 2)), folder.write("l", idx_labels(0, 2)));
  CHECK(set.count == 0);
  CHECK(set.classes == 0);
  CHECK_THROWS_AS(normalisation_of(set), ValueError);
}

TEST_CASE("folders of images that are not right are refused", "[data]") {
  const Folder folder;
  CHECK_THAT(error_of([&] { load_images(folder.path / "none"); }), Contains("no such folder"));
  CHECK_THAT(error_of([&] { load_images(folder.write("f", "")); }), Contains("not a folder"));
  CHECK_THAT(error_of([&] { load_images(folder.path); }), Contains("neither MNIST's"));
  folder.write("train-images-idx3-ubyte.gz", "");
  CHECK_THAT(error_of([&] { load_images(folder.path); }), Contains("run gunzip"));
  folder.write("train-images-idx3-ubyte", idx_images(2, 2, 2));
  CHECK_THAT(error_of([&] { load_images(folder.path); }),
             Contains("train-labels-idx1-ubyte: there is no such file"));
  folder.write("train-labels-idx1-ubyte", idx_labels(2, 2));
  CHECK_THAT(error_of([&] { load_images(folder.path); }),
             Contains("t10k-images-idx3-ubyte: there is no such file"));
  folder.write("t10k-images-idx3-ubyte", idx_images(2, 2, 3));
  folder.write("t10k-labels-idx1-ubyte", idx_labels(2, 2));
  CHECK_THAT(error_of([&] { load_images(folder.path); }), Contains("those for training have 2 x 2"));
  folder.write("t10k-images-idx3-ubyte", idx_images(3, 2, 2));
  folder.write("t10k-labels-idx1-ubyte", idx_labels(3, 3));
  CHECK_THAT(error_of([&] { load_images(folder.path); }),
             Contains("label 2 of image 2 is not one of 2 classes"));
}

TEST_CASE("CIFAR-10 batches are read in order", "[data]") {
  const Folder folder;
  const fs::path inner = GENERATE(as<fs::path>{}, "", "cifar-10-batches-bin");
  for (int batch = 1; batch <= 5; ++batch) {
    folder.write(inner / ("data_batch_" + std::to_string(batch) + ".bin"), cifar_records(batch, batch));
  }
  CHECK_THAT(error_of([&] { load_images(folder.path); }), Contains("test_batch.bin: there is no such file"));
  folder.write(inner / "test_batch.bin", cifar_records(2, 9));
  const ImageData data = load_images(folder.path);
  CHECK(data.train.count == 15);
  CHECK(data.train.channels == 3);
  CHECK(data.train.classes == 10);
  CHECK(data.test.labels == std::vector<std::int32_t>{9, 0});
  CHECK(data.class_names.size() == 10);
  CHECK(data.train.labels[3] == 3);
  CHECK(data.train.image(2)[1024 + 5] == 86);

  folder.write(inner / "data_batch_2.bin", cifar_records(2, 0) + "x");
  CHECK_THAT(error_of([&] { load_images(folder.path); }),
             Contains("data_batch_2.bin") && Contains("6147 bytes"));
  folder.write(inner / "data_batch_2.bin", "");
  CHECK_THAT(error_of([&] { load_images(folder.path); }), Contains("not whole CIFAR-10 records"));
  std::string records = cifar_records(2, 0);
  records[3073] = 10;
  folder.write(inner / "data_batch_2.bin", records);
  CHECK_THAT(error_of([&] { load_images(folder.path); }), Contains("label 10 of image 1"));
}

TEST_CASE("drawn shapes are the same everywhere, balanced, and grow without changing", "[data]") {
  const ImageData data = draw_shapes(40, 20, 1);
  CHECK(data.train.classes == 10);
  CHECK(data.class_names.size() == 10);
  CHECK(data.train.pixels.size() == 40 * 3072);
  for (std::size_t i = 0; i < 40; ++i) CHECK(data.train.labels[i] == static_cast<int>(i % 10));
  CHECK(checksum(data.train.pixels) == kTrainChecksum);
  const ImageData fewer = draw_shapes(13, 0, 1);
  CHECK(std::equal(fewer.train.pixels.begin(), fewer.train.pixels.end(), data.train.pixels.begin()));
  CHECK(fewer.test.count == 0);
  CHECK_FALSE(std::equal(data.test.pixels.begin(), data.test.pixels.end(), data.train.pixels.begin()));
  CHECK(draw_shapes(1, 0, 2).train.pixels != draw_shapes(1, 0, 1).train.pixels);
  CHECK_THROWS_AS(draw_shapes(-1, 0, 1), ValueError);
  for (const std::int64_t count : {INT64_MAX, INT64_MAX / 3072 + 1, std::int64_t{1} << 52})
    CHECK_THROWS_WITH(draw_shapes(count, 0, 1), Contains("[draw_shapes]") && Contains(std::to_string(count)));
}

TEST_CASE("normalisation is the mean and deviation of each channel", "[data]") {
  const ImageSet set = draw_shapes(23, 0, 4).train;
  const Normalisation found = normalisation_of(set);
  REQUIRE(found.mean.size() == 3);
  for (std::size_t channel = 0; channel < 3; ++channel) {
    double sum = 0.0;
    double squares = 0.0;
    for (std::int64_t i = 0; i < set.count; ++i) {
      for (const std::uint8_t pixel : set.image(i).subspan(channel * 1024, 1024)) {
        sum += pixel / 255.0;
        squares += pixel / 255.0 * (pixel / 255.0);
      }
    }
    const double mean = sum / (23 * 1024);
    CHECK(found.mean[channel] == Approx(mean).epsilon(1e-6));
    CHECK(found.deviation[channel] == Approx(std::sqrt(squares / (23 * 1024) - mean * mean)).epsilon(1e-6));
  }
  ImageSet constant{.count = 1, .channels = 1, .height = 2, .width = 2, .classes = 1};
  constant.pixels.assign(4, 255);
  CHECK(normalisation_of(constant).mean[0] == 1.0f);
  CHECK(normalisation_of(constant).deviation[0] == 1.0f);
}

TEST_CASE("an epoch visits everything once, in an order of its own", "[data]") {
  for (const std::int64_t count : {0, 1, 2, 31, 1000}) {
    std::vector<std::int64_t> order = epoch_order(count, 3, 8);
    CHECK(order == epoch_order(count, 3, 8));
    if (count > 10) {
      CHECK(order != epoch_order(count, 3, 9));
      CHECK(order != epoch_order(count, 4, 8));
      CHECK_FALSE(std::is_sorted(order.begin(), order.end()));
    }
    std::sort(order.begin(), order.end());
    std::vector<std::int64_t> all(static_cast<std::size_t>(count));
    std::iota(all.begin(), all.end(), std::int64_t{0});
    CHECK(order == all);
  }
  CHECK_THROWS_AS(epoch_order(-1, 0, 0), ValueError);
  CHECK_THROWS_AS(epoch_order(INT64_MAX, 0, 0), OutOfMemory);
}

TEST_CASE("an image batch holds normalised pixels and labels", "[data]") {
  const ImageSet set = draw_shapes(12, 0, 9).train;
  const Normalisation normalisation = normalisation_of(set);
  const std::array<std::int64_t, 3> indices{11, 0, 11};
  std::vector<float> pixels(3 * 3072, std::nanf(""));
  std::vector<std::int64_t> labels(3);
  image_batch(set, normalisation, indices, std::span(pixels), std::span(labels));
  CHECK(labels == std::vector<std::int64_t>{1, 0, 1});
  for (std::size_t place = 0; place < pixels.size(); ++place) {
    const std::size_t channel = place % 3072 / 1024;
    const double value = set.image(indices[place / 3072])[place % 3072] / 255.0;
    const double expected = (value - normalisation.mean[channel]) / normalisation.deviation[channel];
    REQUIRE(pixels[place] == Approx(expected).margin(1e-5));
  }
}

TEST_CASE("augmented images are crops of the padded image or its mirror image", "[data]") {
  ImageSet set{.count = 40, .channels = 2, .height = 5, .width = 7, .classes = 1};
  set.pixels.resize(40 * 70);
  for (std::size_t i = 0; i < set.pixels.size(); ++i) set.pixels[i] = static_cast<std::uint8_t>(1 + i % 70);
  set.labels.assign(40, 0);
  const Normalisation identity{{0.0f, 0.0f}, {1.0f / 255.0f, 1.0f / 255.0f}};
  std::vector<std::int64_t> indices(40);
  std::iota(indices.begin(), indices.end(), std::int64_t{0});
  const auto batch = [&](const Augmentation& augmentation, std::span<const std::int64_t> chosen) {
    std::vector<float> pixels(chosen.size() * 70);
    std::vector<std::int32_t> labels(chosen.size());
    image_batch(set, identity, chosen, std::span(pixels), std::span(labels), augmentation);
    return pixels;
  };
  const auto crop = [&](int top, int left, bool mirrored) {
    std::vector<float> pixels;
    for (int channel = 0; channel < 2; ++channel) {
      for (int y = top; y < top + 5; ++y) {
        for (int i = 0; i < 7; ++i) {
          const int x = left + (mirrored ? 6 - i : i);
          const bool inside = y >= 0 && y < 5 && x >= 0 && x < 7;
          pixels.push_back(inside ? static_cast<float>(1 + channel * 35 + y * 7 + x) : 0.0f);
        }
      }
    }
    return pixels;
  };

  const Augmentation augmentation{.seed = 5, .epoch = 2, .padding = 2, .mirror = true};
  const std::vector<float> all = batch(augmentation, indices);
  int mirrored_count = 0;
  int moved_count = 0;
  for (std::size_t image = 0; image < 40; ++image) {
    int matches = 0;
    for (int top = -2; top <= 2; ++top) {
      for (int left = -2; left <= 2; ++left) {
        for (const bool mirrored : {false, true}) {
          const std::vector<float> expected = crop(top, left, mirrored);
          const bool same =
              std::equal(expected.begin(), expected.end(), all.begin() + static_cast<long>(image) * 70,
                         [](float a, float b) { return std::abs(a - b) < 1e-3f; });
          matches += same ? 1 : 0;
          mirrored_count += same && mirrored ? 1 : 0;
          moved_count += same && (top != 0 || left != 0) ? 1 : 0;
        }
      }
    }
    CHECK(matches == 1);
  }
  CHECK(mirrored_count > 8);
  CHECK(mirrored_count < 32);
  CHECK(moved_count > 25);

  const std::array<std::int64_t, 1> alone{17};
  const std::vector<float> single = batch(augmentation, alone);
  CHECK(std::equal(single.begin(), single.end(), all.begin() + 17 * 70));
  CHECK(batch({.seed = 5, .epoch = 3, .padding = 2}, indices) != all);
  CHECK(batch({.seed = 6, .epoch = 2, .padding = 2}, indices) != all);
  CHECK(batch({.seed = 6, .epoch = 2, .padding = 0, .mirror = false}, alone) ==
        batch({.padding = 0, .mirror = false}, alone));
}

TEST_CASE("image batches refuse what does not fit", "[data]") {
  const ImageSet set = draw_shapes(3, 0, 1).train;
  const Normalisation normalisation = normalisation_of(set);
  std::vector<float> pixels(2 * 3072);
  std::vector<std::int32_t> labels(2);
  const auto fill = [&](std::vector<std::int64_t> indices, const Normalisation& scale,
                        std::optional<Augmentation> how) {
    image_batch(set, scale, indices, std::span(pixels), std::span(labels), how);
  };
  CHECK_NOTHROW(fill({0, 2}, normalisation, {}));
  CHECK_THROWS_AS(fill({0}, normalisation, {}), ShapeError);
  CHECK_THROWS_AS(fill({0, 1, 2}, normalisation, {}), ShapeError);
  CHECK_THROWS_AS(fill({0, 1}, Normalisation{{0.0f}, {1.0f}}, {}), ShapeError);
  CHECK_THAT(error_of([&] { fill({0, 3}, normalisation, {}); }), Contains("no image 3"));
  CHECK_THAT(error_of([&] { fill({0, -1}, normalisation, {}); }), Contains("no image -1"));
  CHECK_THAT(error_of([&] {
               fill({0, 1}, normalisation, Augmentation{.padding = -1});
             }),
             Contains("padding -1"));
}

TEST_CASE("image sets that do not hold what they say are refused", "[data]") {
  const ImageSet good = draw_shapes(5, 0, 1).train;
  const Normalisation normalisation = normalisation_of(good);
  std::vector<float> pixels(3072);
  std::vector<std::int64_t> labels(1);
  const std::array<std::int64_t, 1> last{4};
  const auto fill = [&](const ImageSet& set, const Normalisation& scale) {
    image_batch(set, scale, last, std::span(pixels), std::span(labels));
  };
  CHECK_NOTHROW(fill(good, normalisation));
  const std::pair<const char*, void (*)(ImageSet&)> lies[] = {
      {"holds 0", [](ImageSet& set) { set.pixels.clear(); }},
      {"needs 15360 pixels, but holds 15359", [](ImageSet& set) { set.pixels.pop_back(); }},
      {"needs 15360 pixels, but holds 15361", [](ImageSet& set) { set.pixels.push_back(0); }},
      {"a set of 6 images", [](ImageSet& set) { set.count = 6; }},
      {"a set of -1 images", [](ImageSet& set) { set.count = -1; }},
      {"3 x 0 x 32 cannot be", [](ImageSet& set) { set.height = 0; }},
      {"3 x 32 x -32 cannot be", [](ImageSet& set) { set.width = -32; }},
      {"does not fit 64 bits",
       [](ImageSet& set) {
         set.count = std::int64_t{1} << 54;
         set.pixels.clear();
       }},
  };
  for (const auto& [what, lie] : lies) {
    ImageSet set = good;
    lie(set);
    CHECK_THAT(error_of([&] { fill(set, normalisation); }), Contains("[image_batch]") && Contains(what));
    CHECK_THAT(error_of([&] { normalisation_of(set); }), Contains("[normalisation_of]") && Contains(what));
  }
  for (const std::size_t count : {0u, 4u, 6u}) {
    ImageSet set = good;
    set.labels.resize(count);
    CHECK_THAT(error_of([&] { fill(set, normalisation); }),
               Contains("[image_batch] a set of 5 images holds " + std::to_string(count) + " labels"));
  }
  for (const float deviation : {0.0f, -1.0f, std::nanf(""), std::numeric_limits<float>::infinity()}) {
    Normalisation scale = normalisation;
    scale.deviation[1] = deviation;
    CHECK_THAT(error_of([&] { fill(good, scale); }), Contains("[image_batch] normalisation of channel 1"));
  }
}
