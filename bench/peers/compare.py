#!/usr/bin/env python3
"""Times training steps of Reprise beside the same models in PyTorch, on the same cores.

Both run in processes of their own that take turns, round after round; each measures a model without
checkpoints and with one per block, and Reprise also with "cheap" segments. Ratios are Reprise
over PyTorch: less is better. See README.md.
"""

import argparse
import datetime
import glob
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

import table

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# What each setting of Reprise's segments is held against: PyTorch without checkpoints, or with one per block.
# It has nothing like "cheap", which replays only what costs little.
PEER_SETTING = {"none": "none", "cheap": "none", "blocks": "blocks"}

# Goals are the largest ratios wanted: of the step's time, and of the peak of live bytes.
MODELS = {
    "A": {
        "title": "GPT, 4 × 128, T 128, batch 8",
        "size": {"model": "gpt", "layers": 4, "width": 128, "heads": 4, "vocabulary": 256, "context": 128,
                 "seq": 128, "batch": 8},
        "preset": "tiny", "steps": 20, "step_goal": 0.7, "peak_goal": 0.6,
    },
    "B": {
        "title": "GPT-2 124M, T 256, batch 2",
        "size": {"model": "gpt", "layers": 12, "width": 768, "heads": 12, "vocabulary": 50257, "context": 1024,
                 "seq": 256, "batch": 2},
        "preset": "gpt2", "steps": 4, "step_goal": 0.95, "peak_goal": None,
    },
    "R": {
        "title": "ResNet-20, 32 × 32, batch 64",
        "size": {"model": "resnet", "batch": 64},
        "preset": "resnet20", "steps": 15, "step_goal": 0.9, "peak_goal": 0.6,
    },
}


def fail(message):
    """One line that says what is wrong, and status 2."""
    print(f"compare: {message}", file=sys.stderr)
    sys.exit(2)


def parse_options():
    parser = argparse.ArgumentParser(description="Times Reprise beside PyTorch on the same models and cores.")
    parser.add_argument("--models", default="A,B,R", help="of A, B and R (default: all)")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--threads", type=int, default=cores, help="cores for either (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (default: 5)")
    parser.add_argument("--steps", type=int, help="steps per setting and turn (default: 20, 4 and 15)")
    parser.add_argument("--reprise", default=str(ROOT / "build/release/bin/reprise"), help="the program")
    parser.add_argument("--python", help="an interpreter that has torch (default: this one, or the system's)")
    parser.add_argument("--peer-only", action="store_true", help="measure PyTorch alone")
    parser.add_argument("--json", help="file for the results")
    options = parser.parse_args()
    options.models = options.models.split(",")
    unknown = [name for name in options.models if name not in MODELS]
    if unknown:
        parser.error(f"no model '{unknown[0]}'; there are {', '.join(MODELS)}")
    if not 1 <= options.threads <= cores:
        parser.error(f"--threads {options.threads}; there are {cores} cores")
    if options.rounds < 1 or (options.steps is not None and options.steps < 1):
        parser.error("--rounds and --steps must be at least 1")
    return options


def find_torch(python):
    """The first interpreter that can import torch, or None."""
    for candidate in [python] if python else [sys.executable, "/usr/bin/python3"]:
        try:
            if subprocess.run([candidate, "-c", "import torch"], capture_output=True, check=False).returncode == 0:
                return candidate
        except OSError:
            pass
    return None


def first_file(*patterns):
    return next((path for pattern in patterns for path in sorted(glob.glob(pattern))), None)


def cpu_flags():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.split() for line in file if line.startswith("flags")), [])


