#!/usr/bin/env bash
# Installs the Debian packages that Reprise is built with, and those named as arguments, where they are missing.
set -euo pipefail

packages=(g++ cmake ninja-build libdnnl-dev libeigen3-dev libfmt-dev libcli11-dev nlohmann-json3-dev catch2
  libbenchmark-dev "$@")

hint="Reprise needs a C++20 compiler, CMake 3.25, Ninja, oneDNN (optional), Eigen, fmt, CLI11, nlohmann-json, Catch2 2.13 \
and Google Benchmark (optional)"
if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "setup: not a Debian system, so nothing is installed; $hint" >&2
  exit 0
fi

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "setup: missing packages; as root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi

echo "Installing ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y)
if ! { "${apt[@]}" update && "${apt[@]}" install --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  cat "$log" >&2
  echo "setup: apt-get failed; $hint" >&2
  exit 1
fi
