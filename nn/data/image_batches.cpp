#include <cmath>
#include <numeric>
#include <type_traits>
#include <utility>

#include "reprise/checked.h"
#include "reprise/nn/data.h"
#include "stream.h"

namespace reprise::nn {

namespace {

using data::Purpose;
using data::Stream;

constexpr int kMaxPadding = 1024;

/// The value that each of the 256 bytes stands for.
using Scale = std::array<float, 256>;

/// Where a crop begins, in pixels of the image itself, and whether it is mirrored.
struct Crop {
  int top = 0;
  int left = 0;
  bool mirrored = false;
};

Crop crop_of(const Augmentation& augmentation, std::int64_t index) {
  Stream stream(Purpose::augmentation,
                {augmentation.seed, augmentation.epoch, static_cast<std::uint64_t>(index)});
  Crop crop;
  crop.top = stream.between(-augmentation.padding, augmentation.padding);
  crop.left = stream.between(-augmentation.padding, augmentation.padding);
  crop.mirrored = augmentation.mirror && stream.below(2) == 1;
  return crop;
}

void write_plane(const std::uint8_t* from, int height, int width, const Crop& crop, const Scale& scale,
                 float* to) {
  for (int y = 0; y < height; ++y) {
    const int row = y + crop.top;
    const bool row_inside = row >= 0 && row < height;
    for (int x = 0; x < width; ++x) {
      const int column = (crop.mirrored ? width - 1 - x : x) + crop.left;
      const bool inside = row_inside && column >= 0 && column < width;
      *to++ = scale[inside ? from[std::ptrdiff_t{row} * width + column] : 0];
    }
  }
}

std::vector<Scale> scales_of(const Normalisation& normalisation) {
  std::vector<Scale> scales(normalisation.mean.size());
  for (std::size_t channel = 0; channel < scales.size(); ++channel) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const float value = static_cast<float>(byte) / 255.0f;
      scales[channel][byte] = (value - normalisation.mean[channel]) / normalisation.deviation[channel];
    }
  }
  return scales;
}

/// Throws ShapeError unless the set holds as many pixels as it says.
void require_pixels(const char* operation, const ImageSet& set) {
  const auto named = [&](const std::string& what) {
    return "[" + std::string(operation) + "] a set of " + std::to_string(set.count) + " images of " +
           std::to_string(set.channels) + " x " + std::to_string(set.height) + " x " +
           std::to_string(set.width) + " " + what;
  };
  if (set.count < 0 || set.channels < 1 || set.height < 1 || set.width < 1)
    throw ShapeError(named("cannot be; give sizes of at least 1"));
  std::int64_t pixels = set.count;
  for (const int size : {set.channels, set.height, set.width})
    pixels = checked::multiply(operation, pixels, size);
  if (set.pixels.size() == static_cast<std::size_t>(pixels)) return;
  throw ShapeError(named("needs " + std::to_string(pixels) + " pixels, but holds " +
                         std::to_string(set.pixels.size()) + "; give all that it counts"));
}

void check_batch(const ImageSet& set, const Normalisation& normalisation,
                 std::span<const std::int64_t> indices, std::size_t pixels, std::size_t labels,
                 const std::optional<Augmentation>& augmentation) {
  require_pixels("image_batch", set);
  if (set.labels.size() != static_cast<std::size_t>(set.count)) {
    throw ShapeError("[image_batch] a set of " + std::to_string(set.count) + " images holds " +
                     std::to_string(set.labels.size()) + " labels; give one for each");
  }
  const auto channels = static_cast<std::size_t>(set.channels);
  if (normalisation.mean.size() != channels || normalisation.deviation.size() != channels) {
    throw ShapeError("[image_batch] normalisation of " + std::to_string(normalisation.mean.size()) +
                     " channels for images of " + std::to_string(channels) +
                     "; take it from normalisation_of");
  }
  for (std::size_t channel = 0; channel < channels; ++channel) {
    const float mean = normalisation.mean[channel], deviation = normalisation.deviation[channel];
    if (std::isfinite(mean) && std::isfinite(deviation) && deviation > 0) continue;
    throw ValueError("[image_batch] normalisation of channel " + std::to_string(channel) + " by mean " +
                     std::to_string(mean) + " and deviation " + std::to_string(deviation) +
                     "; give finite numbers, the deviation above 0");
  }
  const std::size_t needed = indices.size() * static_cast<std::size_t>(set.image_bytes());
  if (pixels != needed || labels != indices.size()) {
    throw ShapeError("[image_batch] room for " + std::to_string(pixels) + " pixels and " +
                     std::to_string(labels) + " labels; " + std::to_string(indices.size()) + " images need " +
                     std::to_string(needed) + " and " + std::to_string(indices.size()));
  }
  if (augmentation && (augmentation->padding < 0 || augmentation->padding > kMaxPadding)) {
    throw ValueError("[image_batch] padding " + std::to_string(augmentation->padding) + " is outside [0, " +
                     std::to_string(kMaxPadding) + "]; 4 is usual for images of 32 pixels");
  }
  for (const std::int64_t index : indices) {
    if (index >= 0 && index < set.count) continue;
    throw ValueError("[image_batch] there is no image " + std::to_string(index) + "; the set has " +
                     std::to_string(set.count));
  }
}

}  // namespace

