#!/usr/bin/env bash
# gpu_check.sh: everything that only a GPU can tell, in one command: builds with CUDA for this device, runs the device tests, the
# tests under compute-sanitizer, the benchmarks and their peers, and ends with one table of goals.
#
#   bench/gpu_check.sh [--quick] [--only STAGES] [--budget SECONDS]
#
#   --quick          of the sanitizers memcheck alone, and no compiled peers
#   --only STAGES    of build,test,sanitize,bits,kernels,steps,peers; the table shows earlier results of the others
#   --budget SECONDS for the whole (540); a stage that takes too long is stopped, and the rest goes on
#
# Exit status: 0 all well; 1 a stage failed; 2 no GPU, no compiler, or misuse; 3 all ran, but a goal was missed. Logs are in
# build/gpu_check, results in bench/results/gpu-<device>-<date>.json. In a copy without .git, REPRISE_COMMIT names the commit.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly STAGES=(build test sanitize bits kernels steps peers)
# Seconds that a stage may take at most while others wait, and what is kept free for it by the stages before it.
readonly -A MOST=([build]=300 [test]=90 [sanitize]=100 [bits]=60 [kernels]=60 [steps]=90 [peers]=200)
readonly -A LEAST=([build]=120 [test]=30 [sanitize]=40 [bits]=15 [kernels]=20 [steps]=40 [peers]=60)
# Tests of libraries' kernels, and of the engine, say little about races in ours.
readonly NOT_OURS=' matmul_test conv_test device_test operations_test training_test '

logs=$PWD/build/gpu_check
build=$PWD/build/gpu
jobs=$(nproc)
quick=no
chosen=("${STAGES[@]}")
budget=540

fail() {
  echo "gpu_check: $*" >&2
  exit 2
}

usage() { sed -n '/^#   bench/,/^# build/s/^# \{0,1\}//p' bench/gpu_check.sh; }

parse() {
  while [ $# -gt 0 ]; do
    case $1 in
      --quick) quick=yes ;;
      --only)
        [ $# -ge 2 ] || fail "--only needs stages: ${STAGES[*]}"
        IFS=, read -ra chosen <<<"$2"
        shift
        ;;
      --budget)
        [[ ${2:-} =~ ^[0-9]+$ ]] || fail "--budget needs a number of seconds"
        budget=$2
        shift
        ;;
      --help | -h)
        usage
        exit 0
        ;;
      *) fail "unknown option $1; see --help" ;;
    esac
    shift
  done
  local stage
  for stage in "${chosen[@]}"; do
    [[ " ${STAGES[*]} " == *" $stage "* ]] || fail "no stage '$stage'; there are ${STAGES[*]}"
  done
}

is_chosen() { [[ " ${chosen[*]} " == *" $1 "* ]]; }

# Finds the device and the compiler, or ends.
look_around() {
  command -v nvidia-smi >/dev/null || fail "no GPU here (there is no nvidia-smi); nothing was built"
  device=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1) || true
  [ -n "$device" ] || fail "no GPU here (nvidia-smi lists none); nothing was built"
  nvcc=$(command -v nvcc || true)
  if [ -z "$nvcc" ] && [ -x /usr/local/cuda/bin/nvcc ]; then nvcc=/usr/local/cuda/bin/nvcc; fi
  [ -n "$nvcc" ] || fail "no nvcc in PATH or /usr/local/cuda; nothing was built"
  command -v cmake >/dev/null || fail "no cmake; nothing was built"
  python=$(command -v python3 || command -v python || true)
  [ -n "$python" ] || fail "no python3; nothing was built"
  driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -n 1)
  architecture=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d '. ')
  commit=$(git rev-parse --short=12 HEAD 2>/dev/null || echo "${REPRISE_COMMIT:-unknown}")
  if [ -n "$(git status --porcelain -- . ':!bench/results' 2>/dev/null)" ]; then commit+=-changed; fi
}

