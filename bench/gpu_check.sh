#!/usr/bin/env bash
# gpu_check.sh: everything that only a GPU can tell, in one command: takes the programs of a kit or builds them for this device, runs
# the device tests, compares bits, measures kernels and steps beside their peers, profiles, and ends with one table of goals.
#
#   bench/gpu_check.sh [--first | --second] [--quick] [--only STAGES] [--budget SECONDS] [--rehearse [BUILD]]
#
#   --first          all but sanitize: seven minutes (the default)
#   --second         build, test, sanitize: the tests again under compute-sanitizer
#   --quick          of the sanitizers memcheck alone, and no compiled peers
#   --only STAGES    of build,test,bits,sanitize,kernels,steps,peers,profile,probes; the table shows earlier results of the others
#   --budget SECONDS for the whole (540); a stage that takes too long is stopped, and the rest goes on
#   --rehearse       on the emulator, tiny, with the programs of BUILD (build/release): proves this script, and no time
#
# Exit status: 0 all well; 1 a stage failed; 2 no GPU, no compiler, or misuse; 3 all ran, but a goal was missed. Logs are in
# build/gpu_check, results in bench/results/gpu-<device>-<date>.json, and both in $OUT where that names a folder.
set -euo pipefail
cd "$(dirname "$0")/.."

# What nobody measures comes first: PyTorch's compiler works meanwhile.
readonly STAGES=(build test bits sanitize kernels steps peers profile probes)
readonly FIRST=(build test bits kernels steps peers profile probes) SECOND=(build test sanitize)
# Seconds that a stage may take at most while others wait, and what is kept free for it by the stages before it.
readonly -A MOST=([build]=300 [test]=120 [bits]=60 [sanitize]=120 [kernels]=60 [steps]=90 [peers]=200 [profile]=120 [probes]=60)
readonly -A LEAST=([build]=120 [test]=30 [bits]=15 [sanitize]=40 [kernels]=20 [steps]=45 [peers]=75 [profile]=60 [probes]=20)
# Tests of libraries' kernels, and of the engine, say little about races in ours.
readonly NOT_OURS=' matmul_test conv_test device_test operations_test training_test '
readonly TARGETS=(reprise_gpu_tests reprise_bench_cuda reprise_bench_steps reprise_bench_canary reprise_bench_probes reprise_cli)

logs=$PWD/build/gpu_check
build=$PWD/build/gpu
kit=$PWD/build/gpu-kit/kit
jobs=$(nproc)
quick=no
rehearse=no
smoke=()
chosen=("${FIRST[@]}")
budget=540

fail() {
  echo "gpu_check: $*" >&2
  exit 2
}

usage() { sed -n '/^#   bench/,/^# build/s/^# \{0,1\}//p' bench/gpu_check.sh; }

parse() {
  while [ $# -gt 0 ]; do
    case $1 in
      --first) chosen=("${FIRST[@]}") ;;
      --second) chosen=("${SECOND[@]}") ;;
      --quick) quick=yes ;;
      --rehearse)
        rehearse=yes rehearsed=$PWD/build/release
        if [[ ${2:---} != --* ]]; then
          rehearsed=$(realpath "$2")
          shift
        fi
        ;;
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

# Whether there is a kit that was made of these sources.
kit_fits() { [ -f "$kit/kit.tar.xz" ] && [ "$(cat "$kit/fingerprint")" = "$(tools/gpu_kit.sh --fingerprint)" ]; }

# Finds the device and the compiler, or ends.
look_around() {
  python=$(command -v python3 || command -v python || true)
  [ -n "$python" ] || fail "no python3; nothing was built"
  commit=$(git rev-parse --short=12 HEAD 2>/dev/null || echo "${REPRISE_COMMIT:-unknown}")
  if [ -n "$(git status --porcelain -- . ':!bench/results' 2>/dev/null)" ]; then commit+=-changed; fi
  if kit_fits; then commit=$(cat "$kit/commit"); fi  # what is copied there may know an older one
  if [ $rehearse = yes ]; then
    device=Rehearsal driver=none nvcc='' architecture=none smoke=(--smoke) build=$rehearsed
    logs=$build/gpu_check_rehearsal
    return
  fi
  command -v nvidia-smi >/dev/null || fail "no GPU here (there is no nvidia-smi); nothing was built"
  device=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1) || true
  [ -n "$device" ] || fail "no GPU here (nvidia-smi lists none); nothing was built"
  nvcc=$(command -v nvcc || true)
  if [ -z "$nvcc" ] && [ -x /usr/local/cuda/bin/nvcc ]; then nvcc=/usr/local/cuda/bin/nvcc; fi
  driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -n 1)
  architecture=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d '. ')
}

