#!/usr/bin/env bash
# bench.sh BIN: runs every micro-benchmark in the folder BIN.
set -euo pipefail

for program in "$1"/bench_*; do
  [[ $program == */bench_pack ]] && continue # takes files
  echo "== $(basename "$program")"
  "$program" --benchmark_color=false 2>&1
done
