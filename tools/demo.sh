#!/usr/bin/env bash
# demo.sh PROGRAM: a GPT and a ResNet learn, each with and without segments; the tables and plots are the program's.
set -euo pipefail
cd "$(dirname "$0")/.."

program=$1
out=build/demo
mkdir -p "$out"

echo "A GPT reads this project's own sources, without segments and with them"
"$program" compare gpt --layers 6 --steps 5 --segments none,blocks,sqrt,nested --plot "$out/gpt.svg"
echo
echo "A ResNet looks at drawn shapes"
"$program" compare resnet --preset resnet20 --steps 5 --segments none,blocks --plot "$out/resnet.svg"
