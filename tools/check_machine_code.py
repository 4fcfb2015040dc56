#!/usr/bin/env python3
"""Reads the machine code of every kernel in a program, and checks what no test without a GPU can see.

usage: check_machine_code.py PROGRAM [--table] [--listing FILE]
--table prints what every family of kernels takes, for each architecture in the program; --listing reads what
`cuobjdump -res-usage -sass` printed before. Exit status: 0 all rules hold, or there is no cuobjdump (said so); 1 a kernel
breaks a rule; 2 misuse.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import venv
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("nvidia-cuda-cuobjdump", "nvidia-cuda-nvdisasm")

# Local memory that is meant: kernels, bytes, and why.
LOCAL_MEMORY = (
    (r"functors::(Sin|Cos)<", 40, "the reduction of large arguments indexes a table"),
    (r"attention::key_gradients_kernel<\w+, (64|128), true", 8, "spills, outside the inner loop"),
    (r"attention::forward_kernel<\w+, 128, false", 32, "spills on sm_80; the inner loop reads two words of them"),
    (r"norm_backward_kernel<true, __half, .*NormShape<8, 1, 256>", 8, "spills a word on sm_80, which the loop reads twice"),
    (r"attention::query_gradient_kernel<\w+, 128,", 48, "spills; with dropout on sm_80 the inner loop reads seven words of them"),
)
# A compare-and-swap is for the first bad id or target that a kernel meets, of which any order gives the same.
COMPARE_AND_SWAP = ("gather_rows_kernel", "row_losses_kernel")
ATTENTION = re.compile(r"attention::(forward|query_gradient|key_gradients)_kernel<(__half|__nv_bfloat16)")
# Kernels that read, and that write, tensors 16 bytes at a time in the forms made for aligned rows.
READ_16 = re.compile(
    r"::(pack|step|squares|norm_\w+|softmax_\w+|row_losses|cross_entropy_backward|gather_rows|max_pool|average_pool|"
    r"pool_backward|batch_norm_\w+|chunk_\w+|column_sums|rows|columns|copy_words|sum_chunks|join_pieces)_kernel<"
)
WRITE_16 = re.compile(
    r"::(pack|step|norm_forward|norm_backward|norm_dx|softmax_\w+|cross_entropy_backward|gather_rows|max_pool|average_pool|"
    r"pool_backward|batch_norm_\w+|copy_words|fill_words|fill_channels|sum_chunks|join_pieces)_kernel<"
)
# The forms for single elements, and for types of other sizes than the words that are moved.
SINGLE = re.compile(r"Shape<1,|_kernel<([\w:]+, )+1[,>]|_kernel<unsigned (char|short|int|long)>")
# Loads of 16 bytes that a thread issues before it waits for the first of them, at least.
AHEAD = (
    (re.compile(r"::(rows|columns|column_sums|chunk_moments|row_losses|cross_entropy_backward)_kernel<"), 4),
    (re.compile(r"::(norm_forward|softmax_\w+)_kernel<.*RowShape<\d+, 4,"), 4),
    (re.compile(r"::sum_chunks_kernel<"), 8),
    (re.compile(r"::norm_backward_kernel<"), 2),
)
# Results of fewer bytes than what is read: the widest tensor has the 16 bytes.
NARROW_RESULT = re.compile(r"Elements<bool,|Elements<(__half|__nv_bfloat16), float,")


@dataclass
class Kernel:
    """One kernel for one architecture; `code` counts its instructions by name."""

    symbol: str
    registers: int = 0
    local_bytes: int = 0
    ahead: int = 0  # loads of 16 bytes that are under way at once
    under_way: list[int] = field(default_factory=list)  # their first registers, where the listing has come to
    name: str = ""
    code: Counter[str] = field(default_factory=Counter)

    @property
    def family(self) -> str:
        return re.split(r"[<(]", self.name)[0].replace("reprise::kernels::cuda::", "")

    def add(self, instruction: str, operands: str) -> None:
        self.code[instruction] += 1
        if self.under_way:
            used = {int(register) for register in re.findall(r"\bR(\d+)\b", operands)}
            self.under_way = [first for first in self.under_way if used.isdisjoint(range(first, first + 4))]
        if re.match(r"LDG.*\.128", instruction) and (to := re.match(r"R(\d+)", operands)):
            self.under_way.append(int(to[1]))
            self.ahead = max(self.ahead, len(self.under_way))

    def count(self, pattern: str) -> int:
        return sum(n for instruction, n in self.code.items() if re.match(pattern, instruction))


def local_memory(kernel: Kernel) -> Iterator[str]:
    """Local memory lies off chip: registers that spill there are traffic that the source does not show."""
    allowed = max((bytes_ for pattern, bytes_, _ in LOCAL_MEMORY if re.search(pattern, kernel.name)), default=0)
    if kernel.local_bytes > allowed:
        yield f"{kernel.local_bytes} bytes of local memory, {allowed} allowed"


def atomics(kernel: Kernel) -> Iterator[str]:
    """Floats are never added atomically: the order would be in the result."""
    for instruction in kernel.code:
        if re.match(r"(ATOM|RED)\w*\..*(F16|BF16|F32|F64)", instruction):
            yield f"adds floats atomically ({instruction})"
        if re.match(r"ATOM\w*\..*CAS", instruction) and kernel.family not in COMPARE_AND_SWAP:
            yield f"compares and swaps ({instruction}), which may hide an atomic sum of floats"


def tensor_cores(kernel: Kernel) -> Iterator[str]:
    """Attention in 16 bits: products on tensor cores, operands by ldmatrix, tiles by 16-byte asynchronous copies."""
    if ATTENTION.search(kernel.name):
        for what, pattern in (("HMMA", "HMMA"), ("LDSM", "LDSM"), ("LDGSTS of 16 bytes", r"LDGSTS.*\.128")):
            if kernel.count(pattern) == 0:
                yield f"has no {what}"


def wide_accesses(kernel: Kernel) -> Iterator[str]:
    """Where rows are aligned, global memory is read and written 16 bytes at a time."""
    if SINGLE.search(kernel.name):
        return
    if READ_16.search(kernel.name) and kernel.count(r"LDG.*\.128") == 0:
        yield "reads nothing 16 bytes at a time"
    if WRITE_16.search(kernel.name) and not NARROW_RESULT.search(kernel.name) and kernel.count(r"STG.*\.128") == 0:
        yield "writes nothing 16 bytes at a time"


def loads_ahead(kernel: Kernel) -> Iterator[str]:
    """Memory is kept busy by threads that have several loads under way, not one after the other."""
    if SINGLE.search(kernel.name):
        return
    for pattern, least in AHEAD:
        if pattern.search(kernel.name) and kernel.ahead < least:
            yield f"has {kernel.ahead} loads of 16 bytes under way, {least} are wanted"


RULES = (local_memory, atomics, tensor_cores, wide_accesses, loads_ahead)


def parse(lines: Iterable[str]) -> dict[str, dict[str, Kernel]]:
    """Kernels by architecture and symbol."""
    found: dict[str, dict[str, Kernel]] = {}
    architecture, kernel = "", None

    def of(symbol: str) -> Kernel:
        return found.setdefault(architecture, {}).setdefault(symbol, Kernel(symbol))

    for line in lines:
        if match := re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ )?([A-Z][\w.]*)([^;]*)", line):
            if kernel is not None:
                kernel.add(match[1], match[2].strip())
        elif match := re.match(r"arch = (\w+)", line):
            architecture, kernel = match[1], None
        elif match := re.match(r"\s+Function ?: ?(\S+)|\s+Function (\S+):", line):
            kernel = of(match[1] or match[2])
        elif match := re.search(r"REG:(\d+) STACK:(\d+) .*LOCAL:(\d+)", line):
            if kernel is not None:
                kernel.registers, kernel.local_bytes = int(match[1]), int(match[2]) + int(match[3])
    return found


def name_all(kernels: list[Kernel]) -> None:
    symbols = "\n".join(kernel.symbol for kernel in kernels)
    names = subprocess.run(["c++filt"], input=symbols, capture_output=True, text=True, check=True).stdout.splitlines()
    for kernel, name in zip(kernels, names):
        kernel.name = name.replace("(anonymous namespace)::", "").removeprefix("void ")


def find_cuobjdump() -> str | None:
    """The CUDA toolkit's with its nvdisasm beside it, or else those from PyPI, which are installed below build/."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH") or "/usr/local/cuda"
    for path in (shutil.which("cuobjdump"), f"{home}/bin/cuobjdump"):
        if path and os.access(path, os.X_OK) and Path(path).with_name("nvdisasm").exists():
            return path
    place = ROOT / "build" / "python"
    pattern = "lib/python*/site-packages/nvidia/*/bin/nvdisasm"
    if not any(place.glob(pattern)):
        try:
            venv.create(place, with_pip=True)
            pip = [str(place / "bin" / "pip"), "install", "-q", "--disable-pip-version-check", *PACKAGES]
            subprocess.run(pip, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return None
    return next((str(path.with_name("cuobjdump")) for path in place.glob(pattern)), None)


def listing(cuobjdump: str, program: str) -> Iterator[str]:
    tools = {**os.environ, "PATH": f"{Path(cuobjdump).parent}:{os.environ.get('PATH', '')}"}
    for what in ("-res-usage", "-sass"):
        with subprocess.Popen([cuobjdump, what, program], stdout=subprocess.PIPE, text=True, env=tools) as process:
            yield from process.stdout
        if process.returncode != 0:
            raise SystemExit(f"check_machine_code: cuobjdump {what} failed on {program}")


def print_table(architecture: str, kernels: list[Kernel]) -> None:
    print(f"{architecture}: {len(kernels)} kernels")
    print(f"  {'family':<38}{'forms':>6}{'registers':>11}{'local B':>9}{'HMMA':>7}{'16-byte loads':>15}{'stores':>8}")
    families: dict[str, list[Kernel]] = {}
    for kernel in kernels:
        families.setdefault(kernel.family, []).append(kernel)
    for family, forms in sorted(families.items()):
        registers = f"{min(k.registers for k in forms)}..{max(k.registers for k in forms)}"
        local = max(k.local_bytes for k in forms)
        counts = [sum(k.count(p) for k in forms) for p in ("HMMA", r"(LDG|LDGSTS)\..*128", r"STG.*\.128")]
        numbers = [str(n) if n else "-" for n in (local, *counts)]
        print(f"  {family:<38}{len(forms):>6}{registers:>11}{numbers[0]:>9}{numbers[1]:>7}{numbers[2]:>15}{numbers[3]:>8}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--table", action="store_true", help="print what every family of kernels takes")
    parser.add_argument("--listing", type=Path, help="what cuobjdump printed before")
    arguments = parser.parse_args()
    if arguments.listing:
        found = parse(arguments.listing.read_text().splitlines())
    else:
        cuobjdump = find_cuobjdump()
        if cuobjdump is None:
            print("skipped: no cuobjdump in the CUDA toolkit, and none to be had from PyPI")
            return 0
        found = parse(listing(cuobjdump, arguments.program))
    if not found:
        print(f"check_machine_code: no kernels in {arguments.program}", file=sys.stderr)
        return 2
    broken, counts = 0, []
    for architecture, by_symbol in sorted(found.items()):
        kernels = [kernel for kernel in by_symbol.values() if kernel.code]
        name_all(kernels)
        if arguments.table:
            print_table(architecture, kernels)
        counts.append(f"{len(kernels)} kernels for {architecture}")
        for kernel in kernels:
            for rule in RULES:
                for what in rule(kernel):
                    broken += 1
                    print(f"BROKEN [{rule.__name__}] {architecture} {kernel.name}: {what}")
    print(f"Machine code: {', '.join(counts)}: {f'{broken} rules broken' if broken else 'all keep the rules'}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