describe() {
  local release
  release=$("$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')
  "$python" - "$device" "$driver" "$release" "$commit" "$jobs" >"$logs/setup.json" <<'END'
import datetime, json, sys
device, driver, nvcc, commit, cores = sys.argv[1:]
print(json.dumps({"date": datetime.date.today().isoformat(), "device": device, "driver": driver, "nvcc": nvcc,
                  "commit": commit, "cores": int(cores)}))
END
  echo "$device (sm_$architecture), driver $driver, nvcc $release, $jobs cores, commit $commit"
}

left() { echo $((budget - SECONDS)); }

# Seconds for a stage: what is left for the last one, else its own limit or what the stages after it leave.
limit_of() {
  local stage=$1 seconds most=$budget passed=no other
  seconds=$(left)
  for other in "${STAGES[@]}"; do
    if [ $passed = yes ] && is_chosen "$other"; then
      seconds=$((seconds - ${LEAST[$other]}))
      most=${MOST[$stage]}
    fi
    if [ "$other" = "$stage" ]; then passed=yes; fi
  done
  echo $((seconds < most ? seconds : most))
}

# Runs a command into the stage's log, until the stage's time is over.
limited() {
  local seconds=$((stage_end - SECONDS))
  timeout --kill-after=5 $((seconds > 1 ? seconds : 1)) "$@" >>"$log" 2>&1
}

stage_build() {
  local generator='Unix Makefiles'
  if command -v ninja >/dev/null; then generator=Ninja; fi
  if [ ! -f "$build/CMakeCache.txt" ]; then
    limited cmake -S . -B "$build" -G "$generator" -DCMAKE_BUILD_TYPE=Release -DREPRISE_CUDA=ON -DREPRISE_SIMT=OFF \
      -DCMAKE_CUDA_COMPILER="$nvcc" -DCMAKE_CUDA_ARCHITECTURES="$architecture" -DREPRISE_INSTALL=OFF \
      -DREPRISE_BUILD_EXAMPLES=OFF || return
  fi
  limited cmake --build "$build" -j "$jobs" --target reprise_gpu_tests reprise_bench_cuda reprise_bench_steps \
    reprise_bench_canary reprise_cli || return
  limited "$build/bin/reprise" info
}

stage_test() {
  limited ctest --test-dir "$build" -L gpu -j 8 --output-on-failure --no-tests=error --output-junit "$logs/test.xml" || return
  note=$(grep -o '[0-9]*% tests passed.*' "$log" | tail -n 1)
}

# sanitize_one TOOL STEM: one file of tests under one tool; a line about it goes to sanitize.txt.
sanitize_one() {
  local tool=$1 stem=$2 seconds=$((deadline - $(date +%s))) status=0 result=clean
  if [ $seconds -gt $((limit / 2)) ]; then seconds=$((limit / 2)); fi  # one slow file must not hold up all others
  if [ $seconds -lt 3 ]; then
    echo "$tool $stem late" >>"$logs/sanitize.txt"
    return
  fi
  REPRISE_PASSTHROUGH=1 OMP_WAIT_POLICY=passive timeout --kill-after=5 "$seconds" "$sanitizer" --tool "$tool" \
    --error-exitcode 1 --print-limit 5 "$tests" --filenames-as-tags "[#$stem]~[slow]" \
    >"$logs/sanitize/$tool.$stem.log" 2>&1 || status=$?
  case $status in
    0) ;;
    124 | 137) result=late ;;
    *) result=FAULT ;;
  esac
  echo "$tool $stem $result" >>"$logs/sanitize.txt"
}

# Each tool must find what is wrong with the canary, else it is blind.
tool_sees() {
  local status=0
  limited "$sanitizer" --tool "$1" --error-exitcode 1 "$build/bin/reprise_bench_canary" "$2" || status=$?
  [ $status -eq 1 ]
}

find_sanitizer() {
  local path
  for path in "$(command -v compute-sanitizer || true)" "$(dirname "$nvcc")/compute-sanitizer" \
    "$(dirname "$nvcc")/../compute-sanitizer/compute-sanitizer"; do
    if [ -x "$path" ]; then
      echo "$path"
      return
    fi
  done
}

