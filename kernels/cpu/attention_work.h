// How attention's items of work and its scratch memory are shared out among threads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "parallel.h"
#include "reprise/kernels/attention.h"

namespace reprise::kernels::cpu::attention {

/// Vectors that straddle two cache lines cost twice as much, so scratch memory is aligned whatever the caller
/// gives.
inline constexpr std::size_t kAlignment = 64;

/// Scratch bytes of one thread, a multiple of the alignment.
std::size_t forward_bytes(const AttentionParams& params, const ConstView& q);
std::size_t backward_bytes(const AttentionParams& params, const ConstView& q);

/// Threads worth using for so many items and floating-point operations: each gets some 20 microseconds of
/// work.
inline std::int64_t useful_threads(std::int64_t items, double flops) {
  constexpr double kFlopsOfThread = 2e6;
  const double wanted = std::min(static_cast<double>(items), flops / kFlopsOfThread);
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(std::min(wanted, 1e9)), 1, num_threads());
}

/// Calls f(begin, end, memory) on ranges of items, each with its own part of the workspace.
template <class F>
void share_out(std::int64_t items, double flops, std::size_t bytes_of_thread, const Workspace& workspace,
               F&& f) {
  const std::size_t past = reinterpret_cast<std::uintptr_t>(workspace.data) % kAlignment;
  const std::size_t skipped = past == 0 ? 0 : kAlignment - past;
  std::byte* const memory = static_cast<std::byte*>(workspace.data) + skipped;
  const auto room = static_cast<std::int64_t>((workspace.bytes - skipped) / bytes_of_thread);
  const std::int64_t parts = std::clamp<std::int64_t>(room, 1, useful_threads(items, flops));
  parallel_for(parts, 1, [=, &f](std::int64_t first, std::int64_t last) {
    for (std::int64_t part = first; part < last; ++part) {
      f(items * part / parts, items * (part + 1) / parts,
        memory + static_cast<std::size_t>(part) * bytes_of_thread);
    }
  });
}

}  // namespace reprise::kernels::cpu::attention
