"""The table of bench/gpu_check.sh, from made-up results: goals met, missed and unknown, and errors."""

from __future__ import annotations

import copy
import importlib.util
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "bench" / "peers" / "gpu_table.py"
SPEC = importlib.util.spec_from_file_location("gpu_table", SCRIPT)
assert SPEC and SPEC.loader
sys.dont_write_bytecode = True
gpu_table = importlib.util.module_from_spec(SPEC)
sys.modules["gpu_table"] = gpu_table  # dataclasses look for it
SPEC.loader.exec_module(gpu_table)


def kernel(family: str, name: str, **values: object) -> dict:
    return {"family": family, "kernel": name, "dtype": "bfloat16", "shape": "(2, 3, 4, 5)", **values}


def step(segments: str, ms: float, graph: bool = False, **values: object) -> dict:
    row = {"name": "gpt", "segments": segments, "graph": graph, "ms_median": ms, "items_per_s": 1e6 / ms}
    return {**row, **({} if graph else {"peak_allocated_bytes": 1 << 30}), **values}


def peer(kind: str, ms: float, **values: object) -> dict:
    return {"kind": kind, "name": "gpt", "variant": "pure", "ms_median": ms, "items_per_s": 1e6 / ms,
            "peak_allocated_bytes": 2 << 30, **values}


GOALS = {"items_per_s": 9000, "speed_over_compiled": 1.0, "peak_of_compiled": 0.8, "blocks": 1.3, "graph_ms": 50}
WORKLOADS = {
    "goals": {"share_of_copy": 0.9, "attention_over_peer": 1.25},
    "gpt": [{"name": "gpt", "goals": GOALS}],
    "resnet": [],
}
FOUND = {
    "setup": {"device": "NVIDIA H100 80GB HBM3", "date": "2026-01-02", "commit": "abc"},
    "stages": [{"stage": "test", "result": "ok", "seconds": "3", "commit": "abc", "note": ""}],
    "bits": {"bits-gpt": {"digests_equal": True, "rows": [{"segments": "none"}, {"segments": "blocks"}]}},
    "kernels": {
        "copy_gb_per_s": 3000, "matmul_tflops": 700,
        "rows": [
            kernel("reference", "copy", gb_per_s=3000, share_of_copy=1.0),
            kernel("softmax", "forward", gb_per_s=2850, share_of_copy=0.95),
            kernel("softmax", "backward", gb_per_s=2400, share_of_copy=0.8),
            kernel("attention", "forward", ms_median=1.2, tflops=400, share_of_matmul=0.6),
            kernel("attention", "backward", ms_median=4.0, tflops=300, share_of_matmul=0.4),
            kernel("dropout", "dropout", error="no memory"),
        ],
    },
    "peers": {
        "rows": [
            {"kind": "attention", "name": "2x3x4x5", "shape": [2, 3, 4, 5], "variant": "flash", "ms_median": 4, "forward_ms": 1.1,
             "backward_ms": 3.0},
            {"kind": "attention", "name": "2x3x4x5", "shape": [2, 3, 4, 5], "variant": "cudnn", "ms_median": 4, "forward_ms": 1.0,
             "backward_ms": 3.5},
            peer("gpt eager", 120), peer("gpt compiled", 110), peer("gpt compiled", 105, variant="autocast"),
            {"kind": "gpt compiled", "name": "gpt", "error": "stopped"},
        ]
    },
    "steps": {"rows": [step("none", 100), step("blocks", 140), step("none", 40, graph=True)]},
}