describe() {
  local release=none
  if [ -n "$nvcc" ]; then release=$("$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p'); fi
  "$python" - "$device" "$driver" "$release" "$commit" "$jobs" >"$logs/setup.json" <<'END'
import datetime, json, sys
device, driver, nvcc, commit, cores = sys.argv[1:]
print(json.dumps({"date": datetime.date.today().isoformat(), "device": device, "driver": driver, "nvcc": nvcc,
                  "commit": commit, "cores": int(cores)}))
END
  echo "$device (sm_$architecture), driver $driver, nvcc $release, $jobs cores, commit $commit"
}

# Where NVIDIA's libraries are: those of Python's packages, which the peer uses too, else the toolkit's.
find_libraries() {
  libraries=$("$python" - <<'END'
import pathlib, site, sys
roots = [pathlib.Path(p) for p in [*sys.path, *site.getsitepackages()] if p]
found = []
for name in ("libcudnn.so.9", "libcublasLt.so.13", "libcublasLt.so.12"):
    for root in roots:
        found += [str(path.parent) for path in sorted(root.glob(f"nvidia/*/lib/{name}"))]
print(":".join(dict.fromkeys(found)))
END
  )
  if [ -n "$nvcc" ]; then libraries+=:$(realpath "$(dirname "$nvcc")/..")/lib64; fi
  ours=(env LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}")  # a peer has its own
}

# The path of a program; rehearsals take those on the emulator.
program() {
  if [ $rehearse = no ]; then
    echo "$build/bin/$1"
  else
    case $1 in
      reprise) echo "$build/bin/reprise_on_simt" ;;
      reprise_gpu_tests) echo "$build/bin/reprise_simt_tests" ;;
      *) echo "$build/bin/$1" ;;  # on the emulator in such a build
    esac
  fi
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

# Unpacks the programs of the kit; fails where there is none of these sources, or it does not start.
take_kit() {
  kit_fits || return 1
  mkdir -p "$build/bin"
  limited tar -xf "$kit/kit.tar.xz" -C "$build/bin" || return
  limited "${ours[@]}" "$build/bin/reprise" info || return
  note='from the kit'
}

build_here() {
  local generator='Unix Makefiles'
  if [ -z "$nvcc" ] || ! command -v cmake >/dev/null; then
    note='no kit of these sources, and no nvcc (in PATH or /usr/local/cuda) or no cmake to build them'
    return 1
  fi
  if command -v ninja >/dev/null; then generator=Ninja; fi
  if [ ! -f "$build/CMakeCache.txt" ]; then
    # Warnings of compilers that we do not know must not cost the only run.
    limited cmake -S . -B "$build" -G "$generator" -DCMAKE_BUILD_TYPE=Release -DREPRISE_CUDA=ON -DREPRISE_SIMT=OFF \
      -DCMAKE_CUDA_COMPILER="$nvcc" -DCMAKE_CUDA_ARCHITECTURES="$architecture-real" -DREPRISE_INSTALL=OFF \
      -DREPRISE_BUILD_EXAMPLES=OFF -DREPRISE_WERROR=OFF || return
  fi
  limited cmake --build "$build" -j "$jobs" --target "${TARGETS[@]}" || return
  limited "${ours[@]}" "$build/bin/reprise" info
}

stage_build() {
  if [ $rehearse = yes ]; then
    limited "$(program reprise)" info
  else
    take_kit || build_here
  fi
}

# PyTorch's compiler works while nobody measures: what it makes is kept on disk for the peers' stage.
compile_ahead() {
  if [ $quick = yes ] || ! is_chosen peers; then return; fi
  setsid "$python" bench/peers/torch_gpu.py --only-compile "${smoke[@]}" --seconds 200 --compile-seconds 150 >"$logs/compile.log" 2>&1 &
  compiler=$!
}

