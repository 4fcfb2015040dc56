#!/usr/bin/env bash
# test_summary.sh FOLDER: adds up the reports that CTest left in FOLDER (JUnit's format) and prints the sum.
set -euo pipefail
shopt -s nullglob

reports=("$1"/*.xml)
[ ${#reports[@]} -gt 0 ] || reports=(/dev/null)
awk -F'"' '/^\ttests=/ { tests += $2 } /^\tfailures=/ { failed += $2 }
  END { printf "%d passed, %d failed\n", tests - failed, failed }' "${reports[@]}"
