// The arithmetic of a convolution: products of the filter with columns of patches.
#include <algorithm>

#include "simt/runtime/cudnn_types.h"

namespace simt::runtime {
namespace {

// One group of one image: where its parts lie among dense values.
class Patches {
 public:
  Patches(const DnnProblem& problem, std::size_t image, std::size_t group)
      : p_(problem),
        image_(image),
        channels_(DnnProblem::size(problem.w, 1)),
        filters_(DnnProblem::size(problem.w, 0) / problem.groups()),
        group_(group) {}

  MatrixView filter(const float* w) const {
    return dense(w + group_ * filters_ * p_.taps(), filters_, p_.taps());
  }

  std::size_t output_offset() const {
    return (image_ * DnnProblem::size(p_.y, 1) + group_ * filters_) * p_.places();
  }

  MatrixView output(const float* y) const { return dense(y + output_offset(), filters_, p_.places()); }

  // Calls body(row of the columns, place, index into x) for every pair of a tap and a place that meet inside
  // of x.
  template <class Body>
  void for_each(std::size_t row, Body body) const {
    const auto rows = p_.w.sizes[2], columns = p_.w.sizes[3], height = p_.x.sizes[2], width = p_.x.sizes[3];
    const auto tap = static_cast<int>(row) % (rows * columns);
    const auto channel = row / static_cast<std::size_t>(rows * columns);
    const bool flipped = p_.convolution.mode == CUDNN_CONVOLUTION;
    const int r = flipped ? rows - 1 - tap / columns : tap / columns;
    const int s = flipped ? columns - 1 - tap % columns : tap % columns;
    const std::size_t plane = (image_ * DnnProblem::size(p_.x, 1) + group_ * channels_ + channel) *
                              static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
    for (int i = 0; i < p_.y.sizes[2]; ++i) {
      const int h = i * p_.convolution.stride[0] - p_.convolution.padding[0] + r * p_.convolution.dilation[0];
      if (h < 0 || h >= height) continue;
      for (int j = 0; j < p_.y.sizes[3]; ++j) {
        const int w =
            j * p_.convolution.stride[1] - p_.convolution.padding[1] + s * p_.convolution.dilation[1];
        if (w < 0 || w >= width) continue;
        body(static_cast<std::size_t>(i * p_.y.sizes[3] + j),
             plane + static_cast<std::size_t>(h * width + w));
      }
    }
  }

  // The patches of x, a row for each tap and a column for each place.
  std::vector<float> columns(const DnnValues& x) const {
    std::vector<float> columns(p_.taps() * p_.places());
    for (std::size_t row = 0; row < p_.taps(); ++row) {
      for_each(row, [&](std::size_t place, std::size_t at) { columns[row * p_.places() + place] = x[at]; });
    }
    return columns;
  }

  MatrixView columns_view(const std::vector<float>& columns) const {
    return dense(columns.data(), p_.taps(), p_.places());
  }

 private:
  static MatrixView dense(const float* data, std::size_t rows, std::size_t columns) {
    return {data, CUDA_R_32F, rows, columns, static_cast<std::ptrdiff_t>(columns), 1};
  }

  const DnnProblem& p_;
  std::size_t image_, channels_, filters_, group_;
};

void forward(const DnnProblem& p, const Patches& patches, const DnnValues& x, const DnnValues& w,
             SumOrder order, bool tf32, DnnValues& y) {
  const std::vector<float> columns = patches.columns(x);
  const MatrixView filter = patches.filter(w.data());
  const std::vector<float> product = multiply<float>(filter, patches.columns_view(columns), order, tf32);
  float* to = y.data() + patches.output_offset();
  for (std::size_t i = 0; i < filter.rows; ++i) {
    for (std::size_t place = 0; place < p.places(); ++place) {
      to[i * p.places() + place] = product[i + place * filter.rows];
    }
  }
}

void backward_data(const DnnProblem& p, const Patches& patches, const DnnValues& w, const DnnValues& y,
                   SumOrder order, bool tf32, DnnValues& x) {
  const std::vector<float> product =
      multiply<float>(patches.filter(w.data()).transposed(), patches.output(y.data()), order, tf32);
  for (std::size_t row = 0; row < p.taps(); ++row) {
    patches.for_each(row,
                     [&](std::size_t place, std::size_t at) { x[at] += product[row + place * p.taps()]; });
  }
}

void backward_filter(const DnnProblem& p, const Patches& patches, std::size_t group, const DnnValues& x,
                     const DnnValues& y, SumOrder order, bool tf32, DnnValues& w) {
  const std::vector<float> columns = patches.columns(x);
  const MatrixView output = patches.output(y.data());
  const std::vector<float> product =
      multiply<float>(output, patches.columns_view(columns).transposed(), order, tf32);
  float* to = w.data() + group * output.rows * p.taps();
  for (std::size_t i = 0; i < output.rows; ++i) {
    for (std::size_t tap = 0; tap < p.taps(); ++tap) to[i * p.taps() + tap] += product[i + tap * output.rows];
  }
}

std::size_t value_count(const cudnnTensorStruct& tensor) {
  std::size_t count = 1;
  for (std::size_t axis = 0; axis < 4; ++axis) count *= DnnProblem::size(tensor, axis);
  return count;
}

}  // namespace

DnnValues dnn_compute(const DnnProblem& p, DnnPass pass, const DnnValues& first, const DnnValues& second,
                      SumOrder order) {
  const cudnnTensorStruct& written = pass == DnnPass::kForward        ? p.y
                                     : pass == DnnPass::kBackwardData ? p.x
                                                                      : p.w;
  DnnValues result(value_count(written));
  // Only this math type keeps tensor cores from rounding floats.
  const bool tf32 = p.x.type == CUDNN_DATA_FLOAT && p.convolution.math != CUDNN_FMA_MATH;
  for (std::size_t image = 0; image < DnnProblem::size(p.x, 0); ++image) {
    for (std::size_t group = 0; group < p.groups(); ++group) {
      const Patches patches(p, image, group);
      switch (pass) {
        case DnnPass::kForward:
          forward(p, patches, first, second, order, tf32, result);
          break;
        case DnnPass::kBackwardData:
          backward_data(p, patches, first, second, order, tf32, result);
          break;
        case DnnPass::kBackwardFilter:
          backward_filter(p, patches, group, first, second, order, tf32, result);
          break;
      }
    }
  }
  return result;
}

}  // namespace simt::runtime
