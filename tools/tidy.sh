#!/usr/bin/env bash
# tidy.sh BUILD: runs clang-tidy on every source of the layers, the program and the examples. Left out is what Debian 12's clang 14
# cannot read: the emulator, which needs std::source_location, and CUDA's headers beside it.
set -euo pipefail
cd "$(dirname "$0")/.."

mapfile -t sources < <(git ls-files --cached --others --exclude-standard \
  'kernels/*.cpp' 'engine/*.cpp' 'checkpoint/*.cpp' 'nn/*.cpp' 'cli/*.cpp' 'examples/*.cpp' \
  ':!kernels/simt' ':!kernels/cuda')
printf '%s\0' "${sources[@]}" |
  xargs -0 -n 1 -P "${JOBS:-$(nproc)}" clang-tidy --quiet -p "$1" --extra-arg=-Wno-unknown-warning-option
echo "Tidy: ${#sources[@]} files as they should be"
