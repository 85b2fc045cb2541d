"""A network as an ONNX file, from the canonical arrays: the same graph whoever exports it.

Generator: `noise` float32 (N, Z) -> `images` (N, C, H, W) in (-1, 1); discriminator: `images` ->
`logits` (N, 1). Evaluation mode, float32, any N.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common import architecture, checkpoint
from common.architecture import BATCH_NORM_EPSILON, Architecture, Layer
from common.config import UserError

OPERATORS = 17  # the operator set: an old one, which any reader knows
FORMAT = 8  # of the file, likewise
SLOPES = {"mnist28": 0.01, "dcgan": 0.2}  # of LeakyReLU


def export(saved: checkpoint.Checkpoint, network: str, path: Path) -> None:
    """Write a network of a checkpoint. UserError without the package onnx."""
    try:
        import onnx
        from onnx import helper
    except ImportError:
        raise UserError(
            f"{path} needs the package onnx, which is not installed; pip install onnx."
        ) from None
    graph = Graph(architecture.of(saved.config), network, saved.arrays)
    model = helper.make_model(
        graph.build(), opset_imports=[helper.make_opsetid("", OPERATORS)], ir_version=FORMAT
    )
    facts = {"network": network, "architecture": saved.config.architecture, "step": str(saved.step)}
    helper.set_model_props(model, facts)
    onnx.checker.check_model(model, full_check=True)
    checkpoint.write_atomically(path, model.SerializeToString(deterministic=True))


class Graph:
    """The nodes of a network, one after the other."""

    def __init__(self, table: Architecture, network: str, arrays: checkpoint.Arrays) -> None:
        self._table, self._network, self._arrays = table, network, arrays
        self._nodes: list[Any] = []
        self._constants: dict[str, np.ndarray] = {}
        self._top = ""

    def build(self) -> Any:
        """The whole as onnx.GraphProto."""
        from onnx import TensorProto, helper, numpy_helper

        table, is_generator = self._table, self._network == "generator"
        height, width, channels = table.image_shape
        noise, images = ("N", table.noise_size), ("N", channels, height, width)
        source, target = ("noise", "images") if is_generator else ("images", "logits")
        self._top = source
        layers = table.generator if is_generator else table.discriminator
        if is_generator and table.name == "dcgan":
            self._reshape((-1, table.noise_size, 1, 1))
        for layer, after in zip(layers, [*layers[1:], None], strict=True):
            self._add_layer(layer, after)
        if is_generator:
            self._add("Tanh")
        self._nodes[-1].output[0] = target
        info = helper.make_tensor_value_info
        return helper.make_graph(
            self._nodes,
            f"{table.name}_{self._network}",
            [info(source, TensorProto.FLOAT, noise if is_generator else images)],
            [info(target, TensorProto.FLOAT, images if is_generator else ("N", 1))],
            [numpy_helper.from_array(array, name) for name, array in self._constants.items()],
        )

    def _add_layer(self, layer: Layer, after: Layer | None) -> None:
        """A layer, and the activation behind it."""
        kind, side = layer.operation, layer.output_shape[0]
        if kind in ("conv", "deconv"):
            self._convolution(layer, side)
        elif kind == "dense":
            self._add("Gemm", *self._parameters(layer, "kernel", "bias"))
        elif kind == "batch_norm":
            names = ("scale", "offset", "moving_mean", "moving_variance")
            self._add(
                "BatchNormalization", *self._parameters(layer, *names), epsilon=BATCH_NORM_EPSILON
            )
        elif kind == "max_pool":
            self._add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
        elif kind == "flatten":
            self._add("Transpose", perm=[0, 2, 3, 1])  # a dense layer takes (H, W, C) order
            self._reshape((-1, *layer.output_shape))
        elif kind == "reshape":
            self._reshape((-1, *layer.output_shape))
            self._add("Transpose", perm=[0, 3, 1, 2])
        # Before batch norm in mnist28, after it in dcgan.
        normed = after is not None and after.operation == "batch_norm"
        linear = kind in ("conv", "deconv", "dense")
        active = kind == "batch_norm" or (linear and not normed)
        if self._table.name == "mnist28":
            active = linear
        last = after is None or (after.operation == "flatten" and after.output_shape == (1,))
        if active and not last:
            if self._network == "generator":
                self._add("Relu")
            else:
                self._add("LeakyRelu", alpha=SLOPES[self._table.name])

    def _convolution(self, layer: Layer, side: int) -> None:
        size = layer.parameters["kernel"][0]
        # 4x4 kernels double or halve, but where 1x1 becomes 4x4 or 4x4 becomes 1x1.
        single = self._table.name == "dcgan" and side == (1 if layer.operation == "conv" else 4)
        halves = size == 4 and not single
        kind = "Conv" if layer.operation == "conv" else "ConvTranspose"
        self._add(
            kind,
            *self._parameters(layer, *layer.parameters),
            kernel_shape=[size, size],
            strides=[2, 2] if halves else [1, 1],
            pads=[1, 1, 1, 1] if halves else [0, 0, 0, 0],
        )

    def _parameters(self, layer: Layer, *names: str) -> list[str]:
        """The names of constants with a layer's parameters."""
        for name in names:
            array = self._arrays[f"{self._network}/{layer.name}/{name}"]
            if array.ndim == 4:  # (kh, kw, in, out), transposed (kh, kw, out, in): both reversed
                array = array.transpose(3, 2, 0, 1)
            self._constants[f"{layer.name}/{name}"] = np.ascontiguousarray(array, np.float32)
        return [f"{layer.name}/{name}" for name in names]

    def _reshape(self, shape: Sequence[int]) -> None:
        name = f"shape_{len(self._nodes)}"
        self._constants[name] = np.array(shape, np.int64)
        self._add("Reshape", name)

    def _add(self, kind: str, *more: str, **attributes: Any) -> None:
        from onnx import helper

        out = f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, [self._top, *more], [out], **attributes))
        self._top = out