def peer_environment(threads):
    """What an experienced user sets: threads, an allocator that keeps its pages, OpenMP's BLAS, wide vectors."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONDONTWRITEBYTECODE": "1"}
    tcmalloc = first_file(*(f"/usr/lib{place}/lib{name}.so.4"
                            for name in ("tcmalloc", "tcmalloc_minimal") for place in ("/*", "*")))
    if tcmalloc:
        environment["LD_PRELOAD"] = tcmalloc
        environment["TCMALLOC_RELEASE_RATE"] = "0"
    # Debian's alternatives may point at the build with threads of its own, which get in OpenMP's way.
    openblas = first_file("/usr/lib/*/openblas-openmp/libblas.so.3")
    if openblas:
        paths = [os.path.dirname(openblas), os.environ.get("LD_LIBRARY_PATH")]
        environment["LD_LIBRARY_PATH"] = ":".join(path for path in paths if path)
    # Debian's build stays with AVX2 unless told; on a model of mostly elementwise work this is worth a tenth.
    if {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= set(cpu_flags()):
        environment.setdefault("ATEN_CPU_CAPABILITY", "avx512")
    return environment


def run_program(command, environment, what):
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        fail(f"{what} ended with status {done.returncode}: {lines[-1]}")
    return done.stdout


def run_peer(python, model, options, memory):
    request = {**model["size"], "threads": options.threads, "steps": options.steps or model["steps"], "memory": memory}
    command = [python, str(HERE / "torch_worker.py"), json.dumps(request)]
    return json.loads(run_program(command, peer_environment(options.threads), "PyTorch").splitlines()[-1])


def reprise_command(model, options, json_path):
    size = model["size"]
    command = [options.reprise, "compare", size["model"], "--preset", model["preset"], "--batch", str(size["batch"]),
               "--steps", str(options.steps or model["steps"]), "--threads", str(options.threads), "--clip", "0",
               "--segments", ",".join(PEER_SETTING), "--json", json_path]
    if size["model"] == "gpt":
        for option, key in (("--layers", "layers"), ("--width", "width"), ("--heads", "heads"), ("--seq", "seq"),
                            ("--vocab", "vocabulary")):
            command += [option, str(size[key])]
        command += ["--dropout", "0"]
    return command


def run_reprise(model, options):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "result.json")
        environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
        run_program(reprise_command(model, options, path), environment, "reprise")
        with open(path, encoding="utf-8") as file:
            result = json.load(file)
    result["by_setting"] = {row["segments"]: row for row in result.pop("rows")}
    return result


def measure(name, python, options):
    """All rounds of one model: medians of each round, peaks, and what ran."""
    model = MODELS[name]
    peer_rounds, reprise_rounds = [], []
    for i in range(options.rounds):
        table.progress(f"{name}: round {i + 1} of {options.rounds}")
        peer_rounds.append(run_peer(python, model, options, memory=i == 0))
        if not options.peer_only:
            reprise_rounds.append(run_reprise(model, options))
    table.progress("")
    return summarise(name, peer_rounds, reprise_rounds)


def summarise(name, peer_rounds, reprise_rounds):
    model, peer = MODELS[name], peer_rounds[0]
    result = {"model": name, "title": model["title"], "parameters": peer["parameters"],
              "peer_versions": peer["versions"], "peer_lasting_bytes": peer["lasting_bytes"],
              "step_goal": model["step_goal"], "peak_goal": model["peak_goal"], "settings": {}}
    if reprise_rounds:
        result["reprise_description"] = reprise_rounds[0]["description"]
        result["same_parameters"] = f"{peer['parameters']:,} parameters" in result["reprise_description"]
    for setting, peer_setting in PEER_SETTING.items():
        if reprise_rounds or setting == peer_setting:
            result["settings"][setting] = summarise_setting(setting, peer_setting, peer_rounds, reprise_rounds)
    return result


def summarise_setting(setting, peer_setting, peer_rounds, reprise_rounds):
    peer_ms = [statistics.median(one["step_ms"][peer_setting]) for one in peer_rounds]
    growth = peer_rounds[0]["growth_bytes"][peer_setting]
    entry = {
        "peer_setting": peer_setting,
        "peer_step_ms": peer_ms,
        "peer_step_ms_median": statistics.median(peer_ms),
        "peer_growth_bytes": growth,
        "peer_peak_bytes": peer_rounds[0]["lasting_bytes"] + growth,
    }
    if not reprise_rounds:
        return entry
    rows = [one["by_setting"][setting] for one in reprise_rounds]
    reprise_ms = [row["step_ms_median"] for row in rows]
    ratios = [ours / theirs for ours, theirs in zip(reprise_ms, peer_ms)]
    return {
        **entry,
        "reprise_step_ms": reprise_ms,
        "reprise_step_ms_median": statistics.median(reprise_ms),
        "reprise_peak_bytes": rows[0]["peak_allocated_bytes"],
        "reprise": rows[0],
        "step_ratios": ratios,
        "step_ratio": statistics.median(ratios),
        "peak_ratio": rows[0]["peak_allocated_bytes"] / entry["peer_peak_bytes"],
    }


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.machine()


def commit():
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False)
    if head.returncode != 0:
        return None
    changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=False).stdout
    return head.stdout.strip() + (" with changes" if changed.strip() else "")


def setup_of(options):
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "cpu": cpu_model(),
        "threads": options.threads,
        "kernel": platform.release(),
        "load_before": round(os.getloadavg()[0], 2),
        "rounds": options.rounds,
        "reprise": None if options.peer_only else
                   run_program([options.reprise, "--version"], os.environ, "reprise").strip(),
        "peak_method": "PyTorch: tensors between steps, plus the highest sum of its CPU allocator's events over one "
                       "step (torch.profiler); oneDNN's and BLAS's own buffers not counted. Reprise: peak_allocated_bytes.",
    }


def main():
    options = parse_options()
    python = find_torch(options.python)
    if python is None:
        print("skipped: no PyTorch to compare with (Debian: apt-get install python3-torch; or --python INTERPRETER)")
        return
    if not options.peer_only and not os.access(options.reprise, os.X_OK):
        fail(f"no program at {options.reprise}; run 'make build', or use --peer-only")
    if options.json and not pathlib.Path(options.json).resolve().parent.is_dir():
        fail(f"no folder for {options.json}")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    setup = setup_of(options)
    results = [measure(name, python, options) for name in options.models]
    print(table.render(setup, results, sys.stdout.isatty()))
    if options.json:
        text = json.dumps({"setup": setup, "models": results}, indent=2, ensure_ascii=False)
        pathlib.Path(options.json).write_text(text + "\n", encoding="utf-8")
        print(f"results: {options.json}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\ncompare: interrupted")
