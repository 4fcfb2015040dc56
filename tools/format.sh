#!/usr/bin/env bash
# format.sh: formats every source in place. format.sh --check: names those that are not formatted, and fails.
set -euo pipefail
cd "$(dirname "$0")/.."

mapfile -t sources < <(git ls-files --cached --others --exclude-standard '*.h' '*.cpp' '*.cu' '*.cuh')
if [ "${1:-}" = --check ]; then
  clang-format --dry-run -Werror "${sources[@]}"
  echo "Format: ${#sources[@]} files as they should be"
else
  clang-format -i "${sources[@]}"
fi