# Waits for it a while, then ends it: what follows is measured.
end_compiling() {
  [ -n "$compiler" ] || return 0
  local waited=0
  while jobs -rp | grep -qx "$compiler" && [ $waited -lt 45 ] && [ "$(left)" -gt 240 ]; do
    sleep 1
    waited=$((waited + 1))
  done
  kill -- "-$compiler" 2>/dev/null || true
  wait "$compiler" 2>/dev/null || true
  compiler=''
}

stage_test() {
  local filter='~[slow]' status=0
  if [ $rehearse = yes ]; then filter='[layouts]'; fi
  limited "${ours[@]}" "$python" bench/gpu_tests.py "$(program reprise_gpu_tests)" "$logs" --jobs $((jobs < 12 ? jobs : 12)) \
    --seconds $((limit - 5)) --filter "$filter" || status=$?
  note=$(tail -n 1 "$log" | cut -c 1-400)
  return $status
}

# sanitize_one TOOL STEM: one file of tests under one tool; a line about it goes to sanitize.txt.
sanitize_one() {
  local tool=$1 stem=$2 seconds=$((deadline - $(date +%s))) status=0 result=clean
  if [ $seconds -gt $((limit / 2)) ]; then seconds=$((limit / 2)); fi  # one slow file must not hold up all others
  if [ $seconds -lt 3 ]; then
    echo "$tool $stem late" >>"$logs/sanitize.txt"
    return
  fi
  LD_LIBRARY_PATH=$libraries REPRISE_PASSTHROUGH=1 OMP_WAIT_POLICY=passive timeout --kill-after=5 "$seconds" "$sanitizer" --tool "$tool" \
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
  limited "${ours[@]}" "$sanitizer" --tool "$1" --error-exitcode 1 "$build/bin/reprise_bench_canary" "$2" || status=$?
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
  if [ $rehearse = yes ]; then
    note='they need a GPU'
    return 75
  fi
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
  deadline=$(($(date +%s) + limit - 5)) tests=$(program reprise_gpu_tests)
  export deadline limit tests sanitizer logs libraries
  export -f sanitize_one
  # shellcheck disable=SC2016 # the inner shell expands
  sanitizer_work | xargs -P $((jobs < 12 ? jobs : 12)) -L 1 bash -c 'sanitize_one "$@"' sanitize_one >>"$log" 2>&1 || true
  local faults late clean
  faults=$(grep -c FAULT "$logs/sanitize.txt" || true)
  late=$(grep -c late "$logs/sanitize.txt" || true)
  clean=$(grep -c clean "$logs/sanitize.txt" || true)
  note="$clean runs clean, $faults with faults, $late not finished"
  if [ "$faults" -gt 0 ]; then note+=": $(awk '$3 == "FAULT" {printf "%s %s  ", $1, $2}' "$logs/sanitize.txt")"; fi
  [ "$faults" -eq 0 ] || return 1
  [ "$late" -eq 0 ] || return 75
}

# compared NAME ARGUMENTS...: four steps under several settings, whose digests must be equal, and what was predicted of their memory.
compared() {
  local name=$1
  shift
  local common=("$@" --steps 4 --segments "none,blocks,cheap")
  limited "${ours[@]}" "$(program reprise)" compare "${common[@]}" --device cuda --json "$logs/bits-$name.json" || return
  limited "${ours[@]}" "$(program reprise)" predict "${common[@]}" --device h100 --json "$logs/predicted-$name.json"
}

stage_bits() {
  local gpt=(gpt --preset gpt2 --seq 512 --batch 4) resnet=(resnet --preset resnet50 --batch 32) dtype
  if [ $rehearse = yes ]; then
    gpt=(gpt --layers 2 --width 16 --heads 2 --seq 16 --batch 2) resnet=(resnet --layers 1 --width 4 --batch 4)
  fi
  for dtype in float32 bfloat16; do
    compared "gpt2-$dtype" "${gpt[@]}" --dtype "$dtype" || return
    compared "resnet50-$dtype" "${resnet[@]}" --dtype "$dtype" || return
  done
  note='losses, gradients and parameters equal under none, blocks and cheap'
}

readonly WORKLOADS=bench/cuda/workloads.json

