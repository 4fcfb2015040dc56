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

# Ninja's lines where somebody watches; else one every tenth of the way, and all that fails.
tenths() {
  awk '
    match($0, /^\[[0-9]+\/[0-9]+\] /) {
      split(substr($0, 2, RLENGTH - 3), steps, "/")
      tenth = int(10 * steps[1] / steps[2])
      if (tenth > last) { last = tenth; printf "  %d %% (%d of %d)\n", 10 * tenth, steps[1], steps[2]; fflush() }
      next
    }
    /^-- / || /^ninja: (Entering directory|no work to do)/ { next }
    { print; fflush() }'
}
echo "Building $directory${1:+ ($*)}"
if [ -t 1 ]; then
  NINJA_STATUS='[%f/%t] ' ninja -C "$directory" -j"$jobs" "$@"
else
  NINJA_STATUS='[%f/%t] ' ninja -C "$directory" -j"$jobs" "$@" | tenths
fi
echo "Built $directory in $((SECONDS - seconds_before)) s"
