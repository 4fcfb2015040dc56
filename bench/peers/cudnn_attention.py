#!/usr/bin/env python3
"""cuDNN's attention, forward and backward, as it is and in its deterministic form, at the shapes of workloads.json.

usage: cudnn_attention.py [--steps N]
Needs PyTorch, for memory and events, and the package nvidia-cudnn-frontend. Prints one line of JSON for each thing measured.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

WARM_UP = 5
WORKLOADS = Path(__file__).parent.parent / "cuda" / "workloads.json"
MORE = [{"batch": 10, "heads": 12, "length": 1024, "size": 64, "causal": True},
        {"batch": 32, "heads": 12, "length": 1024, "size": 64, "causal": True}]


def emit(row: dict) -> None:
    print(json.dumps(row), flush=True)


class Attention:
    """One shape, with its tensors on the device."""

    def __init__(self, torch, cudnn, shape: dict, handle):
        self.torch, self.cudnn, self.handle = torch, cudnn, handle
        self.sizes = [shape[key] for key in ("batch", "heads", "length", "size")]
        self.causal = shape["causal"]

        def fresh():
            return torch.randn(self.sizes, device="cuda", dtype=torch.bfloat16)

        self.q, self.k, self.v, self.dout = fresh(), fresh(), fresh(), fresh()
        self.out, self.dq, self.dk, self.dv = fresh(), fresh(), fresh(), fresh()
        self.statistics = torch.empty([*self.sizes[:3], 1], device="cuda", dtype=torch.float32)
        self.scale = 1 / math.sqrt(self.sizes[3])

    def graph(self):
        kinds = self.cudnn.data_type
        return self.cudnn.pygraph(io_data_type=kinds.BFLOAT16, intermediate_data_type=kinds.FLOAT,
                                  compute_data_type=kinds.FLOAT, handle=self.handle)

    def built(self, graph, data: dict) -> tuple[Callable[[], object], int]:
        graph.validate()
        graph.build_operation_graph()
        graph.create_execution_plans([self.cudnn.heur_mode.A, self.cudnn.heur_mode.FALLBACK])
        graph.check_support()
        graph.build_plans()
        bytes_ = graph.get_workspace_size()
        workspace = self.torch.empty(max(bytes_, 1), device="cuda", dtype=self.torch.uint8)
        return (lambda: graph.execute(data, workspace, handle=self.handle)), bytes_

    def output(self, tensor, like, kind=None):
        tensor.set_output(True).set_dim(list(like.shape)).set_stride(list(like.stride()))
        if kind is not None:
            tensor.set_data_type(kind)

    def forward(self) -> tuple[Callable[[], object], int]:
        graph = self.graph()
        q, k, v = (graph.tensor_like(tensor) for tensor in (self.q, self.k, self.v))
        o, stats = graph.sdpa(name="sdpa", q=q, k=k, v=v, generate_stats=True, attn_scale=self.scale,
                              use_causal_mask=self.causal)
        self.output(o, self.out)
        self.output(stats, self.statistics, self.cudnn.data_type.FLOAT)
        return self.built(graph, {q: self.q, k: self.k, v: self.v, o: self.out, stats: self.statistics})

    def backward(self, deterministic: bool) -> tuple[Callable[[], object], int]:
        graph = self.graph()
        q, k, v, o, do, stats = (graph.tensor_like(tensor) for tensor in
                                 (self.q, self.k, self.v, self.out, self.dout, self.statistics))
        dq, dk, dv = graph.sdpa_backward(name="backward", q=q, k=k, v=v, o=o, dO=do, stats=stats, attn_scale=self.scale,
                                         use_causal_mask=self.causal, use_deterministic_algorithm=deterministic)
        for tensor, like in ((dq, self.dq), (dk, self.dk), (dv, self.dv)):
            self.output(tensor, like)
        return self.built(graph, {q: self.q, k: self.k, v: self.v, o: self.out, do: self.dout, stats: self.statistics,
                                  dq: self.dq, dk: self.dk, dv: self.dv})


def measure(timed: Callable, row: dict, make: Callable[[], tuple[Callable[[], object], int]], steps: int) -> None:
    try:
        work, bytes_ = make()
        row["workspace"] = bytes_
        for _ in range(WARM_UP):
            work()
        row["ms_median"] = timed(work, steps)["ms_median"]
    except Exception as error:  # one failure must not end the rest
        row["error"] = f"{type(error).__name__}: {error}"[:300]
    emit(row)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    try:
        import cudnn
        import torch
        from torch_gpu_worker import timed
    except ImportError as error:
        print(f"cudnn_attention: skipped: {error}")
        return 0
    handle = cudnn.create_handle()
    emit({"probe": "cudnn attention", "cudnn": cudnn.backend_version(), "front_end": cudnn.__version__})
    for shape in [*json.loads(WORKLOADS.read_text())["full"]["attention"], *MORE]:
        attention = Attention(torch, cudnn, shape, handle)
        row = {"probe": "cudnn attention", "shape": attention.sizes, "causal": shape["causal"]}
        measure(timed, {**row, "pass": "forward"}, attention.forward, options.steps)
        for deterministic in (False, True):
            measure(timed, {**row, "pass": "backward", "deterministic": deterministic},
                    lambda: attention.backward(deterministic), options.steps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
