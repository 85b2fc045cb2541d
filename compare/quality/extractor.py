"""Train the feature extractor of the quality measures and write it as ONNX.

`python -m compare.extractor` needs PyTorch and the package `onnx`; whoever only evaluates needs
neither. The weights follow from the seed, on one machine bit for bit; the file in the repository
is the one that published scores refer to, so a new one is another ruler.
"""

from __future__ import annotations

import copy
import hashlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from common import commandline, datasets
from common.checkpoint import write_atomically
from common.config import UserError

FEATURES = 128  # 10,000 samples give 78 for each dimension of the covariance
TRAIN_IMAGES = 50_000  # the GAN's own; the last 10,000 stay unseen, for the floor
WANTED = 0.993  # accuracy on the 10,000 test digits
BATCH = 128
LARGEST_SHIFT = 2  # pixels, each way


@dataclass(frozen=True)
class ExtractorArguments:
    """How to train it, and where to write it."""

    seed: int = 0
    """Initial weights, order, shifts. [0, 2**63)"""

    epochs: int = 8
    """Passes over the first 50,000 training digits."""

    data_dir: str = "data"
    """Folder of the data set."""

    out: str = "compare/quality/extractor.onnx"
    """The ONNX file."""


class Classifier(nn.Module):
    """Images (N, 1, 28, 28) in [0, 1] -> logits (N, 10); 118,650 parameters once norms are folded.

    No padding: what a feature sees is always pixels.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 5)  # (16, 24, 24), pooled to (16, 12, 12)
        self.conv2 = nn.Conv2d(16, 32, 3)  # (32, 10, 10)
        self.norm2 = nn.BatchNorm2d(32)
        self.conv3 = nn.Conv2d(32, 48, 3)  # (48, 8, 8), pooled to (48, 4, 4)
        self.norm3 = nn.BatchNorm2d(48)
        self.dense1 = nn.Linear(48 * 4 * 4, FEATURES)
        self.dense2 = nn.Linear(FEATURES, 10)

    def features(self, images: Tensor) -> Tensor:
        x = F.relu(F.max_pool2d(self.conv1(images), 2))
        x = F.relu(self.norm2(self.conv2(x)))
        x = F.max_pool2d(F.relu(self.norm3(self.conv3(x))), 2)
        return F.relu(self.dense1(x.flatten(1)))  # (N, FEATURES)

    def forward(self, images: Tensor) -> Tensor:
        features = F.dropout(self.features(images), 0.3, self.training)
        return self.dense2(features)


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image of (N, 1, 28, 28) moved by up to LARGEST_SHIFT pixels, black moving in."""
    n, _, height, width = images.shape
    padded = F.pad(images, [LARGEST_SHIFT] * 4)
    offsets = torch.randint(0, 2 * LARGEST_SHIFT + 1, (2, n, 1, 1), generator=generator)
    rows = offsets[0] + torch.arange(height)[:, None]  # (N, H, 1)
    columns = offsets[1] + torch.arange(width)  # (N, 1, W)
    return padded[torch.arange(n)[:, None, None], 0, rows, columns][:, None]


