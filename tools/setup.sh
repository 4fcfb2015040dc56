#!/usr/bin/env bash
# Installs the Debian packages that Reprise is built with, and those named as arguments, where they are missing. Says first which
# and by which command; waits for Enter unless it runs as root, YES=1 or CI is set; without a terminal to ask on it installs nothing.
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
  [ -t 0 ] || as_root=(sudo -n) # without a terminal there is nobody to type a password
fi
echo "Reprise needs packages that are not installed. They come by"
echo "  ${as_root[0]:+sudo }apt-get install --no-install-recommends ${missing[*]}"
if [ "$(id -u)" -ne 0 ] && [ "${YES:-}" != 1 ] && [ -z "${CI:-}" ]; then
  if [ ! -t 0 ]; then
    echo "setup: nothing is installed, as there is no terminal to ask on; run that command, or set YES=1" >&2
    exit 1
  fi
  printf 'Enter installs them, Ctrl-C stops here. '
  if ! read -r; then
    echo
    echo "setup: nothing is installed" >&2
    exit 1
  fi
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y)
if ! { "${apt[@]}" update && "${apt[@]}" install --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  cat "$log" >&2
  echo "setup: apt-get failed; $hint" >&2
  exit 1
fi
