#!/usr/bin/env python3
"""One table of what bench/gpu_check.sh has found: ours, the peer, the ratio, the goal, and whether it is met.

usage: gpu_table.py LOGS RESULTS [--rehearsal]
Reads the files that the stages left in LOGS, and writes all of it to RESULTS/gpu-<device>-<date>.json. Exit status: 0 all
well, 1 a stage failed, 3 a goal was missed (a rehearsal has none). Goals stand in bench/cuda/workloads.json.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

WORKLOADS = Path(__file__).parent.parent / "cuda" / "workloads.json"
STAGES = ("build", "test", "bits", "sanitize", "kernels", "steps", "peers", "profile", "probes")
COMPUTE_FAMILIES = ("attention", "matmul", "linear", "convolution", "reference")


@dataclass
class Line:
    """One row of the table; `met` is None where there is no goal, or nothing to compare with."""

    what: str
    ours: str
    peer: str = ""
    ratio: float | None = None
    goal: str = ""
    met: bool | None = None


def read(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def rows_of(results: dict) -> list[dict]:
    return [row for row in results.get("rows", []) if "error" not in row]


def at_most(value: float, bound: float | None) -> tuple[str, bool | None]:
    return ("", None) if bound is None else (f"<= {bound:g}", value <= bound)


def at_least(value: float, bound: float | None) -> tuple[str, bool | None]:
    return ("", None) if bound is None else (f">= {bound:g}", value >= bound)


def missing(what: str, reason: str, goal: str = "") -> Line:
    return Line(what, reason, goal=goal, met=False if goal else None)


def kernel_lines(kernels: dict, goals: dict) -> Iterator[Line]:
    copy = kernels.get("copy_gb_per_s", 0)
    for row in kernels.get("rows", []):
        what = f"{row['family']}: {row['kernel']}, {row['dtype']}, {row['shape']}"
        if "error" in row:
            yield missing(what, row["error"][:60], "runs")
        elif row["family"] == "reference":
            yield Line(what, f"{row['gb_per_s']:.0f} GB/s")
        elif row["family"] not in COMPUTE_FAMILIES:
            share = row["share_of_copy"]
            goal, met = at_least(share, goals.get("share_of_copy"))
            yield Line(what, f"{row['gb_per_s']:.0f} GB/s", f"{copy:.0f} GB/s", share, goal, met)
        elif row["family"] != "attention":
            yield Line(what, f"{row['tflops']:.0f} TFLOP/s", f"{kernels['matmul_tflops']:.0f} TFLOP/s", row["share_of_matmul"])


def attention_lines(kernels: dict, peers: dict, goals: dict) -> Iterator[Line]:
    """Ours beside the faster of PyTorch's backends, each direction for itself."""
    for row in rows_of(kernels):
        if row["family"] != "attention":
            continue
        sizes = [int(size) for size in re.findall(r"\d+", row["shape"])]
        key = f"{row['kernel']}_ms"
        rivals = [(peer[key], peer["variant"]) for peer in rows_of(peers) if peer.get("shape") == sizes]
        what = f"attention: {row['kernel']}, {row['dtype']}, {row['shape']}"
        ours = f"{row['ms_median']:.3f} ms, {row['tflops']:.0f} TFLOP/s"
        if not rivals:
            yield Line(what, ours, "no peer", goal=f"<= {goals['attention_over_peer']:g}" if goals else "")
            continue
        ms, variant = min(rivals)
        ratio = row["ms_median"] / ms
        goal, met = at_most(ratio, goals.get("attention_over_peer"))
        yield Line(what, ours, f"{ms:.3f} ms, {variant}", ratio, goal, met)


def fastest(peers: dict, name: str, how: str) -> dict | None:
    rivals = [row for row in rows_of(peers) if row["name"] == name and row["kind"].endswith(how)]
    return max(rivals, key=lambda row: row["items_per_s"], default=None)


def gib(count: float) -> str:
    return f"{count / 2**30:.2f} GiB"


def peer_lines(workload: dict, ours: dict, peers: dict) -> Iterator[Line]:
    """Speed and memory beside the fastest eager and the fastest compiled peer."""
    name, goals = workload["name"], workload.get("goals", {})
    for how in ("eager", "compiled"):
        peer = fastest(peers, workload.get("peer", name), how)
        bound = goals.get(f"speed_over_{how}")
        speed = f"{ours['items_per_s']:.0f} /s"
        if peer is None:
            if bound is not None:
                yield Line(f"{name}: speed, {how} peer", speed, "no peer", goal=f">= {bound:g}")
            continue
        ratio = ours["items_per_s"] / peer["items_per_s"]
        goal, met = at_least(ratio, bound)
        yield Line(f"{name}: speed, {how} peer", speed, f"{peer['items_per_s']:.0f} /s, {peer['variant']}", ratio, goal, met)
        if "peak_allocated_bytes" in ours:
            ratio = ours["peak_allocated_bytes"] / peer["peak_allocated_bytes"]
            goal, met = at_most(ratio, goals.get(f"peak_of_{how}"))
            mine, theirs = gib(ours["peak_allocated_bytes"]), gib(peer["peak_allocated_bytes"])
            yield Line(f"{name}: peak memory, {how} peer", mine, f"{theirs}, {peer['variant']}", ratio, goal, met)


