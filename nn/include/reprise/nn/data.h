// Training data on the host: a character-level text, sets of labelled images, and batches of both. Every
// choice that depends on chance is a pure function of a seed and a counter, so that a run can be repeated or
// resumed anywhere.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace reprise::nn {

/// The first nine tenths of a text are for training, the rest for validation.
enum class Split : std::uint8_t { train, validation };

/// A text whose tokens are the bytes that occur in it, numbered in ascending order from 0.
class TextCorpus {
 public:
  /// Takes the text itself; throws ValueError when it is empty. `name` is what errors call it.
  explicit TextCorpus(std::string_view text, std::string name = "the text");

  /// Reads a whole file; throws Error when it cannot be read or is empty.
  static TextCorpus from_file(const std::filesystem::path& path);

  const std::string& name() const { return name_; }
  /// The bytes that occur, ascending; token t stands for vocabulary()[t].
  std::string_view vocabulary() const { return vocabulary_; }
  std::int64_t vocabulary_size() const { return static_cast<std::int64_t>(vocabulary_.size()); }
  /// Tokens in a split.
  std::int64_t size(Split split) const { return static_cast<std::int64_t>(tokens(split).size()); }

  /// One token per byte; throws ValueError for a byte that the text does not hold.
  std::vector<std::int32_t> encode(std::string_view text) const;
  /// One byte per token; throws ValueError for a token outside [0, vocabulary_size()).
  std::string decode(std::span<const std::int32_t> tokens) const;

  /// Fills `inputs` and `targets` (batch, seq) with windows at random places of a split, targets one token
  /// ahead: a pure function of (seed, step). Throws ShapeError when the spans do not hold batch * seq,
  /// ValueError when the split is not longer than seq. Token is std::int32_t or std::int64_t.
  template <class Token>
  void random_batch(Split split, std::uint64_t seed, std::uint64_t step, std::int64_t batch, std::int64_t seq,
                    std::span<Token> inputs, std::span<Token> targets) const;

  /// How many windows of `seq` tokens follow one another in a split without overlap.
  std::int64_t windows(Split split, std::int64_t seq) const;

  /// Fills `inputs` and `targets` (batch, seq) with the windows first, first + 1, ... of a split; throws as
  /// random_batch does, and ValueError when first + batch > windows(split, seq).
  template <class Token>
  void window_batch(Split split, std::int64_t first, std::int64_t batch, std::int64_t seq,
                    std::span<Token> inputs, std::span<Token> targets) const;

 private:
  std::span<const std::uint8_t> tokens(Split split) const;

  std::string name_;
  std::string vocabulary_;
  std::array<std::int16_t, 256> token_of_{};
  std::vector<std::uint8_t> tokens_;
};

/// The .h, .cpp and .md files of this project's layers (kernels, engine, checkpoint, nn, cli) under `root`,
/// one after another in the order of their paths; throws Error when there are none.
std::string project_sources(const std::filesystem::path& root);

/// Labelled images of one size. `pixels` is (count, channels, height, width), `labels` (count), each in [0,
/// classes).
struct ImageSet {
  std::int64_t count = 0;
  int channels = 0;
  int height = 0;
  int width = 0;
  int classes = 0;
  std::vector<std::uint8_t> pixels{};
  std::vector<std::int32_t> labels{};

  /// Bytes of one image.
  std::int64_t image_bytes() const { return std::int64_t{1} * channels * height * width; }
  /// Pixels (channels, height, width) of one image; `index` must be in [0, count).
  std::span<const std::uint8_t> image(std::int64_t index) const {
    const auto bytes = static_cast<std::size_t>(image_bytes());
    return std::span(pixels).subspan(static_cast<std::size_t>(index) * bytes, bytes);
  }
};

/// Images to train on and images to test with; both have the same size and the same classes.
struct ImageData {
  std::string name;
  std::vector<std::string> class_names;
  ImageSet train;
  ImageSet test;
};

/// Reads a folder of images and finds out what it holds: MNIST's four IDX files (train-*, and t10k-* or
/// test-*), or CIFAR-10's binary version (data_batch_1.bin to data_batch_5.bin and test_batch.bin, here or in
/// cifar-10-batches-bin). Throws Error when a file is missing, cut short or malformed.
ImageData load_images(const std::filesystem::path& folder);

/// Reads one pair of IDX files of bytes: images (count, height, width) and labels (count). `classes` 0 stands
/// for one more than the highest label. Throws Error for anything that does not fit.
ImageSet read_idx(const std::filesystem::path& images, const std::filesystem::path& labels, int classes = 0);

/// Reads CIFAR-10's binary records (a label and 3 x 32 x 32 bytes) from one file after another. Throws Error.
ImageSet read_cifar10(std::span<const std::filesystem::path> files);

/// Draws 32 x 32 x 3 images of ten kinds of shape in random places, sizes and colours with noise, as many of
/// each kind as of any other. The bytes are the same on every machine: image i depends on (seed, i) only.
/// Throws ValueError when a count is negative, OutOfMemory when there is no room for the images.
ImageData draw_shapes(std::int64_t train_count, std::int64_t test_count, std::uint64_t seed);

/// Mean and standard deviation of each channel, of pixels scaled to [0, 1]; the deviation of a channel that
/// is constant is given as 1, so that it can divide.
struct Normalisation {
  std::vector<float> mean;
  std::vector<float> deviation;
};

/// Measures a set; throws ValueError when it is empty, ShapeError when it does not hold the pixels that it
/// says.
Normalisation normalisation_of(const ImageSet& set);

/// The numbers 0 ... count - 1 in the order in which an epoch visits them: a pure function of (count, seed,
/// epoch). Throws ValueError when `count` is negative, OutOfMemory when there is no room for them.
std::vector<std::int64_t> epoch_order(std::int64_t count, std::uint64_t seed, std::uint64_t epoch);

/// Random crops out of an image with `padding` black pixels on every side, and mirror images for half of
/// them; what happens to an image is a pure function of (seed, epoch, its index).
struct Augmentation {
  std::uint64_t seed = 0;
  std::uint64_t epoch = 0;
  int padding = 4;
  bool mirror = true;
};

/// Writes the images `indices` as (pixel / 255 - mean) / deviation into `pixels` (batch, channels, height,
/// width) and their labels into `labels` (batch); batch is the number of indices. Label is std::int32_t or
/// std::int64_t. Throws ShapeError when the set does not hold the pixels and labels that it says, or the
/// spans or the normalisation do not fit; ValueError for an index outside the set, a deviation that is not
/// above 0, and a padding outside [0, 1024].
template <class Label>
void image_batch(const ImageSet& set, const Normalisation& normalisation,
                 std::span<const std::int64_t> indices, std::span<float> pixels, std::span<Label> labels,
                 const std::optional<Augmentation>& augmentation = std::nullopt);

}  // namespace reprise::nn
