#!/usr/bin/env bash
# has_cuda.sh headers|compiler: succeeds where CUDA's headers, or its compiler, are found; says what is missing otherwise.
set -euo pipefail

root=${CUDA_HOME:-${CUDA_PATH:-/usr/local/cuda}}
case ${1:-} in
  headers) [ -f "$root/include/cuda_runtime.h" ] && exit 0 ;;
  compiler) { command -v nvcc || [ -x "$root/bin/nvcc" ]; } >/dev/null && exit 0 ;;
  *)
    echo "usage: has_cuda.sh headers|compiler" >&2
    exit 2
    ;;
esac
echo "skipped: CUDA's $1 not found (CUDA_HOME names another place than $root)"
exit 1
