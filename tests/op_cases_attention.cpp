// Cases of attention.
#include <cmath>

#include "op_cases.h"
#include "reprise/kernels/philox.h"

namespace reprise::op_test {
namespace {

struct Form {
  const char* label;
  std::int64_t batch, heads, length, width;
  bool causal = true;
  double dropout = 0;
  double scale = 0;
  Order order = Order::row_major;
};

const std::vector<Form>& forms() {
  static const std::vector<Form> all{
      {"size 1", 1, 1, 1, 1},
      {"empty batch", 0, 2, 3, 4},
      {"empty sequence", 2, 2, 0, 4},
      {"small", 2, 3, 5, 4},
      {"31", 1, 2, 31, 8},
      {"32", 1, 2, 32, 16},
      {"33", 1, 2, 33, 7},
      {"not causal", 1, 2, 33, 8, false},
      {"a scale", 1, 2, 5, 4, true, 0, 0.3},
      {"permuted", 2, 3, 5, 4, true, 0, 0, Order::permuted},
      {"gaps", 2, 3, 5, 4, true, 0, 0, Order::gaps},
      {"channels-last", 2, 3, 5, 4, true, 0, 0, Order::channels_last},
      {"dropout", 2, 2, 9, 4, true, 0.3},
      {"dropout, not causal", 1, 2, 33, 8, false, 0.5},
      {"several blocks", 1, 2, 131, 24},
      {"several blocks, dropout", 1, 2, 131, 24, true, 0.2},
  };
  return all;
}

double scale_of(const Form& form) {
  return form.scale != 0 ? form.scale : 1 / std::sqrt(static_cast<double>(form.width));
}

/// Part `which` of packed (B, T, 3 H D) as (B, H, T, D).
Array unpacked(const Array& qkv, std::int64_t heads, std::int64_t which) {
  const std::int64_t width = qkv.shape[2] / (3 * heads);
  return generate({qkv.shape[0], heads, qkv.shape[1], width}, [&](const Index& i) {
    return qkv.at({i[0], i[2], (which * heads + i[1]) * width + i[3]});
  });
}

}  // namespace

Array attention_formula(const Arrays& in, double scale, bool causal, double dropout) {
  const Array& q = in[0];
  const std::int64_t heads = q.shape[1];
  const std::int64_t length = q.shape[2];
  const std::int64_t width = q.shape[3];
  const kernels::philox::DropRule rule = kernels::philox::drop_rule(dropout);
  Array out(q.shape);
  std::vector<double> weights(static_cast<std::size_t>(length));
  for_each_index({q.shape[0], heads, length}, [&](const Index& at) {
    const auto [b, h, row] = std::array{at[0], at[1], at[2]};
    const std::int64_t visible = causal ? row + 1 : length;
    double sum = 0;
    for (std::int64_t column = 0; column < visible; ++column) {
      double score = 0;
      for (std::int64_t d = 0; d < width; ++d) score += q.at({b, h, row, d}) * in[1].at({b, h, column, d});
      auto& weight = weights[static_cast<std::size_t>(column)];
      weight = std::exp(scale * score);
      sum += weight;
    }
    for (std::int64_t column = 0; column < visible; ++column) {
      const auto element = static_cast<std::uint64_t>(((b * heads + h) * length + row) * length + column);
      if (dropout > 0 && rule.drops(kernels::philox::word_of(kSeed, 0, element))) continue;
      const double weight = weights[static_cast<std::size_t>(column)] / sum / (1 - dropout);
      for (std::int64_t d = 0; d < width; ++d) out.at({b, h, row, d}) += weight * in[2].at({b, h, column, d});
    }
  });
  return out;
}

Cases CasesOf<ops::Attention>::make() {
  Cases all{.table = &op_table<ops::Attention>()};
  for (const Form& form : forms()) {
    const Input input{.shape = {form.batch, form.heads, form.length, form.width}, .order = form.order};
    all.cases.push_back(
        {.label = form.label,
         .inputs = {input, input, input},
         .call =
             [form](Tensors in) {
               return Tensors{
                   attention(in[0], in[1], in[2],
                             {.causal = form.causal, .dropout = form.dropout, .scale = form.scale})};
             },
         .formula =
             [form](const Arrays& in) {
               return Arrays{attention_formula(in, scale_of(form), form.causal, form.dropout)};
             },
         .slack = 4});
  }
  all.refusals = {
      refused<ShapeError>("three axes", "must be (B, H, T, D)",
                          [] {
                            attention(zeros({2, 3, 4}), zeros({2, 3, 4}), zeros({2, 3, 4}));
                          }),
      refused<ShapeError>("keys of other sizes", "alike: (1, 2, 3, 4), (1, 2, 5, 4)",
                          [] {
                            attention(zeros({1, 2, 3, 4}), zeros({1, 2, 5, 4}), zeros({1, 2, 5, 4}));
                          }),
      refused<ValueError>(
          "dropout of more than everything", "dropout 1.5",
          [] {
            attention(zeros({1, 2, 3, 4}), zeros({1, 2, 3, 4}), zeros({1, 2, 3, 4}), {.dropout = 1.5});
          }),
      refused<TypeError>("two dtypes", "dtypes differ",
                         [] {
                           attention(zeros({1, 2, 3, 4}), zeros({1, 2, 3, 4}),
                                     zeros({1, 2, 3, 4}, {.dtype = DType::bfloat16}));
                         }),
  };
  const Input large{.shape = {8, 6, 256, 32}};
  all.speed.push_back({.label = "8x6x256x32, causal",
                       .inputs = {large, large, large},
                       .call = [](Tensors in) { return Tensors{attention(in[0], in[1], in[2])}; },
                       .flops = 2e0 * 8 * 6 * 256 * 256 * 32});
  return all;
}

Cases CasesOf<ops::PackedAttention>::make() {
  Cases all{.table = &op_table<ops::PackedAttention>()};
  for (const Form& form : forms()) {
    if (form.order == Order::channels_last) continue;  // for four axes
    all.cases.push_back(
        {.label = form.label,
         .inputs = {{.shape = {form.batch, form.length, 3 * form.heads * form.width}, .order = form.order}},
         .call =
             [form](Tensors in) {
               return Tensors{packed_attention(
                   in[0], form.heads, {.causal = form.causal, .dropout = form.dropout, .scale = form.scale})};
             },
         .formula =
             [form](const Arrays& in) {
               const Arrays parts{unpacked(in[0], form.heads, 0), unpacked(in[0], form.heads, 1),
                                  unpacked(in[0], form.heads, 2)};
               const Array out = attention_formula(parts, scale_of(form), form.causal, form.dropout);
               return Arrays{
                   generate({form.batch, form.length, form.heads * form.width}, [&](const Index& i) {
                     return out.at({i[0], i[2] / form.width, i[1], i[2] % form.width});
                   })};
             },
         .slack = 4});
  }
  all.refusals = {
      refused<ShapeError>("two axes", "must be (B, T, 3 C)",
                          [] {
                            packed_attention(zeros({2, 3}), 1);
                          }),
      refused<ShapeError>("a width that heads do not divide", "divisible by 4 heads",
                          [] {
                            packed_attention(zeros({2, 3, 6}), 4);
                          }),
      refused<ValueError>("no heads", "0 heads",
                          [] {
                            packed_attention(zeros({2, 3, 6}), 0);
                          }),
      refused<ValueError>("negative dropout", "dropout -0.1",
                          [] {
                            packed_attention(zeros({2, 3, 6}), 1, {.dropout = -0.1});
                          }),
  };
  all.speed.push_back({.label = "8x256x(3x192), 6 heads, causal",
                       .inputs = {{.shape = {8, 256, 576}}},
                       .call = [](Tensors in) { return Tensors{packed_attention(in[0], 6)}; },
                       .flops = 2e0 * 8 * 6 * 256 * 256 * 32});
  return all;
}

}  // namespace reprise::op_test
