#!/usr/bin/env bash
# demo.sh PROGRAM [--data FILE]: a GPT and a ResNet learn, then the same steps are run with and without checkpoint segments, and
# a large one is predicted. The GPT reads this project's own sources unless FILE names another text.
set -euo pipefail

program=$(realpath "$1")
shift
text=()
if [ "${1:-}" = --data ] && [ -n "${2:-}" ]; then
  text=(--data "$(realpath "$2")")
elif [ $# -gt 0 ]; then
  echo "usage: tools/demo.sh PROGRAM [--data FILE]" >&2
  exit 2
fi
cd "$(dirname "$0")/.."
out=build/demo
mkdir -p "$out"

echo "The demo takes about 2 minutes on two free cores, and less on more."

# Threads that spin while they wait take the processors that busy ones need: several times slower, then.
read -r load _ </proc/loadavg
if [ -z "${OMP_WAIT_POLICY:-}" ] && awk -v load="$load" -v cores="$(nproc)" 'BEGIN { exit !(load > cores / 2) }'; then
  export OMP_WAIT_POLICY=passive
  echo "The machine is busy (load $load): OMP_WAIT_POLICY=passive, so that waiting threads sleep."
fi

heading() { printf '\n── %s\n\n' "$*"; }

heading "1 of 5: a GPT learns a text, every block a checkpoint segment"
"$program" train gpt --layers 4 --width 128 --heads 4 --seq 128 --batch 16 --steps 400 --segments blocks --sample 240 "${text[@]}"

heading "2 of 5: a ResNet-20 learns drawn shapes, every block a checkpoint segment"
"$program" train resnet --preset resnet20 --steps 150 --segments blocks

heading "3 of 5: the same ten steps of a 12-layer GPT with dropout, five settings"
"$program" compare gpt --layers 12 --width 192 --heads 6 --seq 256 --batch 8 --dropout 0.1 \
  --segments none,blocks,sqrt,nested,cheap --report "$out/gpt" "${text[@]}"

heading "4 of 5: the same ten steps of a ResNet-20, five settings"
"$program" compare resnet --preset resnet20 --segments none,blocks,sqrt,nested,cheap --report "$out/resnet"

heading "5 of 5: what GPT-2 1.5B would take on an H200 that is not there"
"$program" predict gpt --preset gpt2-xl --batch 8 --seq 1024 --device h200 --dtype bfloat16 --fit batch

printf '\nPages of memory and time over one step: %s\n' "$out/gpt/report.html, $out/resnet/report.html"
