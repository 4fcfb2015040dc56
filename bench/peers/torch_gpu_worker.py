"""Times training steps and attention in PyTorch on a GPU; a part of torch_gpu.py.

usage: torch_gpu_worker.py '{"kind": "eager" | "compiled", "steps": 20, "workloads": {...}}'
Prints one line of JSON for each thing measured.
"""

from __future__ import annotations

import contextlib
import gc
import json
import statistics
import sys
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
import torch_gpu_models as models
from torch.nn.attention import SDPBackend, sdpa_kernel

BACKENDS = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}
WARM_UP = 5


def emit(row: dict) -> None:
    print(json.dumps(row), flush=True)


def timed(work: Callable[[], object], steps: int) -> dict:
    """Milliseconds between events that nobody waits for before the end, as in our own measurement."""
    events = [torch.cuda.Event(enable_timing=True) for _ in range(steps + 1)]
    torch.cuda.synchronize()
    events[0].record()
    for event in events[1:]:
        work()
        event.record()
    torch.cuda.synchronize()
    ms = [a.elapsed_time(b) for a, b in zip(events, events[1:])]
    return {"ms_median": statistics.median(ms), "ms_min": min(ms), "ms_max": max(ms), "ms": ms}


def measure_steps(step: Callable[[], object], items: int, steps: int) -> dict:
    for _ in range(WARM_UP):
        step()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    result = timed(step, steps)
    return {
        **result,
        "items_per_s": 1e3 * items / result["ms_median"],
        "peak_allocated_bytes": torch.cuda.max_memory_allocated(),
        "peak_reserved_bytes": torch.cuda.max_memory_reserved(),
    }


@contextlib.contextmanager
def recorded(row: dict) -> Iterator[dict]:
    """Emits the row, with the error where there was one; begins with no memory of what came before."""
    gc.collect()
    torch.cuda.empty_cache()
    try:
        yield row
    except Exception as error:  # one failure must not end the rest
        row["error"] = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    emit(row)


def run_model(kind: str, make: Callable, workload: dict, variant: str, steps: int, mode: str | None = None) -> None:
    label = variant if mode is None else f"{variant}, compile {mode}"
    with recorded({"kind": kind, "name": workload["name"], "variant": label}) as row:
        torch.manual_seed(1)
        trainer = make(workload, variant)
        if mode is not None:
            trainer.compile(mode)
        row.update(measure_steps(trainer.step, trainer.items, steps))
        row["loss"] = trainer.step().item()
        row["parameters"] = trainer.parameters


def run_attention(shape: dict, backend: str, steps: int) -> None:
    sizes = [shape[key] for key in ("batch", "heads", "length", "size")]
    row = {"kind": "attention", "name": "x".join(map(str, sizes)), "shape": sizes, "variant": backend}
    with recorded(row), sdpa_kernel(BACKENDS[backend]):
        dtype = getattr(torch, shape["dtype"])
        q, k, v = (torch.randn(sizes, device="cuda", dtype=dtype, requires_grad=True) for _ in range(3))
        gradient = torch.randn(sizes, device="cuda", dtype=dtype)

        def forward() -> torch.Tensor:
            return F.scaled_dot_product_attention(q, k, v, is_causal=shape["causal"])

        out = forward()

        def backward() -> object:
            return torch.autograd.grad(out, (q, k, v), gradient, retain_graph=True)

        for _ in range(WARM_UP):
            forward(), backward()
        row["forward_ms"] = timed(forward, steps)["ms_median"]
        row["backward_ms"] = timed(backward, steps)["ms_median"]
        row["ms_median"] = row["forward_ms"] + row["backward_ms"]


def run_eager(workloads: dict, steps: int) -> None:
    for shape in workloads["attention"]:
        for backend in BACKENDS:
            run_attention(shape, backend, steps)
    for kind, make in (("gpt", models.make_gpt), ("resnet", models.make_resnet)):
        for workload in workloads[kind]:
            if "peer" in workload:  # another one's peer is also its
                continue
            for variant in models.variants(workload["dtype"]):
                run_model(f"{kind} eager", make, workload, variant, steps)


def run_compiled(workloads: dict, steps: int) -> None:
    for workload in workloads["gpt"]:
        # What is bound by launches gains most by captured graphs.
        mode = "reduce-overhead" if workload["graph"] else "default"
        for variant in models.variants(workload["dtype"]):
            run_model("gpt compiled", models.make_gpt, workload, variant, steps, mode)


def main() -> None:
    request = json.loads(sys.argv[1])
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("highest")  # Reprise never rounds float32 to TF32 either
    torch.backends.cudnn.allow_tf32 = False
    emit(
        {
            "kind": "versions",
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "python": sys.version.split()[0],
            "device": torch.cuda.get_device_name(),
        }
    )
    (run_eager if request["kind"] == "eager" else run_compiled)(request["workloads"], request["steps"])


if __name__ == "__main__":
    main()