# Lines "tool stem" for every piece of work, the quickest tool first.
sanitizer_work() {
  local pair tool stem
  for pair in "${tools[@]}"; do
    tool=${pair%:*}
    for stem in tests/cuda/*_test.cpp; do
      stem=$(basename "$stem" .cpp)
      if [ "$tool" = memcheck ] || [[ $NOT_OURS != *" $stem "* ]]; then echo "$tool $stem"; fi
    done
  done
}

stage_sanitize() {
  sanitizer=$(find_sanitizer)
  if [ -z "$sanitizer" ]; then
    note='compute-sanitizer is not on this machine'
    return 75
  fi
  local pair tools=(memcheck:memory racecheck:race initcheck:initial)
  if [ $quick = yes ]; then tools=(memcheck:memory); fi
  for pair in "${tools[@]}"; do
    if ! tool_sees "${pair%:*}" "${pair#*:}"; then
      note="${pair%:*} is blind: it found nothing wrong with the canary"
      return 1
    fi
  done
  mkdir -p "$logs/sanitize"
  : >"$logs/sanitize.txt"
  deadline=$(($(date +%s) + limit - 5)) tests=$build/bin/reprise_gpu_tests
  export deadline limit tests sanitizer logs
  export -f sanitize_one
  # shellcheck disable=SC2016 # the inner shell expands
  sanitizer_work | xargs -P $((jobs < 8 ? jobs : 8)) -L 1 bash -c 'sanitize_one "$@"' sanitize_one >>"$log" 2>&1 || true
  local faults late clean
  faults=$(grep -c FAULT "$logs/sanitize.txt" || true)
  late=$(grep -c late "$logs/sanitize.txt" || true)
  clean=$(grep -c clean "$logs/sanitize.txt" || true)
  note="$clean runs clean, $faults with faults, $late not finished"
  if [ "$faults" -gt 0 ]; then note+=": $(awk '$3 == "FAULT" {printf "%s %s  ", $1, $2}' "$logs/sanitize.txt")"; fi
  [ "$faults" -eq 0 ] || return 1
  [ "$late" -eq 0 ] || return 75
}

# The same steps under several settings, at full size: digests must be equal.
stage_bits() {
  local program=$build/bin/reprise gpt=(--preset gpt2 --seq 512 --batch 4) dtype
  local common=(--steps 4 --device cuda --segments "none,blocks,cheap")
  for dtype in float32 bfloat16; do
    limited "$program" compare gpt "${gpt[@]}" "${common[@]}" --dtype "$dtype" --json "$logs/bits-gpt2-$dtype.json" || return
    limited "$program" compare resnet --preset resnet50 --batch 32 "${common[@]}" --dtype "$dtype" \
      --json "$logs/bits-resnet50-$dtype.json" || return
  done
  note='losses, gradients and parameters equal under none, blocks and cheap'
}

stage_kernels() { limited "$build/bin/reprise_bench_cuda" --json "$logs/kernels.json"; }

stage_steps() { limited "$build/bin/reprise_bench_steps" --seconds $((limit - 15)) --json "$logs/steps.json"; }

stage_peers() {
  local compiled=()
  if [ $quick = yes ]; then compiled=(--compile-seconds 0); fi
  limited "$python" bench/peers/torch_gpu.py --seconds $((limit - 5)) "${compiled[@]}" --json "$logs/peers.json" || return
  if grep -q 'skipped' "$log"; then
    note=$(grep skipped "$log" | head -n 1)
    return 75
  fi
}

# Runs one stage and writes down how it went; 75 stands for a part that could not be done.
run_stage() {
  local stage=$1 status=0 result start=$SECONDS
  limit=$(limit_of "$stage") log=$logs/$stage.log note=''
  stage_end=$((SECONDS + limit))
  : >"$log"
  rm -f "$logs/$stage.json" "$logs/$stage"-*.json  # what it found before
  if [ "$limit" -lt 5 ]; then
    result=failed note='no time left; give a larger --budget, or fewer stages at once'
  elif [ $built = no ] && [ "$stage" != peers ]; then
    result=failed note='there is no build'  # programs of an earlier one would tell of another source
  else
    "stage_$stage" || status=$?
    case $status in
      0) result=ok ;;
      75) result=partial ;;
      124 | 137) result=failed note="stopped after $limit s${note:+; $note}" ;;
      *) result=failed note=${note:-$(tail -n 1 "$log" | cut -c 1-200)} ;;
    esac
  fi
  "$python" -c 'import json, sys; keys = ("stage", "result", "seconds", "commit", "note")
print(json.dumps(dict(zip(keys, sys.argv[1:]))))' \
    "$stage" "$result" $((SECONDS - start)) "$commit" "$note" >"$logs/stage-$stage.json"
  printf '%-9s %-8s %4d s  %s\n' "$stage" "$result" $((SECONDS - start)) "$note"
  if [ "$stage" = build ] && [ "$result" != ok ]; then
    built=no
    tail -n 25 "$log"
  fi
}

# Where cuDNN is, also when that is inside a package of Python.
library_path() {
  local cudnn
  cudnn=$(sed -n 's/^cuDNN_LIBRARY:[A-Z]*=//p' "$build/CMakeCache.txt" 2>/dev/null || true)
  LD_LIBRARY_PATH=${cudnn:+$(dirname "$cudnn"):}$(dirname "$nvcc")/../lib64${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  export LD_LIBRARY_PATH
}

parse "$@"
look_around
if [ ${#chosen[@]} -eq ${#STAGES[@]} ]; then rm -rf "$logs"; fi
mkdir -p "$logs"
describe
built=yes
if is_chosen build; then run_stage build; fi
library_path
for stage in "${STAGES[@]:1}"; do
  if is_chosen "$stage"; then run_stage "$stage"; fi
done
"$python" bench/peers/gpu_table.py "$logs" bench/results
