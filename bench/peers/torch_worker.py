"""Times training steps of one model in PyTorch and measures their peak of live bytes; a part of compare.py.

usage: torch_worker.py '{"model": "gpt" | "resnet", "threads": 2, "steps": 20, "memory": true, ...sizes}'
Prints one line of JSON.
"""

import itertools
import json
import os
import re
import subprocess
import sys
import time

import torch
import torch_models
from torch.profiler import ProfilerActivity, profile

STEPS_PER_TURN = 5  # as in `reprise compare`: settings take turns
SETTINGS = {"none": False, "blocks": True}


class Stepper:
    def __init__(self, request):
        make = torch_models.make_gpt if request["model"] == "gpt" else torch_models.make_resnet
        self.model, self.batch, (self.optimiser, self.optimiser_kind) = make(request)
        self.model.train()

    def step(self, checkpointed):
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.model.loss(*self.batch, checkpointed)
        loss.backward()
        self.optimiser.step()
        return loss.item()

    def lasting_bytes(self):
        """What lives between steps: parameters, buffers, optimiser state and the batch."""
        tensors = list(self.model.parameters()) + list(self.model.buffers()) + list(self.batch)
        for state in self.optimiser.state.values():
            tensors += [value for value in state.values() if torch.is_tensor(value)]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def allocations(recorded):
    """Bytes given out (positive) and taken back (negative), in the order of time."""
    # Not from the exported trace: builds without Kineto, such as Debian's, leave memory out of it.
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    if not events:
        raise RuntimeError("this build of PyTorch reports no allocations")
    start = (lambda event: event.start_ns()) if hasattr(events[0], "start_ns") else (lambda event: event.start_us())
    return [event.nbytes() for event in sorted(events, key=start)]


def growth_in_step(stepper, checkpointed):
    """The most bytes that PyTorch's CPU allocator holds for one step beyond those held before it."""
    stepper.optimiser.zero_grad(set_to_none=True)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        stepper.step(checkpointed)
    return max(itertools.accumulate(allocations(recorded)))


def time_steps(stepper, steps):
    step_ms = {setting: [] for setting in SETTINGS}
    for checkpointed in SETTINGS.values():
        stepper.step(checkpointed)
    for first in range(0, steps, STEPS_PER_TURN):
        for setting, checkpointed in SETTINGS.items():
            for _ in range(min(STEPS_PER_TURN, steps - first)):
                start = time.perf_counter()
                stepper.step(checkpointed)
                step_ms[setting].append(1e3 * (time.perf_counter() - start))
    return step_ms


def loaded_library(pattern):
    with open("/proc/self/maps", encoding="utf-8") as maps:
        found = re.findall(pattern, maps.read())
    return os.path.realpath(found[0]) if found else None


def package_version():
    """Debian's version of the package, where that is what runs: its own number is a pre-release's."""
    if not torch.__file__.startswith("/usr/lib/python3/"):
        return None
    query = ["dpkg-query", "-W", "-f=${Version}", "python3-torch"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    return answer.stdout if answer.returncode == 0 else None


def versions():
    allocator = loaded_library(r"/\S*lib(?:tcmalloc|jemalloc|mimalloc)\S*\.so\S*")
    mkl = torch.backends.mkl.is_available()
    blas = "MKL" if mkl else loaded_library(r"/\S*lib(?:openblas|blas|blis)\S*\.so\S*") or "built in"
    onednn = re.search(r"MKL-DNN v([\d.]+)", torch.__config__.show())
    capability = re.search(r"CPU capability usage: (\S+)", torch.__config__.show())
    return {
        "torch": torch.__version__,
        "debian_package": package_version(),
        "python": sys.version.split()[0],
        "threads": torch.get_num_threads(),
        "allocator": os.path.basename(allocator) if allocator else "the C library's malloc",
        "blas": os.path.join(*blas.split("/")[-2:]) if "/" in blas else blas,
        "onednn": onednn.group(1) if onednn else None,
        "vector_instructions": capability.group(1) if capability else None,
        "attention": "fused" if torch_models.FUSED_ATTENTION else "composed (baddbmm, softmax, bmm)",
    }


def main():
    request = json.loads(sys.argv[1])
    torch.set_num_threads(request["threads"])
    torch.manual_seed(1)
    stepper = Stepper(request)
    result = {"step_ms": time_steps(stepper, request["steps"])}
    result["loss"] = stepper.step(False)
    result["parameters"] = sum(parameter.numel() for parameter in stepper.model.parameters())
    result["versions"] = {**versions(), "optimiser": stepper.optimiser_kind}
    if request["memory"]:
        result["lasting_bytes"] = stepper.lasting_bytes()
        result["growth_bytes"] = {setting: growth_in_step(stepper, flag) for setting, flag in SETTINGS.items()}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