stage_kernels() {
  limited "${ours[@]}" "$(program reprise_bench_cuda)" "${smoke[@]}" --workloads $WORKLOADS --json "$logs/kernels.json"
}

stage_steps() {
  limited "${ours[@]}" "$(program reprise_bench_steps)" "${smoke[@]}" --workloads $WORKLOADS --seconds $((limit - 15)) --json "$logs/steps.json"
}

# profiled NAME ARGUMENTS...: what Nsight Compute says of the work that a program marks, in profile-NAME.csv.
profiled() {
  local name=$1
  shift
  limited "${ours[@]}" "$ncu" --clock-control none --cache-control none --nvtx --nvtx-include 'profiled/' --csv --page raw \
    --log-file "$logs/profile-$name.csv" "$@" --workloads $WORKLOADS
}

# Every kernel of a step with its time; then each family's kernels with what they wait for.
stage_profile() {
  local ncu step family name failed=0
  ncu=$(command -v ncu || find /opt/nvidia/nsight-compute /usr/local/cuda* -maxdepth 2 -name ncu -type f -perm -u+x 2>/dev/null | head -n 1)
  if [ -z "$ncu" ]; then
    note='Nsight Compute is not on this machine'
    return 75
  fi
  local time_only=(--metrics gpu__time_duration.sum)
  local details=(--section SpeedOfLight --section Occupancy --section WarpStateStats --section LaunchStats --section MemoryWorkloadAnalysis)
  for step in gpt2-bf16-chunked:cheap resnet50-bf16:none resnet50-bf16:cheap gpt-small:none; do
    profiled "step-${step/:/-}" "${time_only[@]}" "$(program reprise_bench_steps)" --profile --only "${step%:*}" \
      --segments "${step#*:}" || failed=1
  done
  for family in norm softmax 'cross entropy' 'batch norm' optimiser embedding elementwise attention reduction copy dropout; do
    name=${family// /-}
    profiled "kernels-$name" "${details[@]}" "$(program reprise_bench_cuda)" --profile --only "$family" || failed=1
  done
  return $failed
}

stage_peers() {
  local compiled=()
  if [ $quick = yes ]; then compiled=(--compile-seconds 0); fi
  limited "$python" bench/peers/torch_gpu.py "${smoke[@]}" --seconds $((limit - 5)) "${compiled[@]}" --json "$logs/peers.json" || return
  if grep -q 'skipped' "$log"; then
    note=$(grep skipped "$log" | head -n 1)
    return 75
  fi
}

# What NVIDIA's libraries could do, to decide what ours should ask them for.
stage_probes() {
  if [ $rehearse = yes ]; then
    note='they need a GPU'
    return 75
  fi
  local failed=0
  limited "${ours[@]}" "$(program reprise_bench_probes)" || failed=1
  if compgen -G "$kit/wheels/*.whl" >/dev/null; then
    limited "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$build/site" "$kit"/wheels/*.whl || failed=1
  fi
  limited env PYTHONPATH="$build/site" "$python" bench/peers/cudnn_attention.py || failed=1
  grep '^{' "$log" >"$logs/probes.jsonl" || true
  return $failed
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
  elif [ $built = no ] && [[ $stage != peers ]]; then
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

# Everything that was found, for whoever brings results home.
pack() {
  [ -n "${OUT:-}" ] && [ -d "$OUT" ] || return 0
  tar -czf "$OUT/gpu_check.tar.gz" -C "$(dirname "$logs")" "$(basename "$logs")"
  cp "$results"/gpu-*.json "$OUT/" 2>/dev/null || true
}

parse "$@"
look_around
if [ ${#chosen[@]} -gt 3 ]; then rm -rf "$logs"; fi
mkdir -p "$logs"
results=bench/results
if [ $rehearse = yes ]; then results=$logs; fi
trap pack EXIT
find_libraries
describe
built=yes compiler=''
for stage in "${STAGES[@]}"; do
  is_chosen "$stage" || continue
  case $stage in
    test) compile_ahead ;;
    kernels | steps | profile | peers) end_compiling ;;
  esac
  run_stage "$stage"
done
end_compiling
how=()
if [ $rehearse = yes ]; then how=(--rehearsal); fi
"$python" bench/peers/gpu_table.py "$logs" "$results" "${how[@]}"
