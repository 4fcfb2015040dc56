"""The models of the GPU comparison in PyTorch, tuned as its users would.

A variant says how 16-bit floats come in: "float32" not at all, "autocast" around float32 parameters, "pure" in the
parameters themselves, moments included.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from torch_models import Gpt, grouped


def variants(dtype: str) -> list[str]:
    return ["float32"] if dtype == "float32" else ["autocast", "pure"]


class Trainer:
    """One step: forward, backward, update; the batch is on the device."""

    def __init__(
        self,
        loss: Callable[..., torch.Tensor],
        batch: tuple[torch.Tensor, torch.Tensor],
        optimiser: torch.optim.Optimizer,
        precision: Callable[[], contextlib.AbstractContextManager],
    ):
        self.loss = loss
        self.batch = batch
        self.optimiser = optimiser
        self.precision = precision
        self.items = batch[1].numel()
        self.parameters = sum(p.numel() for group in optimiser.param_groups for p in group["params"])

    def compile(self, mode: str) -> None:
        self.loss = torch.compile(self.loss, mode=None if mode == "default" else mode)

    def step(self) -> torch.Tensor:
        self.optimiser.zero_grad(set_to_none=True)
        with self.precision():
            loss = self.loss(*self.batch)
        loss.backward()
        self.optimiser.step()
        return loss.detach()


def precision_of(variant: str, dtype: str) -> Callable[[], contextlib.AbstractContextManager]:
    if variant == "autocast":
        return lambda: torch.autocast("cuda", dtype=getattr(torch, dtype))
    return contextlib.nullcontext


def place(model: nn.Module, variant: str, dtype: str) -> nn.Module:
    return model.to(dtype=getattr(torch, dtype)) if variant == "pure" else model


def make_gpt(workload: dict, variant: str) -> Trainer:
    sizes = {key: workload[key] for key in ("layers", "width", "heads", "vocabulary", "context", "seq")}
    with torch.device("cuda"):
        model = place(Gpt(**sizes), variant, workload["dtype"])
    shape = (workload["batch"], workload["seq"])
    ids, targets = (torch.randint(workload["vocabulary"], shape, device="cuda") for _ in range(2))
    optimiser = torch.optim.AdamW(grouped(model, 0.1), lr=1e-4, fused=True)

    def loss(ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return model.loss(ids, targets, False)

    return Trainer(loss, (ids, targets), optimiser, precision_of(variant, workload["dtype"]))


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        outputs = 4 * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.relu(self.bn1(self.conv1(x)), inplace=True)
        h = F.relu(self.bn2(self.conv2(h)), inplace=True)
        return F.relu(self.bn3(self.conv3(h)).add_(self.shortcut(x)), inplace=True)


class Resnet(nn.Module):
    """As torchvision's resnet50, where the stages are 3, 4, 6, 3."""

    def __init__(self, stages: list[int], width: int, classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        blocks: list[nn.Module] = []
        inputs = width
        for stage, count in enumerate(stages):
            for i in range(count):
                blocks.append(Bottleneck(inputs, width << stage, 2 if stage > 0 and i == 0 else 1))
                inputs = 4 * (width << stage)
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.blocks(F.max_pool2d(x, 3, 2, 1))
        return self.fc(x.mean((2, 3)))


def make_resnet(workload: dict, variant: str) -> Trainer:
    with torch.device("cuda"):
        model = Resnet(workload["stages"], workload["width"], workload["classes"])
    model = place(model, variant, workload["dtype"]).to(memory_format=torch.channels_last)
    side, batch = workload["image"], workload["batch"]
    images = torch.randn(batch, 3, side, side, device="cuda", dtype=next(model.parameters()).dtype)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(workload["classes"], (batch,), device="cuda")
    optimiser = torch.optim.SGD(grouped(model, 5e-4), lr=1e-4, momentum=0.9, nesterov=True, fused=True)

    def loss(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(model(images), labels)

    return Trainer(loss, (images, labels), optimiser, precision_of(variant, workload["dtype"]))
