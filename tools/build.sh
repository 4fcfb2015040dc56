#!/usr/bin/env bash
# build.sh PRESET [TARGET...]: configures the preset where that was not done yet, then builds; says little unless it fails.
set -euo pipefail
cd "$(dirname "$0")/.."

preset=$1
shift
directory=build/$preset
jobs=${JOBS:-$(nproc)}
seconds_before=$SECONDS

if [ ! -f "$directory/build.ninja" ]; then
  mkdir -p "$directory"
  echo "Configuring $directory"
  if ! cmake --preset "$preset" >"$directory/configure.log" 2>&1; then
    cat "$directory/configure.log" >&2
    exit 1
  fi
  grep '^-- Reprise' "$directory/configure.log" || true
fi

quiet=(--quiet)
if [ -t 1 ]; then quiet=(); fi
echo "Building $directory${1:+ ($*)}"
NINJA_STATUS='[%f/%t] ' ninja -C "$directory" -j"$jobs" "${quiet[@]}" "$@"
echo "Built $directory in $((SECONDS - seconds_before)) s"