def setting_lines(name: str, rows: list[dict], goals: dict) -> Iterator[Line]:
    """What segments and graphs change, beside the first setting of the same run."""
    first = rows[0]
    for row in rows[1:]:
        ratio = row["ms_median"] / first["ms_median"]
        peer = f"{first['ms_median']:.3f} ms, {first['segments']}"
        if row["graph"]:
            goal, met = at_most(row["ms_median"], goals.get("graph_ms"))
            yield Line(f"{name}: graph", f"{row['ms_median']:.3f} ms", peer, ratio, goal + (" ms" if goal else ""), met)
        else:
            goal, met = at_most(ratio, goals.get(row["segments"]))
            memory = gib(row["peak_allocated_bytes"])
            yield Line(f"{name}: {row['segments']}", f"{row['ms_median']:.3f} ms, {memory}", peer, ratio, goal, met)


def step_lines(workload: dict, steps: dict, peers: dict) -> Iterator[Line]:
    name, goals = workload["name"], workload.get("goals", {})
    mine = [row for row in steps.get("rows", []) if row["name"] == name]
    for row in mine:
        if "error" in row:
            yield missing(f"{name}: {row['segments']}{', graph' if row['graph'] else ''}", row["error"][:60], "runs")
    rows = [row for row in mine if "error" not in row]
    if not rows:
        if not mine:
            yield missing(f"{name}: step", "not measured", "runs" if goals else "")
        return
    first = rows[0]
    goal, met = at_least(first["items_per_s"], goals.get("items_per_s"))
    memory = f", {gib(first['peak_allocated_bytes'])}" if "peak_allocated_bytes" in first else ""
    yield Line(f"{name}: step", f"{first['ms_median']:.3f} ms, {first['items_per_s']:.0f} /s{memory}", goal=goal, met=met)
    # With a graph, or under the setting, that the workload names: that is how it would be trained.
    graph = next((row for row in rows if row["graph"]), None)
    judged = next((row for row in rows if row["segments"] == workload.get("judged")), first)
    yield from peer_lines(workload, graph or judged, peers)
    yield from setting_lines(name, rows, goals)


def predicted_lines(bits: dict[str, dict], predicted: dict[str, dict]) -> Iterator[Line]:
    """Whether the memory that was predicted for each setting is what the device's pool has counted, to the byte."""
    keys = ("peak_allocated_bytes", "peak_activation_bytes", "peak_reserved_bytes")
    for name, result in bits.items():
        prediction = predicted.get(name.replace("bits-", "predicted-"), {})
        if not result or not prediction:
            continue
        there = {row["segments"]: row for row in result["rows"]}
        wrong = [f"{row['segments']} {key}: {there[row['segments']][key]}, not {row[key]}"
                 for row in prediction["rows"] for key in keys if row[key] != there[row["segments"]][key]]
        ours = "equal" if not wrong else "; ".join(wrong)[:120]
        yield Line(f"{name.removeprefix('bits-')}: predicted bytes", ours, goal="equal", met=not wrong)


def bits_lines(bits: dict[str, dict]) -> Iterator[Line]:
    for name, result in bits.items():
        if not result:
            continue
        equal = result["digests_equal"]
        settings = ", ".join(row["segments"] for row in result["rows"])
        yield Line(f"{name}: digests under {settings}", "equal" if equal else "DIFFERENT", goal="equal", met=equal)


def stage_lines(stages: Iterable[dict]) -> Iterator[Line]:
    for stage in stages:
        met = {"ok": True, "failed": False}.get(stage["result"])
        yield Line(f"stage {stage['stage']}", f"{stage['result']}, {stage['seconds']} s", stage["note"][:48], goal="ok", met=met)


def number(text: str | None) -> float:
    return float((text or "0").replace(",", ""))


def profile_rows(path: Path) -> list[dict]:
    """What Nsight Compute wrote of each kernel: name, time and, where it was asked, what bounds it. The first row has the units."""
    lines = [line for line in path.read_text().splitlines(keepends=True) if not line.startswith("==")]
    rows = []
    for row in csv.DictReader(io.StringIO("".join(lines))):
        if not row.get("ID") or not row.get("gpu__time_duration.sum"):
            continue
        name = re.sub(r"^void |reprise::|kernels::cuda::|<unnamed>::|unnamed>::", "", row["Kernel Name"])[:160]
        found = {"kernel": name, "us": number(row["gpu__time_duration.sum"]) / 1e3}
        if "sm__warps_active.avg.pct_of_peak_sustained_active" in row:
            stalls = {key.split("stalled_")[1].split("_per_")[0]: number(value) for key, value in row.items()
                      if key.startswith("smsp__average_warps_issue_stalled") and key.endswith("_issue_active.ratio")}
            found |= {"grid": row["Grid Size"], "block": row["Block Size"],
                      "dram_percent": number(row.get("gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed")),
                      "occupancy_percent": number(row["sm__warps_active.avg.pct_of_peak_sustained_active"]),
                      "registers": int(number(row.get("launch__registers_per_thread"))),
                      "stalls": dict(sorted(stalls.items(), key=lambda item: -item[1])[:3])}
        rows.append(found)
    return rows


