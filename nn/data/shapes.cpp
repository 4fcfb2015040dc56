// Everything here is computed in integers, so that the images are the same on every machine.
#include <algorithm>
#include <cstdlib>

#include "reprise/checked.h"
#include "reprise/nn/data.h"
#include "stream.h"

namespace reprise::nn {

namespace {

using data::Purpose;
using data::Stream;

constexpr int kSide = 32;
/// Places are measured in sixteenths of a pixel; a pixel is sampled at 4 x 4 places.
constexpr int kSubpixels = 16;
constexpr int kSamples = 4;
constexpr int kNoise = 20;

/// Inside a shape of radius 1024 around the origin, v pointing down.
struct Shape {
  const char* name;
  bool (*contains)(int u, int v);
};

constexpr std::array kShapes{
    Shape{"circle", [](int u, int v) { return u * u + v * v <= 900 * 900; }},
    Shape{"ring",
          [](int u, int v) {
            const int square = u * u + v * v;
            return square >= 580 * 580 && square <= 980 * 980;
          }},
    Shape{"square", [](int u, int v) { return std::max(std::abs(u), std::abs(v)) <= 800; }},
    Shape{"frame",
          [](int u, int v) {
            const int reach = std::max(std::abs(u), std::abs(v));
            return reach >= 480 && reach <= 860;
          }},
    Shape{"triangle", [](int u, int v) { return v <= 700 && std::abs(u) * 1650 <= 960 * (v + 950); }},
    Shape{"cross",
          [](int u, int v) {
            return std::min(std::abs(u), std::abs(v)) <= 250 && std::max(std::abs(u), std::abs(v)) <= 980;
          }},
    Shape{"saltire",
          [](int u, int v) {
            const int rising = std::abs(u - v);
            const int falling = std::abs(u + v);
            return std::min(rising, falling) <= 350 && std::max(rising, falling) <= 1380;
          }},
    Shape{"diamond", [](int u, int v) { return std::abs(u) + std::abs(v) <= 1020; }},
    Shape{"bars",
          [](int u, int v) { return std::abs(u) <= 920 && std::abs(v) >= 240 && std::abs(v) <= 680; }},
    Shape{"crescent",
          [](int u, int v) {
            const int shifted = u - 420;
            return u * u + v * v <= 960 * 960 && shifted * shifted + v * v > 760 * 760;
          }},
};

/// 1024 times sine and cosine of 0, 3, 6, 9 and 12 degrees: little enough that a square is not taken for a
/// diamond.
constexpr std::array<std::array<int, 2>, 5> kTurns{
    {{0, 1024}, {54, 1023}, {107, 1018}, {160, 1011}, {213, 1002}}};

using Colour = std::array<int, 3>;

Colour random_colour(Stream& stream) {
  return {stream.between(10, 245), stream.between(10, 245), stream.between(10, 245)};
}

int contrast(const Colour& a, const Colour& b) {
  return std::abs(a[0] - b[0]) + std::abs(a[1] - b[1]) + std::abs(a[2] - b[2]);
}

/// A shape in its place: maps places of the image to the shape's own coordinates.
struct Placement {
  int centre_x, centre_y;
  int along, across;

  explicit Placement(Stream& stream) {
    const int radius = stream.between(7 * kSubpixels, 13 * kSubpixels);
    const int margin = radius * 9 / 10;
    centre_x = stream.between(margin, kSide * kSubpixels - margin);
    centre_y = stream.between(margin, kSide * kSubpixels - margin);
    const int turn = stream.between(-4, 4);
    const auto [sine, cosine] = kTurns[static_cast<std::size_t>(std::abs(turn))];
    along = cosine * 256 / radius;
    across = (turn < 0 ? -sine : sine) * 256 / radius;
  }

  bool covers(const Shape& shape, int x, int y) const {
    const int dx = x - centre_x;
    const int dy = y - centre_y;
    return shape.contains((dx * along + dy * across) / 256, (dy * along - dx * across) / 256);
  }
};

/// How many of a pixel's kSamples^2 places the shape covers.
int coverage(const Shape& shape, const Placement& placement, int column, int row) {
  constexpr int step = kSubpixels / kSamples;
  int covered = 0;
  for (int y = row * kSubpixels + step / 2; y < (row + 1) * kSubpixels; y += step) {
    for (int x = column * kSubpixels + step / 2; x < (column + 1) * kSubpixels; x += step) {
      covered += placement.covers(shape, x, y) ? 1 : 0;
    }
  }
  return covered;
}

void draw(const Shape& shape, Stream& stream, std::span<std::uint8_t> pixels) {
  const Colour background = random_colour(stream);
  Colour foreground = random_colour(stream);
  while (contrast(background, foreground) < 160) foreground = random_colour(stream);
  const Placement placement(stream);
  for (int row = 0; row < kSide; ++row) {
    for (int column = 0; column < kSide; ++column) {
      const int covered = coverage(shape, placement, column, row);
      for (std::size_t channel = 0; channel < 3; ++channel) {
        constexpr int whole = kSamples * kSamples;
        const int mixed = (foreground[channel] * covered + background[channel] * (whole - covered)) / whole;
        const int noise = stream.between(-kNoise, kNoise) + stream.between(-kNoise, kNoise);
        const std::size_t place =
            (channel * kSide + static_cast<std::size_t>(row)) * kSide + static_cast<std::size_t>(column);
        pixels[place] = static_cast<std::uint8_t>(std::clamp(mixed + noise, 0, 255));
      }
    }
  }
}

ImageSet draw_set(std::int64_t count, Purpose purpose, std::uint64_t seed) {
  if (count < 0) throw ValueError("[draw_shapes] " + std::to_string(count) + " images; give at least 0");
  ImageSet set{.count = count,
               .channels = 3,
               .height = kSide,
               .width = kSide,
               .classes = static_cast<int>(kShapes.size())};
  const auto bytes = static_cast<std::size_t>(set.image_bytes());
  set.pixels = checked::vector_of<std::uint8_t>("draw_shapes",
                                                checked::multiply("draw_shapes", count, set.image_bytes()));
  set.labels = checked::vector_of<std::int32_t>("draw_shapes", count);
  for (std::size_t i = 0; i < set.labels.size(); ++i) {
    const std::size_t kind = i % kShapes.size();
    Stream stream(purpose, {seed, i});
    draw(kShapes[kind], stream, std::span(set.pixels).subspan(i * bytes, bytes));
    set.labels[i] = static_cast<std::int32_t>(kind);
  }
  return set;
}

}  // namespace

ImageData draw_shapes(std::int64_t train_count, std::int64_t test_count, std::uint64_t seed) {
  ImageData data;
  data.name = "drawn shapes";
  for (const Shape& shape : kShapes) data.class_names.emplace_back(shape.name);
  data.train = draw_set(train_count, Purpose::train_shapes, seed);
  data.test = draw_set(test_count, Purpose::test_shapes, seed);
  return data;
}

}  // namespace reprise::nn