Normalisation normalisation_of(const ImageSet& set) {
  if (set.count == 0 && set.pixels.empty())
    throw ValueError("[normalisation_of] the set holds no images; load some first");
  require_pixels("normalisation_of", set);
  const auto plane = static_cast<std::size_t>(set.height) * static_cast<std::size_t>(set.width);
  const auto channels = static_cast<std::size_t>(set.channels);
  Normalisation result;
  for (std::size_t channel = 0; channel < channels; ++channel) {
    // Counting bytes makes both sums exact and independent of the order.
    std::array<std::uint64_t, 256> counts{};
    for (std::size_t start = channel * plane; start < set.pixels.size(); start += channels * plane) {
      for (std::size_t i = 0; i < plane; ++i) ++counts[set.pixels[start + i]];
    }
    double total = 0.0;
    double sum = 0.0;
    for (std::size_t byte = 0; byte < 256; ++byte) {
      total += static_cast<double>(counts[byte]);
      sum += static_cast<double>(counts[byte]) * static_cast<double>(byte);
    }
    const double mean = sum / total;
    double squares = 0.0;
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const double difference = static_cast<double>(byte) - mean;
      squares += static_cast<double>(counts[byte]) * difference * difference;
    }
    const double deviation = std::sqrt(squares / total) / 255.0;
    result.mean.push_back(static_cast<float>(mean / 255.0));
    result.deviation.push_back(deviation > 0.0 ? static_cast<float>(deviation) : 1.0f);
  }
  return result;
}

std::vector<std::int64_t> epoch_order(std::int64_t count, std::uint64_t seed, std::uint64_t epoch) {
  if (count < 0) throw ValueError("[epoch_order] " + std::to_string(count) + " items; give at least 0");
  auto order = checked::vector_of<std::int64_t>("epoch_order", count);
  std::iota(order.begin(), order.end(), std::int64_t{0});
  Stream stream(Purpose::image_order, {seed, epoch});
  for (std::size_t left = order.size(); left > 1; --left) {
    std::swap(order[left - 1], order[static_cast<std::size_t>(stream.below(left))]);
  }
  return order;
}

template <class Label>
void image_batch(const ImageSet& set, const Normalisation& normalisation,
                 std::span<const std::int64_t> indices, std::span<float> pixels, std::span<Label> labels,
                 const std::optional<Augmentation>& augmentation) {
  static_assert(std::is_same_v<Label, std::int32_t> || std::is_same_v<Label, std::int64_t>);
  check_batch(set, normalisation, indices, pixels.size(), labels.size(), augmentation);
  const std::vector<Scale> scales = scales_of(normalisation);
  const auto plane = static_cast<std::size_t>(set.height) * static_cast<std::size_t>(set.width);
  float* to = pixels.data();
  for (std::size_t i = 0; i < indices.size(); ++i) {
    const Crop crop = augmentation ? crop_of(*augmentation, indices[i]) : Crop{};
    const std::uint8_t* from = set.image(indices[i]).data();
    for (const Scale& scale : scales) {
      write_plane(from, set.height, set.width, crop, scale, to);
      from += plane;
      to += plane;
    }
    labels[i] = set.labels[static_cast<std::size_t>(indices[i])];
  }
}

template void image_batch(const ImageSet&, const Normalisation&, std::span<const std::int64_t>,
                          std::span<float>, std::span<std::int32_t>, const std::optional<Augmentation>&);
template void image_batch(const ImageSet&, const Normalisation&, std::span<const std::int64_t>,
                          std::span<float>, std::span<std::int64_t>, const std::optional<Augmentation>&);

}  // namespace reprise::nn