def summed(rows: list[dict]) -> list[dict]:
    """The kernels of a step, each once, the longest first."""
    kernels: dict[str, dict] = {}
    for row in rows:
        kernel = kernels.setdefault(row["kernel"], {"kernel": row["kernel"], "launches": 0, "us": 0.0})
        kernel["launches"] += 1
        kernel["us"] += row["us"]
    return sorted(kernels.values(), key=lambda kernel: -kernel["us"])


def profile_of(path: Path) -> list[dict]:
    try:
        rows = profile_rows(path)
    except (OSError, ValueError, KeyError, csv.Error):
        return []  # it was stopped in the middle
    return summed(rows) if path.stem.startswith("profile-step") else rows


def lines_of_json(path: Path) -> list[dict]:
    try:
        return [json.loads(line) for line in path.read_text().splitlines()]
    except (OSError, ValueError):
        return []


def gather(logs: Path) -> dict:
    """Everything that the stages left."""
    found = {name: read(logs / f"{name}.json") for name in ("setup", "kernels", "steps", "peers")}
    found["bits"] = {path.stem: read(path) for path in sorted(logs.glob("bits-*.json"))}
    found["predicted"] = {path.stem: read(path) for path in sorted(logs.glob("predicted-*.json"))}
    found["probes"] = lines_of_json(logs / "probes.jsonl")
    found["profile"] = {path.stem.removeprefix("profile-"): profile_of(path) for path in sorted(logs.glob("profile-*.csv"))}
    found["stages"] = [stage for name in STAGES if (stage := read(logs / f"stage-{name}.json"))]
    return found


def lines_of(found: dict, workloads: dict) -> list[Line]:
    goals = workloads.get("goals", {})
    lines = list(stage_lines(found["stages"]))
    lines += bits_lines(found["bits"])
    lines += predicted_lines(found["bits"], found.get("predicted", {}))
    if found["kernels"]:
        lines += kernel_lines(found["kernels"], goals)
        lines += attention_lines(found["kernels"], found["peers"], goals)
    if found["steps"]:
        for workload in [*workloads["gpt"], *workloads["resnet"]]:
            lines += step_lines(workload, found["steps"], found["peers"])
    return lines


def verdict(line: Line) -> str:
    if line.goal == "":
        return ""
    return {True: "met", False: "MISSED", None: "unknown"}[line.met]


def render(lines: list[Line]) -> str:
    table = [("", "ours", "peer", "ratio", "goal", "")]
    for line in lines:
        ratio = "" if line.ratio is None else f"{line.ratio:.3f}"
        table.append((line.what, line.ours, line.peer, ratio, line.goal, verdict(line)))
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in table]
    text.insert(1, "-" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join(text)


def versions(found: dict) -> str:
    """The libraries behind both sides."""
    device = found["kernels"].get("device") or found["steps"].get("device") or {}
    peer = found["peers"].get("versions", {})
    ours = ", ".join(device.get("libraries", ["not known"]))
    theirs = f"torch {peer['torch']}, CUDA {peer['cuda']}, cuDNN {peer['cudnn']}" if peer else "none"
    return f"ours: {ours}; peer: {theirs}"


def warnings(found: dict) -> list[str]:
    commits = sorted({stage["commit"] for stage in found["stages"]})
    return [f"Warning: the stages are of different commits: {', '.join(commits)}"] if len(commits) > 1 else []


def status_of(found: dict, lines: list[Line]) -> int:
    if any(stage["result"] == "failed" for stage in found["stages"]):
        return 1
    return 3 if any(line.met is False for line in lines) else 0


def result_path(folder: Path, setup: dict) -> Path:
    device = re.sub(r"[^a-z0-9]+", "-", setup.get("device", "unknown").lower().removeprefix("nvidia ")).strip("-")
    return folder / f"gpu-{device}-{setup.get('date', 'undated')}.json"


def main() -> int:
    rehearsal = sys.argv[3:] == ["--rehearsal"]
    if len(sys.argv) != 3 and not rehearsal:
        print("usage: gpu_table.py LOGS RESULTS [--rehearsal]", file=sys.stderr)
        return 2
    found = gather(Path(sys.argv[1]))
    lines = lines_of(found, json.loads(WORKLOADS.read_text())["smoke" if rehearsal else "full"])
    path = result_path(Path(sys.argv[2]), found["setup"])
    record = {**found.pop("setup"), **found, "table": [{**asdict(line), "verdict": verdict(line)} for line in lines]}
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(f"\n{versions(record)}\n{render(lines)}")
    for warning in warnings(record):
        print(warning)
    count = {word: sum(verdict(line) == word for line in lines) for word in ("met", "MISSED", "unknown")}
    print(f"{count['met']} goals met, {count['MISSED']} missed, {count['unknown']} unknown; {path}")
    return status_of(record, lines)


if __name__ == "__main__":
    sys.exit(main())
