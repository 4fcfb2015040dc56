#!/usr/bin/env python3
"""Runs every test of a program on the device, each in a process of its own: one that breaks the device's context breaks no other.

usage: gpu_tests.py PROGRAM LOGS [--jobs N] [--seconds S] [--each S] [--filter TAGS]
Prints what failed and one line at the end; writes LOGS/test.json. Exit status: 0 all passed, 1 not.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

MOST_OUTPUT = 4000


def names_of(program: str, tags: str) -> list[str]:
    listed = subprocess.run([program, "--list-test-names-only", tags], capture_output=True, text=True, check=False)
    return [line.strip() for line in listed.stdout.splitlines() if line.strip()]


def pattern(name: str) -> str:
    """The name as Catch2 takes it: these characters mean something in its patterns."""
    return re.sub(r"([\\,\[\"*~])", r"\\\1", name)


def run(program: str, name: str, seconds: float) -> dict:
    start = time.monotonic()
    if seconds <= 0:
        return {"name": name, "result": "late", "seconds": 0, "output": ""}
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    try:
        done = subprocess.run([program, pattern(name)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", timeout=seconds, env=environment, check=False)
        output = done.stdout
        ran = "No tests ran" not in output and "No test cases matched" not in output
        result = "passed" if done.returncode == 0 and ran else f"failed, status {done.returncode}"
    except subprocess.TimeoutExpired as error:
        output = (error.stdout or b"").decode(errors="replace")
        result = "late"
    return {"name": name, "result": result, "seconds": round(time.monotonic() - start, 2), "output": output[-MOST_OUTPUT:]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("logs", type=Path)
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=90, help="for all")
    parser.add_argument("--each", type=float, default=60, help="for one test")
    parser.add_argument("--filter", default="~[slow]")
    options = parser.parse_args()

    end = time.monotonic() + options.seconds
    names = names_of(options.program, options.filter)
    if not names:
        print(f"gpu_tests: {options.program} lists no tests")
        return 1

    def one(name: str) -> dict:
        return run(options.program, name, min(options.each, end - time.monotonic()))

    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(one, names))
    options.logs.mkdir(parents=True, exist_ok=True)
    (options.logs / "test.json").write_text(json.dumps(results, indent=1) + "\n")
    bad = [result for result in results if result["result"] != "passed"]
    for result in bad:
        print(f"--- {result['name']}: {result['result']}\n{result['output'] if result['result'] != 'late' else ''}")
    slowest = max(results, key=lambda result: result["seconds"])
    named = "; ".join(result["name"] for result in bad)
    print(f"{len(results) - len(bad)} of {len(results)} tests passed, slowest {slowest['seconds']:.1f} s ({slowest['name']})"
          + (f"; not passed: {named}" if bad else ""))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
