#!/bin/bash
# Takes each barrier out in turn and expects a report: proves that the race checker, and the tests, would notice.
#   tools/mutate_barriers.sh TESTBINARY [test filter ...]
# TESTBINARY is a race build; the filter chooses the tests to run (default: all). Sites are the __syncthreads, __syncwarp,
# __threadfence and cp_async_wait of kernels/cuda/; SIMT_MUTATE_FILES, a regular expression, chooses other files. A line with
# the comment "// redundant: reason" is exempt. Exit 1 when a mutant survives, or when the run does not meet a barrier of a
# file of which it meets another. SIMT_MUTATE_SECONDS limits a run.
set -euo pipefail
if [ $# -lt 1 ] || [ ! -x "$1" ]; then
  sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
binary=$(realpath "$1")
shift
files=${SIMT_MUTATE_FILES:-'/kernels/cuda/'}
limit=${SIMT_MUTATE_SECONDS:-120}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# In a subshell, which keeps word of an abort out of the table. The first failure is enough.
run() { (timeout "$limit" "$binary" --abort "$@" || exit $?) > "$scratch/output" 2>&1; }

# "file:line" of every barrier in the files of the given sites, from their text.
barriers_of() {
  cut -d: -f1 "$1" | sort -u | while read -r file; do
    grep -nE '\b(__syncthreads(_and|_or|_count)?|__syncwarp|__threadfence|cp_async_wait<[^>]*>)\(' "$file" |
      grep -vE '^[0-9]+: *(//|\*)' | sed "s,^\([0-9]*\):.*,$file:\1,"
  done
}

if ! SIMT_LIST_BARRIERS="$scratch/sites" run "$@"; then
  echo "The tests fail without any mutation:" >&2
  tail -n 20 "$scratch/output" >&2
  exit 2
fi
touch "$scratch/sites"
grep -E "$files" "$scratch/sites" | sort -u -t: -k1,1 -k2,2n -k3,3n > "$scratch/chosen" || true
if [ ! -s "$scratch/chosen" ]; then
  echo "The run met no barrier in files that match '$files'." >&2
  exit 2
fi

: > "$scratch/results"
# Prints one line of the table; arguments: result, kind, site, report.
tell() {
  local file=${3%%:*}
  local short
  short="$(basename "$(dirname "$file")")/$(basename "$file"):${3#*:}"
  printf '%-9s  %-14s  %-44s  %s\n' "$1" "$2" "$short" "$4"
  echo "$1 ${short%%:*}" >> "$scratch/results"
}

# Runs the tests without the barrier at a site of a kind.
mutate() {
  local status=0 report
  SIMT_SKIP_BARRIER="$1" run "${@:3}" || status=$?
  report=$(grep -o -m1 'SIMT fault \[[a-z-]*\]' "$scratch/output" || true)
  if [ -n "$report" ]; then
    tell killed "$2" "$1" "${report#SIMT fault }"
  elif [ "$status" -eq 124 ]; then
    tell killed "$2" "$1" "no end within $limit s"
  elif [ "$status" -ne 0 ]; then
    tell killed "$2" "$1" 'a test failed'
  else
    tell SURVIVED "$2" "$1" 'nothing noticed'
  fi
}

printf '%-9s  %-14s  %-44s  %s\n' result kind site 'first report'
while read -r site kind; do
  line=${site#*:}
  reason=$(sed -n "${line%%:*}s,.*// *redundant: *,,p" "${site%%:*}")
  if [ -n "$reason" ]; then
    tell exempt "$kind" "$site" "$reason"
  else
    mutate "$site" "$kind" "$@" < /dev/null
  fi
done < "$scratch/chosen"
barriers_of "$scratch/chosen" | while read -r site; do
  grep -q "^$site:" "$scratch/chosen" || tell UNMET - "$site" 'the run does not come here'
done

printf '\n%-36s  %8s  %6s  %6s  %8s  %5s\n' file barriers killed exempt survived unmet
awk '{ all[$2]++; of[$2, $1]++ }
     END { for (file in all) printf "%-36s  %8d  %6d  %6d  %8d  %5d\n", file, all[file], of[file, "killed"],
           of[file, "exempt"], of[file, "SURVIVED"], of[file, "UNMET"] }' "$scratch/results" | sort
! grep -qE '^(SURVIVED|UNMET)' "$scratch/results"
