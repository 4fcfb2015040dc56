#!/usr/bin/env bash
# gpu_kit.sh: builds here, where there may be no GPU, all programs that bench/gpu_check.sh runs on the machine that has one, and packs
# them into build/gpu-kit/kit: for Hopper (sm_90) and any x86-64 processor with AVX2, without oneDNN.
#
#   tools/gpu_kit.sh               builds and packs
#   tools/gpu_kit.sh --fingerprint prints what the programs are made of, to tell whether a kit is of these sources
set -euo pipefail
cd "$(dirname "$0")/.."

readonly BUILD=build/gpu-kit KIT=build/gpu-kit/kit
readonly PROGRAMS=(reprise reprise_gpu_tests reprise_bench_cuda reprise_bench_steps reprise_bench_canary reprise_bench_probes)
readonly FRONT_END=nvidia-cudnn-frontend==1.16.0  # Python bindings of cuDNN's graphs, for a probe

fingerprint() {
  find CMakeLists.txt cmake kernels engine checkpoint nn cli bench tests/*.cpp tests/*.h tests/*.cmake tests/cuda -type f \
    \( -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' -o -name '*.cmake' -o -name CMakeLists.txt -o -name '*.in' \) \
    -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -d ' ' -f 1
}

if [ "${1:-}" = --fingerprint ]; then
  fingerprint
  exit
fi

tools/has_cuda.sh compiler || exit 0
nvcc=$(command -v nvcc || echo "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc")
tools/bundle_headers.sh
commit=$(git rev-parse --short=12 HEAD 2>/dev/null || echo "${REPRISE_COMMIT:-unknown}")
if [ -n "$(git status --porcelain -- . ':!bench/results' 2>/dev/null)" ]; then commit+=-changed; fi
before=$(fingerprint)
mkdir -p $KIT
cmake -S . -B $BUILD -G Ninja -DCMAKE_BUILD_TYPE=Release -DREPRISE_CUDA=ON -DREPRISE_SIMT=OFF -DREPRISE_ONEDNN=OFF \
  -DREPRISE_CPU_ARCH=x86-64-v3 -DCMAKE_CUDA_COMPILER="$nvcc" -DCMAKE_CUDA_ARCHITECTURES=90-real -DREPRISE_CUDA_COMPACT=ON \
  -DREPRISE_INSTALL=OFF -DREPRISE_BUILD_EXAMPLES=OFF -DCMAKE_PREFIX_PATH="$PWD/third_party/bundle" >$KIT/configure.log
echo "Building $BUILD"
ninja -C $BUILD --quiet reprise_cli "${PROGRAMS[@]:1}"
[ "$(fingerprint)" = "$before" ] || { echo 'gpu_kit: the sources have changed meanwhile; build again' >&2; exit 1; }

stripped=$(mktemp -d)
trap 'rm -rf "$stripped"' EXIT
for program in "${PROGRAMS[@]}"; do strip -o "$stripped/$program" "$BUILD/bin/$program"; done
# A dictionary as large as all of it: the same kernels are in each program.
tar -C "$stripped" -cf - "${PROGRAMS[@]}" | xz -T2 --lzma2=preset=6,dict=96MiB >$KIT/kit.tar.xz
echo "$before" >$KIT/fingerprint
echo "$commit" >$KIT/commit
if ! compgen -G "$KIT/wheels/*.whl" >/dev/null; then
  python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp --platform manylinux_2_28_x86_64 \
    --platform manylinux_2_27_x86_64 -d $KIT/wheels $FRONT_END || echo 'gpu_kit: no front end of cuDNN; its probe will be skipped'
fi
echo "$KIT/kit.tar.xz: $(du -h $KIT/kit.tar.xz | cut -f 1), commit $commit"
