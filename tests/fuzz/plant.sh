#!/usr/bin/env bash
# plant.sh [PATCH...]: plants a fault in a copy of some sources, links the fuzzer with them, and expects a finding within a
# minute. Without arguments: every patch in planted/. A patch changes sources (.cpp), no headers, and begins with a line that
# says what is wrong with it. Needs a release build.
set -euo pipefail
cd "$(dirname "$0")/../.."

root=$PWD
build=$root/build/release
seconds=${FUZZ_SECONDS:-60}
tools/build.sh release reprise_fuzz >/dev/null
if [ $# -eq 0 ]; then
  shopt -s nullglob
  set -- tests/fuzz/planted/*.patch
fi
if [ $# -eq 0 ]; then
  echo "plant.sh: no patches in tests/fuzz/planted" >&2
  exit 2
fi

# plant PATCH: prints what the fuzzer says; fails unless it has found something.
plant() {
  local patch=$1 work source object command
  work=$root/build/planted/$(basename "$patch" .patch)
  rm -rf "$work"
  mkdir -p "$work"
  local objects=()
  for source in $(sed -n 's,^+++ b/\([^[:space:]]*\).*,\1,p' "$patch"); do
    if [[ $source != *.cpp ]]; then
      echo "plant.sh: $patch changes $source; only sources can be planted" >&2
      return 2
    fi
    mkdir -p "$work/$(dirname "$source")"
    cp "$root/$source" "$work/$source"
    object=${source%%/*}/CMakeFiles/reprise_${source%%/*}.dir/${source#*/}.o
    objects+=("$work/$source.o|$object|$source")
  done
  patch --quiet -p1 -d "$work" <"$patch"
  local planted=()
  for entry in "${objects[@]}"; do
    IFS='|' read -r output object source <<<"$entry"
    command=$(ninja -C "$build" -t commands "$object" | tail -n 1)
    command=${command//" -o $object"/" -o $output"}
    command=${command//"-c $root/$source"/"-I$root/$(dirname "$source") -c $work/$source"}
    (cd "$build" && eval "$command")
    planted+=("$output")
  done
  # The planted objects come before the archives, whose own are then not taken.
  command=$(ninja -C "$build" -t commands bin/reprise_fuzz | tail -n 1)
  command=${command//" -o bin/reprise_fuzz "/" ${planted[*]} -o $work/reprise_fuzz "}
  (cd "$build" && eval "$command")
  ! "$work/reprise_fuzz" --seconds "$seconds" --first ${FUZZ_ARGUMENTS:-} >"$work/log" 2>&1
}

# A finding shows that a fault was found only where there is none without it.
# shellcheck disable=SC2086
if ! "$build/bin/reprise_fuzz" --seconds "$seconds" --first ${FUZZ_ARGUMENTS:-} >"$build/clean.log" 2>&1; then
  echo "plant.sh: the library as it is has findings:"
  cat "$build/clean.log"
  exit 1
fi

failed=0
for patch in "$@"; do
  start=$SECONDS
  name=$(basename "$patch" .patch)
  if plant "$patch"; then
    printf '%-24s found within %2d s: %s\n' "$name" $((SECONDS - start)) "$(grep -m 1 -E '^[a-z-]+: ' "build/planted/$name/log")"
  else
    printf '%-24s NOT FOUND: %s\n' "$name" "$(head -n 1 "$patch")"
    failed=1
  fi
done
exit $failed