def train(images: Tensor, labels: Tensor, seed: int, epochs: int) -> Classifier:
    """images (N, 1, 28, 28) float32 in [0, 1], labels (N,) int64 -> the classifier."""
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    generator = torch.Generator().manual_seed(seed)
    model = Classifier()
    steps = epochs * (len(images) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    for epoch in range(epochs):
        began, total = time.perf_counter(), 0.0
        order = torch.randperm(len(images), generator=generator)
        batches = order.split(BATCH)[: len(images) // BATCH]
        for batch in batches:
            loss = F.cross_entropy(model(shifted(images[batch], generator)), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        seconds = time.perf_counter() - began
        print(f"epoch {epoch + 1}: loss {total / len(batches):.4f}, {seconds:.0f} s", flush=True)
    return model.eval()


@torch.no_grad()
def folded(classifier: Classifier, images: Tensor) -> dict[str, NDArray[np.float32]]:
    """The weights of the exported graph: batch norms inside the convolutions, features scaled.

    The features' mean variance over `images` becomes 1, so that distances have a unit that does
    not depend on the training; ReLU lets a positive factor pass, and dense2 undoes it.
    """
    model: Any = copy.deepcopy(classifier)
    features = torch.cat([model.features(part) for part in images.split(1000)])
    scale = features.var(0).mean().rsqrt()
    model.dense1.weight *= scale
    model.dense1.bias *= scale
    model.dense2.weight /= scale
    for conv, norm in ((model.conv2, model.norm2), (model.conv3, model.norm3)):
        factor = norm.weight / (norm.running_var + norm.eps).sqrt()
        conv.weight *= factor[:, None, None, None]
        conv.bias.copy_((conv.bias - norm.running_mean) * factor + norm.bias)
    weights: dict[str, Tensor] = {}
    for name in ("conv1", "conv2", "conv3", "dense1", "dense2"):
        weights[f"{name}_w"] = getattr(model, name).weight
        weights[f"{name}_b"] = getattr(model, name).bias
    return {name: np.ascontiguousarray(w.detach().numpy()) for name, w in weights.items()}


def graph(weights: dict[str, NDArray[np.float32]]) -> onnx.GraphProto:
    """images uint8 (N, 28, 28) -> features float32 (N, 128), probabilities float32 (N, 10)."""
    nodes: list[Any] = []
    top = "images"

    def add(kind: str, *more: str, out: str = "", **attributes: Any) -> None:
        nonlocal top
        out = out or f"{kind.lower()}_{len(nodes)}"
        nodes.append(helper.make_node(kind, [top, *more], [out], **attributes))
        top = out

    add("Cast", to=TensorProto.FLOAT)
    add("Div", "white")
    add("Unsqueeze", "channel_axis")  # (N, 1, 28, 28)
    for number in (1, 2, 3):
        add("Conv", f"conv{number}_w", f"conv{number}_b")
        add("Relu")
        if number in (1, 3):
            add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    add("Flatten")
    add("Gemm", "dense1_w", "dense1_b", transB=1)
    add("Relu", out="features")
    add("Gemm", "dense2_w", "dense2_b", transB=1)
    add("Softmax", out="probabilities", axis=1)

    constants = {"white": np.float32(255), "channel_axis": np.array([1], np.int64)} | weights
    value = helper.make_tensor_value_info
    return helper.make_graph(
        nodes,
        "extractor",
        [value("images", TensorProto.UINT8, ["N", 28, 28])],
        [
            value("features", TensorProto.FLOAT, ["N", FEATURES]),
            value("probabilities", TensorProto.FLOAT, ["N", 10]),
        ],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()],
    )


def serialized(weights: dict[str, NDArray[np.float32]], facts: dict[str, str]) -> bytes:
    """The ONNX file, with facts about it as metadata. An old operator set: any reader knows it."""
    model = helper.make_model(
        graph(weights), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    helper.set_model_props(model, facts)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def accuracy(model: Classifier, images: Tensor, labels: Tensor) -> float:
    """Share of right answers."""
    with torch.no_grad():
        answers = torch.cat([model(part).argmax(1) for part in images.split(1000)])
    return (answers == labels).double().mean().item()


def tensors(data_dir: str, split: str) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 28, 28) float32 in [0, 1] and labels (N,) int64."""
    images = torch.from_numpy(datasets.mnist_images(data_dir, split).astype(np.float32) / 255)
    labels = torch.from_numpy(datasets.mnist_labels(data_dir, split).astype(np.int64))
    return images.permute(0, 3, 1, 2), labels


def main() -> None:
    with commandline.command():
        arguments, _ = commandline.parse(
            ExtractorArguments,
            sys.argv[1:],
            prog="python -m compare.extractor",
            description="Train the feature extractor of the quality measures.",
        )
        images, labels = tensors(arguments.data_dir, "train")
        seen, seen_labels = images[:TRAIN_IMAGES], labels[:TRAIN_IMAGES]
        model = train(seen, seen_labels, arguments.seed, arguments.epochs)
        reached = accuracy(model, *tensors(arguments.data_dir, "t10k"))
        print(f"accuracy on the test digits: {100 * reached:.2f}%")
        if reached < WANTED:
            raise UserError(
                f"The test accuracy is {100 * reached:.2f}%, below the {100 * WANTED:.1f}% that "
                "an extractor needs; nothing was written. Try more --epochs."
            )
        facts = {
            "test_accuracy": f"{reached:.4f}",
            "held_out_accuracy": f"{accuracy(model, images[50_000:], labels[50_000:]):.4f}",
            "command": " ".join(["python -m compare.extractor", *sys.argv[1:]]),
            "seed": str(arguments.seed),
            "epochs": str(arguments.epochs),
            "torch": torch.__version__,
        }
        content = serialized(folded(model, seen), facts)
        write_atomically(Path(arguments.out), content)
    sha256 = hashlib.sha256(content).hexdigest()
    print(f"{arguments.out}: {len(content):,} bytes, sha256 {sha256}")
    print("Put it into EXTRACTOR_SHA256 of compare/quality/scorer.py; all scores change with it.")
