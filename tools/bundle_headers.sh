#!/usr/bin/env bash
# bundle_headers.sh [FOLDER]: copies the headers that Reprise is built with out of the installed Debian packages, with what CMake
# needs to find them, for a machine without packages. The default folder is where Reprise looks last (REPRISE_BUNDLE). FOLDER is
# new, empty, or an earlier bundle, which is replaced: a list of its files lies in it, and whatever else is there stops the script.
set -euo pipefail

bundle=$(realpath -m -- "${1:-$(dirname "$0")/../third_party/bundle}")
list=.reprise-bundle
largest_kib=$((20 * 1024))

fail() {
  echo "bundle: $*" >&2
  exit 1
}

# The files below a folder, one a line, by their names there.
files_of() { (cd "$1" && find . ! -type d -printf '%P\n' | LC_ALL=C sort); }

# Fails unless the folder holds nothing but what an earlier run has put there.
check_replaceable() {
  local strangers
  [ -e "$bundle" ] || [ -L "$bundle" ] || return 0
  [ -d "$bundle" ] || fail "$bundle is not a folder; name another place"
  [ -n "$(ls -A "$bundle")" ] || return 0
  [ -f "$bundle/$list" ] || fail "$bundle is not a bundle that this script has made; remove it, or name another folder"
  strangers=$(comm -13 "$bundle/$list" <(files_of "$bundle"))
  [ -z "$strangers" ] || fail "$bundle holds files that this script has not made; move them away: ${strangers//$'\n'/, }"
}

# The version that a package states to CMake.
version_of() {
  local file=$1
  [ -f "$file" ] || fail "$file is missing; make setup installs it"
  sed -n 's/^ *set *(PACKAGE_VERSION "\([0-9.]*\)").*/\1/p' "$file" | head -n 1
}

# A header-only package for CMake: name, version, target, folder of its headers, definition.
write_package() {
  local name=$1 version=$2 target=$3 headers=$4 definition=${5:-}
  local folder=$made/share/cmake/$name
  [ -n "$version" ] || fail "no version of $name is found"
  mkdir -p "$folder"
  cat >"$folder/${name}Config.cmake" <<END
if(NOT TARGET $target)
  add_library($target INTERFACE IMPORTED)
  set_target_properties($target PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "\${CMAKE_CURRENT_LIST_DIR}/../../../$headers"
    INTERFACE_COMPILE_DEFINITIONS "$definition")
endif()
END
  cat >"$folder/${name}ConfigVersion.cmake" <<END
set(PACKAGE_VERSION "$version")
if(NOT PACKAGE_FIND_VERSION VERSION_GREATER PACKAGE_VERSION)
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
END
}

copy() {
  local from=$1 to=$2
  [ -e "$from" ] || fail "$from is missing; make setup installs it"
  mkdir -p "$made/$to"
  cp -r "$from" "$made/$to/"
}

check_replaceable
mkdir -p "$(dirname "$bundle")"
made=$(mktemp -d "$bundle.XXXXXX")
trap 'rm -rf "$made"' EXIT
cmake_here=/usr/lib/$(gcc -print-multiarch)/cmake

copy /usr/include/eigen3/Eigen include/eigen3
copy /usr/include/fmt include
copy /usr/include/CLI include
copy /usr/include/nlohmann include
copy /usr/include/catch2/catch.hpp include/catch2
write_package Eigen3 "$(version_of /usr/share/eigen3/cmake/Eigen3ConfigVersion.cmake)" Eigen3::Eigen include/eigen3
write_package fmt "$(version_of "$cmake_here/fmt/fmt-config-version.cmake")" fmt::fmt include FMT_HEADER_ONLY=1
write_package CLI11 "$(version_of /usr/share/cmake/CLI11/CLI11ConfigVersion.cmake)" CLI11::CLI11 include
write_package nlohmann_json "$(version_of /usr/share/cmake/nlohmann_json/nlohmann_jsonConfigVersion.cmake)" \
  nlohmann_json::nlohmann_json include
write_package Catch2 "$(version_of /usr/lib/cmake/Catch2/Catch2ConfigVersion.cmake)" Catch2::Catch2 include

kib=$(du -sk "$made" | cut -f 1)
[ "$kib" -le "$largest_kib" ] || fail "$kib KiB of headers; more than $largest_kib KiB is too much to carry around"
chmod 755 "$made"
files=$(files_of "$made")
printf '%s\n' "$list" "$files" | LC_ALL=C sort >"$made/$list"
check_replaceable
rm -rf "$bundle"
mv "$made" "$bundle"
echo "Headers of Eigen, fmt, CLI11, JSON for Modern C++ and Catch2: $bundle, $kib KiB"
