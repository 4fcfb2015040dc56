#!/usr/bin/env python3
"""The workloads of bench/cuda/workloads.json in PyTorch on a GPU, for bench/gpu_check.sh.

Eager runs and attention share one process; each compiled model has its own, with a time limit. Without PyTorch or a GPU
it says so in one line and ends with status 0.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORKER = Path(__file__).with_name("torch_gpu_worker.py")
WORKLOADS = Path(__file__).parent.parent / "cuda" / "workloads.json"


def skip_reason() -> str | None:
    if importlib.util.find_spec("torch") is None:
        return f"{sys.executable} has no torch"
    import torch

    if not torch.cuda.is_available():
        return f"torch {torch.__version__} sees no CUDA device"
    return None


def run_worker(request: dict, seconds: float) -> list[dict]:
    """The rows that the worker printed, also when it ran out of time, and one that says what went wrong."""
    command = [sys.executable, "-B", str(WORKER), json.dumps(request)]
    trouble = None
    # Not through a pipe, which the compiler's own processes could hold open.
    with tempfile.TemporaryFile("w+") as output:
        try:
            done = subprocess.run(command, stdout=output, timeout=seconds, check=False)
            if done.returncode != 0:
                trouble = f"the worker ended with status {done.returncode}"
        except subprocess.TimeoutExpired:
            trouble = f"stopped after {seconds:.0f} s"
        output.seek(0)
        lines = output.read().splitlines()
    rows = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
    if trouble:
        rows.append({"kind": request["kind"], "name": request.get("name", request["kind"]), "error": trouble})
    return rows


def requests_of(workloads: dict, with_eager: bool, with_compiled: bool) -> list[dict]:
    chosen = [gpt for gpt in workloads["gpt"] if gpt["compile"] and with_compiled]
    compiled = [{"kind": "compiled", "name": gpt["name"], "workloads": {"gpt": [gpt]}} for gpt in chosen]
    return [*([{"kind": "eager", "workloads": workloads}] if with_eager else []), *compiled]


def show(row: dict) -> None:
    name = " ".join(str(row[key]) for key in ("kind", "name", "variant") if key in row)
    if "error" in row:
        print(f"{name:<52} {row['error']}")
    else:
        print(f"{name:<52} {row['ms_median']:9.3f} ms")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", type=Path, default=WORKLOADS)
    parser.add_argument("--smoke", action="store_true", help="the tiny workloads")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=150, help="for all; compiled models have what eager ones leave")
    parser.add_argument("--compile-seconds", type=float, default=120, help="for each compiled model; 0: none")
    parser.add_argument("--only-compile", action="store_true",
                        help="the compiled models alone, so that a later run finds on disk what the compiler made")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    reason = skip_reason()
    if reason:
        print(f"torch_gpu: skipped: {reason}")
        if options.json:
            options.json.write_text(json.dumps({"skipped": reason, "rows": []}) + "\n")
        return 0
    workloads = json.loads(options.workloads.read_text())["smoke" if options.smoke else "full"]
    end = time.monotonic() + options.seconds
    results: dict = {"rows": []}
    for request in requests_of(workloads, not options.only_compile, options.compile_seconds > 0):
        request["steps"] = options.steps
        seconds = end - time.monotonic()
        if request["kind"] == "compiled":
            seconds = min(seconds, options.compile_seconds)
        if seconds > 5:
            rows = run_worker(request, seconds)
        else:
            rows = [{"kind": request["kind"], "name": request.get("name", ""), "error": "not begun: no time left"}]
        for row in rows:
            if row["kind"] == "versions":
                results["versions"] = row
                continue
            show(row)
            results["rows"].append(row)
        if options.json:
            options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 1 if any("error" in row for row in results["rows"]) else 0


if __name__ == "__main__":
    sys.exit(main())
