"""The models A, B and R in PyTorch, tuned as its users would on a CPU."""

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

FUSED_ATTENTION = hasattr(F, "scaled_dot_product_attention")


def run(block, x, checkpointed):
    # Neither model draws random numbers in its blocks, so the generator's state need not be kept.
    if not checkpointed:
        return block(x)
    return checkpoint(block, x, use_reentrant=False, preserve_rng_state=False)


class GptBlock(nn.Module):
    def __init__(self, width, heads, mask):
        super().__init__()
        self.heads = heads
        self.mask = mask
        self.ln_1 = nn.LayerNorm(width)
        self.c_attn = nn.Linear(width, 3 * width)
        self.attn_proj = nn.Linear(width, width)
        self.ln_2 = nn.LayerNorm(width)
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def attention(self, x):
        b, t, c = x.shape
        d = c // self.heads
        qkv = self.c_attn(x).view(b, t, 3, self.heads, d).permute(2, 0, 3, 1, 4)
        if FUSED_ATTENTION:
            q, k, v = qkv.unbind(0)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            # One baddbmm scales and masks the product on its way: the fastest composition in PyTorch 1.13.
            q, k, v = qkv.reshape(3, b * self.heads, t, d).unbind(0)
            scores = torch.baddbmm(self.mask, q, k.transpose(1, 2), alpha=1 / math.sqrt(d))
            y = torch.bmm(scores.softmax(-1), v).view(b, self.heads, t, d)
        return self.attn_proj(y.transpose(1, 2).reshape(b, t, c))

    def forward(self, x):
        x = x + self.attention(self.ln_1(x))
        return x + self.c_proj(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, layers, width, heads, vocabulary, context, seq):
        super().__init__()
        mask = torch.full((seq, seq), float("-inf")).triu(1)
        self.wte = nn.Embedding(vocabulary, width)
        self.wpe = nn.Embedding(context, width)
        self.h = nn.ModuleList(GptBlock(width, heads, mask) for _ in range(layers))
        self.ln_f = nn.LayerNorm(width)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)

    def loss(self, ids, targets, checkpointed):
        x = self.wte(ids) + self.wpe.weight[: ids.shape[1]]
        for block in self.h:
            x = run(block, x, checkpointed)
        logits = F.linear(self.ln_f(x), self.wte.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


class ResidualBlock(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.extra = outputs - inputs
        self.stride = 2 if self.extra else 1
        self.conv1 = nn.Conv2d(inputs, outputs, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x):
        h = F.relu(self.bn1(self.conv1(x)), inplace=True)
        h = self.bn2(self.conv2(h))
        if self.extra:
            side = self.extra // 2
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, side, self.extra - side))
        return F.relu(h.add_(x), inplace=True)


class Resnet20(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        widths = [16] * 4 + [32] * 3 + [64] * 3
        self.blocks = nn.ModuleList(ResidualBlock(i, o) for i, o in zip(widths, widths[1:]))
        self.fc = nn.Linear(64, 10)

    def loss(self, images, labels, checkpointed):
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)
        for block in self.blocks:
            x = run(block, x, checkpointed)
        return F.cross_entropy(self.fc(x.mean((2, 3))), labels)


def grouped(model, weight_decay):
    """Matrices decay, vectors do not: as in Reprise."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def make_optimiser(kind, groups, **options):
    """The fused optimiser where this version has it for the CPU, else one parameter at a time.

    On a CPU foreach=True is no faster (its kernels are loops), and holds temporaries of all parameters at once.
    """
    try:
        optimiser = kind(groups, fused=True, **options)
        return optimiser, "fused"
    except (TypeError, RuntimeError):
        return kind(groups, foreach=False, **options), "loop over parameters"


def make_gpt(size):
    model = Gpt(**{key: size[key] for key in ("layers", "width", "heads", "vocabulary", "context", "seq")})
    shape = (size["batch"], size["seq"])
    batch = tuple(torch.randint(size["vocabulary"], shape) for _ in range(2))
    return model, batch, make_optimiser(torch.optim.AdamW, grouped(model, 0.1), lr=1e-4, betas=(0.9, 0.99))


def make_resnet(size):
    model = Resnet20().to(memory_format=torch.channels_last)
    images = torch.randn(size["batch"], 3, 32, 32).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(10, (size["batch"],))
    groups = grouped(model, 5e-4)
    return model, (images, labels), make_optimiser(torch.optim.SGD, groups, lr=0.01, momentum=0.9, nesterov=True)