class Table(unittest.TestCase):
    def setUp(self) -> None:
        self.found = copy.deepcopy(FOUND)

    def line(self, what: str):
        lines = [line for line in gpu_table.lines_of(self.found, WORKLOADS) if line.what.startswith(what)]
        self.assertEqual(len(lines), 1, what)
        return lines[0]

    def test_kernels_are_held_against_the_copy(self) -> None:
        self.assertTrue(self.line("softmax: forward").met)
        missed = self.line("softmax: backward")
        self.assertEqual((missed.met, missed.ratio, missed.goal), (False, 0.8, ">= 0.9"))
        self.assertEqual(self.line("reference").goal, "")

    def test_errors_count_as_missed(self) -> None:
        self.assertEqual((self.line("dropout").met, self.line("dropout").ours), (False, "no memory"))

    def test_attention_is_held_against_the_faster_backend(self) -> None:
        forward, backward = self.line("attention: forward"), self.line("attention: backward")
        self.assertAlmostEqual(forward.ratio, 1.2)
        self.assertTrue(forward.met and "cudnn" in forward.peer)
        self.assertFalse(backward.met)
        self.assertIn("flash", backward.peer)

    def test_predicted_bytes_are_held_against_those_of_the_device(self) -> None:
        peaks = {"peak_allocated_bytes": 30, "peak_activation_bytes": 20, "peak_reserved_bytes": 40}
        rows = [{"segments": "none", **peaks}, {"segments": "blocks", **peaks, "peak_activation_bytes": 10}]
        self.found["bits"]["bits-gpt"]["rows"] = rows
        self.found["predicted"] = {"predicted-gpt": {"rows": copy.deepcopy(rows)}}
        self.assertTrue(self.line("gpt: predicted bytes").met)
        self.found["predicted"]["predicted-gpt"]["rows"][1]["peak_activation_bytes"] = 11
        wrong = self.line("gpt: predicted bytes")
        self.assertFalse(wrong.met)
        self.assertIn("blocks peak_activation_bytes: 10, not 11", wrong.ours)

    def test_a_step_under_the_judged_setting_is_held_against_peers(self) -> None:
        workloads = copy.deepcopy(WORKLOADS)
        workloads["gpt"][0]["judged"] = "blocks"
        self.found["steps"]["rows"].pop()
        lines = [line for line in gpu_table.lines_of(self.found, workloads) if line.what == "gpt: speed, compiled peer"]
        self.assertAlmostEqual(lines[0].ratio, 105 / 140)

    def test_profiles_are_read_and_summed_per_kernel(self) -> None:
        header = '"ID","Kernel Name","Grid Size","Block Size","gpu__time_duration.sum"\n'
        rows = ['"","","","","ns"', '"0","void reprise::add(int)","(1, 1, 1)","(2, 1, 1)","1,500"', '"1","void reprise::add(int)","","","500"',
                '"2","mul","","","3000"']
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "profile-step-gpt-none.csv"
            path.write_text("==PROF== Connected\n" + header + "\n".join(rows) + "\n")
            self.assertEqual(gpu_table.profile_of(path), [{"kernel": "mul", "launches": 1, "us": 3.0},
                                                          {"kernel": "add(int)", "launches": 2, "us": 2.0}])
            path.write_text("stopped in the mid")
            self.assertEqual(gpu_table.profile_of(path), [])

    def test_steps_are_held_against_the_fastest_peer(self) -> None:
        self.assertTrue(self.line("gpt: step").met)
        # The graph's step: 105 ms of the faster compiled peer over 40 ms.
        self.assertAlmostEqual(self.line("gpt: speed, compiled").ratio, 105 / 40)
        self.assertIn("autocast", self.line("gpt: speed, compiled").peer)
        self.assertEqual(self.line("gpt: speed, eager").goal, "")
        self.assertFalse(self.line("gpt: blocks").met)
        self.assertTrue(self.line("gpt: graph").met)

    def test_memory_is_held_against_the_fastest_peer(self) -> None:
        self.found["steps"]["rows"].pop()
        memory = self.line("gpt: peak memory, compiled")
        self.assertEqual((memory.ratio, memory.met), (0.5, True))

    def test_a_missing_peer_is_unknown(self) -> None:
        self.found["peers"] = {}
        self.assertEqual(gpu_table.verdict(self.line("gpt: speed, compiled")), "unknown")
        self.assertEqual(gpu_table.verdict(self.line("attention: forward")), "unknown")

    def test_different_bits_are_missed(self) -> None:
        self.assertTrue(self.line("bits-gpt").met)
        self.found["bits"]["bits-gpt"]["digests_equal"] = False
        self.assertFalse(self.line("bits-gpt").met)

    def test_status(self) -> None:
        def status() -> int:
            return gpu_table.status_of(self.found, gpu_table.lines_of(self.found, WORKLOADS))

        self.assertEqual(status(), 3)
        self.found.update(kernels={}, steps={})
        self.assertEqual(status(), 0)
        self.found["stages"][0]["result"] = "partial"
        self.assertEqual(status(), 0)
        self.found["stages"][0]["result"] = "failed"
        self.assertEqual(status(), 1)

    def test_stages_of_different_commits_are_warned_of(self) -> None:
        self.assertEqual(gpu_table.warnings(self.found), [])
        self.found["stages"].append({**self.found["stages"][0], "commit": "def"})
        self.assertIn("abc, def", gpu_table.warnings(self.found)[0])

    def test_files_to_files(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            logs = Path(folder)
            for name in ("setup", "kernels", "steps", "peers"):
                (logs / f"{name}.json").write_text(json.dumps(self.found[name]))
            (logs / "bits-gpt.json").write_text(json.dumps(self.found["bits"]["bits-gpt"]))
            (logs / "stage-test.json").write_text(json.dumps(self.found["stages"][0]))
            command = [sys.executable, "-B", str(SCRIPT), folder, folder]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            self.assertEqual((done.returncode, done.stderr), (3, ""))
            self.assertIn("MISSED", done.stdout)
            record = json.loads((logs / "gpu-h100-80gb-hbm3-2026-01-02.json").read_text())
        self.assertEqual(record["device"], "NVIDIA H100 80GB HBM3")
        self.assertTrue(all("verdict" in line for line in record["table"]))
        self.assertEqual(record["kernels"]["copy_gb_per_s"], 3000)


if __name__ == "__main__":
    unittest.main()
