"""A catalogue of what goes wrong when a GAN is carried from one framework to another.

An entry is a function that measures two errors: of the port as it is usually written, and of what
this repository does. Unless an entry says otherwise an error is ||a - b|| / ||b||, in float64,
against PyTorch's layers or the formula. pytest asserts that the naive port fails and ours does not;

    python -m tests.cross.test_traps

writes the figures to docs/figures/traps.json, from which `make readme` fills docs/porting-traps.md.

Left out, since they show in time or on a GPU alone: XLA runs convolutions inside a loop several
times slower on a processor; TensorFlow takes all of a GPU's memory; TF32 rounds float32 products;
the warm-up of a CUDA graph performs real steps. And two frameworks in one process: PyTorch and
what its optimizers import come first, as below, else the process may end by a segmentation fault.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch  # before TensorFlow, where both share a process
from torch import nn
from torch.nn import functional as F

from common import architecture, batches, checkpoint
from common.config import Config
from common.environment import processor
from common.initializers import initial_parameters
from common.quiet import quiet
from keras_impl import load_engine

ENGINE = os.environ["KERAS_BACKEND"]  # tensorflow, but in the processes of other engines' entries
if ENGINE == "tensorflow":
    # An optimizer imports it, and Triton with it, which ends the process if TensorFlow came first.
    import torch._dynamo

    with quiet():
        import tensorflow as tf

        # Two busy threads on two cores can make a small float64 step many times slower.
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    from tensorflow_impl import backend as tf_backend
    from tensorflow_impl import layers as tf_layers
    from tensorflow_impl import losses as tf_losses
    from tensorflow_impl import networks as tf_networks
    from tensorflow_impl import step as tf_step
engine = load_engine()
import keras  # noqa: E402

from keras_impl import layers as keras_layers  # noqa: E402
from keras_impl import losses as keras_losses  # noqa: E402
from keras_impl import step as keras_step  # noqa: E402
from pytorch_impl import backend as torch_backend  # noqa: E402
from pytorch_impl import canonical as torch_canonical  # noqa: E402
from pytorch_impl import dcgan as torch_dcgan  # noqa: E402
from pytorch_impl import losses as torch_losses  # noqa: E402
from pytorch_impl import state as torch_state  # noqa: E402
from pytorch_impl import step as torch_step  # noqa: E402

torch.set_num_threads(1)

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "docs" / "figures" / "traps.json"
MNIST28 = architecture.get("mnist28", 96)
RATE = 2.0**-10  # a learning rate that float32 holds exactly
F64 = torch.float64

Measure = Callable[[], tuple[float | str, float]]


@dataclass(frozen=True)
class Trap:
    """One entry; measure() -> (naive error, or the name of what is raised; our error)."""

    name: str
    wrong: str  # what goes wrong
    error_of: str  # what the figures are errors of
    at_least: float | str  # the naive error's bound
    at_most: float  # our error's bound
    pytorch: str  # what to write instead
    tensorflow: str
    keras: str
    measure: Measure
    engines: tuple[str, ...] = ("tensorflow",)  # what Keras runs on


CATALOGUE: list[Trap] = []


def trap(*texts: str, **rest: Any) -> Callable[[Measure], Measure]:
    """Enter a function into the catalogue; the arguments are Trap's."""

    def enter(measure: Measure) -> Measure:
        CATALOGUE.append(Trap(*texts, measure=measure, **rest))
        return measure

    return enter


# ------------------------------------------------------------------ what the entries share


class Paper:
    """A run of the paper's networks before its first step, and stock layers with its weights."""

    def __init__(self) -> None:
        config = Config(
            dataset="drawn", train_images=64, image_size=32, width=4, batch_size=8,
            precision="float64", device="cpu",
        )  # fmt: skip
        self.images = np.random.default_rng(0).integers(0, 256, (1, 8, 32, 32, 3), np.uint8)
        self.z = batches.noise(0, 0, 8, 100)
        self.state = torch_backend.make_state(config, checkpoint.initial(config))
        self.start = [
            {k: v.clone() for k, v in network.state_dict().items()}
            for network in (self.state.discriminator, self.state.generator)
        ]
        self.real = torch_step.scale_images(torch.from_numpy(self.images[0]), F64)
        self.noise = torch.from_numpy(self.z).double()
        self.fake = self.generator()(self.noise).detach()

    def discriminator(self) -> torch_dcgan.Discriminator:
        D = torch_dcgan.Discriminator(32, 3, 4).double()
        D.load_state_dict(self.start[0])
        return D

    def generator(self) -> torch_dcgan.Generator:
        G = torch_dcgan.Generator(32, 3, 4).double()
        G.load_state_dict(self.start[1])
        return G

    def after(self) -> nn.Module:
        """D after the first iteration."""
        if self.state.step == 0:
            with torch.enable_grad():
                torch_backend.train_chunk(self.state, self.images, self.z[None])
        return self.state.discriminator


def array(x: Any) -> np.ndarray:
    """Any framework's tensor -> numpy, in float64."""
    x = x.detach() if torch.is_tensor(x) else x
    return np.asarray(x.numpy() if hasattr(x, "numpy") else x, np.float64)


def distance(a: Any, b: Any) -> float:
    """||a - b|| / ||b||."""
    a, b = array(a), array(b)
    assert a.shape == b.shape
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def raised_by(function: Callable[[], None], words: str) -> str:
    """The name of the exception, whose message has these words, that a function raises."""
    with pytest.raises(Exception, match=words) as error:
        function()
    return error.type.__name__


def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
    """Numbers that depend on the shape alone."""
    return scale * np.random.default_rng(shape).standard_normal(shape)


def nchw(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def nhwc(x: torch.Tensor) -> np.ndarray:
    return array(x.permute(0, 2, 3, 1))


def tf_gradient(function: Callable[[Any], Any], x: np.ndarray) -> Any:
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return tape.gradient(y, x)


def torch_gradient(function: Callable[[Any], Any], x: np.ndarray) -> torch.Tensor:
    x = torch.tensor(x, requires_grad=True)
    return torch.autograd.grad(function(x).sum(), x)[0]


def torch_run(precision: str = "float64") -> torch_state.TrainState:
    """PyTorch's state before the first step."""
    config = Config(precision=precision, device="cpu", learning_rate=3e-4)  # type: ignore[arg-type]
    return torch_backend.make_state(config, checkpoint.initial(config))


# ------------------------------------------------------------------ batch norm

IMAGES = normal(9, 2, 2, 8) * np.linspace(0.1, 2, 8) + np.linspace(-1, 1, 8)  # 36 values a channel


@trap(
    "`BatchNorm2d(128, 0.8)`",
    "0.8 is meant as the momentum; the second argument is eps",
    "outputs",
    at_least=0.1,
    at_most=1e-13,
    pytorch="`BatchNorm2d(128, momentum=0.8)`",
    tensorflow="`layers.BatchNorm(128, momentum=0.8, ...)`; epsilon is a constant, 1e-5",
    keras="`BatchNormalization(momentum=0.2, epsilon=1e-5)`",
)
def second_argument() -> tuple[float, float]:
    wanted = nhwc(nn.BatchNorm2d(8, momentum=0.8, dtype=F64)(nchw(IMAGES)))
    naive = nhwc(nn.BatchNorm2d(8, 0.8, dtype=F64)(nchw(IMAGES)))
    ours = tf_layers.BatchNorm(8, 0.8, tf.float64)(tf.constant(IMAGES), training=True)
    return distance(naive, wanted), distance(ours, wanted)


@trap(
    "batch norm's momentum",
    "PyTorch's 0.1 is the weight of the new value, Keras's momentum that of the old one",
    "running mean",
    at_least=5,
    at_most=1e-13,
    pytorch="`momentum=0.1`",
    tensorflow="`running += 0.1 * (new - running)`",
    keras="`momentum=0.9`",
)
def momentum() -> tuple[float, float]:
    wanted = nn.BatchNorm2d(8, momentum=0.1, dtype=F64)
    wanted(nchw(IMAGES))
    naive = keras.layers.BatchNormalization(momentum=0.1, dtype="float64")
    ours = keras_layers.BatchNormalization(momentum=0.9, dtype="float64")
    for layer in (naive, ours):
        layer(IMAGES, training=True)
    a, b = (distance(layer.moving_mean, wanted.running_mean) for layer in (naive, ours))
    return a, b


@trap(
    "batch norm's epsilon",
    "1e-3 by default in Keras, 1e-5 in PyTorch",
    "outputs",
    at_least=1e-3,
    at_most=1e-13,
    pytorch="`eps=1e-5`, its default",
    tensorflow="`tf.nn.batch_normalization(..., variance_epsilon=1e-5)`",
    keras="`BatchNormalization(epsilon=1e-5)`",
)
def norm_epsilon() -> tuple[float, float]:
    wanted = nhwc(nn.BatchNorm2d(8, dtype=F64)(nchw(IMAGES)))
    naive = keras.layers.BatchNormalization(dtype="float64")
    ours = keras_layers.BatchNormalization(epsilon=1e-5, dtype="float64")
    return (
        distance(naive(IMAGES, training=True), wanted),
        distance(ours(IMAGES, training=True), wanted),
    )


@trap(
    "batch norm's running variance",
    "Keras keeps the biased variance, PyTorch n / (n - 1) times it",
    "running variance, n = 36",
    at_least=1 / 37,
    at_most=1e-13,
    pytorch="its own",
    tensorflow="`n / (n - 1)` times `tf.nn.moments`'s",
    keras="a subclass: `keras_impl/layers.py`",
)
def running_variance() -> tuple[float, float]:
    wanted = nn.BatchNorm2d(8, momentum=1.0, dtype=F64)
    wanted(nchw(IMAGES))
    naive = keras.layers.BatchNormalization(momentum=0.0, dtype="float64")
    ours = keras_layers.BatchNormalization(momentum=0.0, dtype="float64")
    for layer in (naive, ours):
        layer(IMAGES, training=True)
    a, b = (distance(layer.moving_variance, wanted.running_var) for layer in (naive, ours))
    return a, b


@trap(
    "TensorFlow's fused batch norm",
    "the variance it returns is the unbiased one; a batch is normalised with the biased one",
    "outputs, n = 36",
    at_least=0.01,
    at_most=1e-6,
    pytorch="its own",
    tensorflow="normalise with `tf.nn.moments`; keep the unbiased one for evaluation",
    keras="its own for the outputs",
)
def fused_variance() -> tuple[float, float]:
    x = IMAGES.astype(np.float32)
    one, zero = tf.ones(8), tf.zeros(8)
    wanted = nhwc(nn.BatchNorm2d(8)(nchw(x)))
    _, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=one, offset=zero, mean=[], variance=[], epsilon=1e-5
    )
    naive = tf.nn.batch_normalization(x, mean, variance, zero, one, 1e-5)
    ours = tf_layers.BatchNorm(8, 0.1, tf.float32)(tf.constant(x), training=True)
    return distance(naive, wanted), distance(ours, wanted)


@trap(
    "batch norm's axis",
    "on channels-first data Keras's default axis -1 normalises columns instead of channels",
    "outputs",
    at_least=0.5,
    at_most=1e-13,
    pytorch="NCHW, its own order",
    tensorflow="NHWC: moments over `(0, 1, 2)`",
    keras="NHWC, or `axis=1` for NCHW",
)
def norm_axis() -> tuple[float, float]:
    wanted = nhwc(nn.BatchNorm2d(8, dtype=F64)(nchw(IMAGES)))
    naive = keras.layers.BatchNormalization(epsilon=1e-5, dtype="float64")
    naive = array(naive(array(nchw(IMAGES)), training=True)).transpose(0, 2, 3, 1)
    ours = keras_layers.BatchNormalization(epsilon=1e-5, dtype="float64")
    return distance(naive, wanted), distance(ours(IMAGES, training=True), wanted)


@trap(
    "evaluation mode forgotten",
    "with batch statistics an image depends on the images drawn beside it",
    "images of the same noise in a batch of 4 and of 8",
    at_least=0.05,
    at_most=1e-13,
    pytorch="`G.eval()` before sampling",
    tensorflow="`G(z, training=False)`",
    keras="`G(z, training=False)`, or `predict`",
)
@torch.no_grad()
def evaluation_mode() -> tuple[float, float]:
    state, z = torch_run(), batches.noise(0, 0, 8, 96)
    G, z64 = state.generator, torch.from_numpy(z).double()
    naive = distance(G(z64[:4]), G(z64)[:4])
    return naive, distance(
        torch_backend.generate(state, z[:4]), torch_backend.generate(state, z)[:4]
    )


@trap(
    "evaluation mode not left",
    "after the first samples training goes on with running statistics",
    "images in the next training step",
    at_least=0.1,
    at_most=0,
    pytorch="`G.train()` after sampling",
    tensorflow="`training` is an argument of each call",
    keras="`training` is an argument of each call",
)
@torch.no_grad()
def training_mode() -> tuple[float, float]:
    state, z = torch_run(), torch.from_numpy(batches.noise(0, 0, 8, 96))
    wanted = state.generator(z.double())
    torch_backend.generate(state, z.numpy())
    ours = state.generator(z.double())
    naive = state.generator.eval()(z.double())
    return distance(naive, wanted), distance(ours, wanted)


@trap(
    "`trainable = False` and batch norm",
    "meant to spare a layer the update; in Keras it also puts batch norm into evaluation mode",
    "outputs in training",
    at_least=0.5,
    at_most=1e-13,
    pytorch="`requires_grad_(False)`, which is only that",
    tensorflow="`tape.gradient(loss, parameters)` of the wanted ones",
    keras="leave the flag; take the gradients of the wanted variables alone",
)
def frozen() -> tuple[float, float]:
    wanted = nhwc(nn.BatchNorm2d(8, dtype=F64).requires_grad_(False)(nchw(IMAGES)))
    naive = keras.layers.BatchNormalization(epsilon=1e-5, dtype="float64")
    naive.trainable = False
    ours = keras_layers.BatchNormalization(epsilon=1e-5, dtype="float64")
    return (
        distance(naive(IMAGES, training=True), wanted),
        distance(ours(IMAGES, training=True), wanted),
    )


@trap(
    "G run once instead of twice",
    "the published loop moves G's running statistics twice an iteration; dropping a run drops one",
    "running mean",
    at_least=0.4,
    at_most=1e-13,
    pytorch="`momentum=1 - (1 - 0.1) ** 2`",
    tensorflow="the same",
    keras="`momentum=(1 - 0.1) ** 2`",
)
def one_run_of_g() -> tuple[float, float]:
    norms = [nn.BatchNorm2d(8, momentum=m, dtype=F64) for m in (0.1, 0.1)]
    wanted, naive = norms
    for norm in (wanted, wanted, naive):
        norm(nchw(IMAGES))
    ours = tf_layers.BatchNorm(8, tf_networks.BATCH_NORM_MOMENTUM, tf.float64)
    ours(tf.constant(IMAGES), training=True)
    a, b = (distance(m, wanted.running_mean) for m in (naive.running_mean, ours.moving_mean))
    return a, b


@trap(
    "real and fake in one batch",
    "one call of D is faster; batch norm in D then mixes the statistics of both",
    "outputs for the real half",
    at_least=0.1,
    at_most=1e-13,
    pytorch="two calls of D wherever it has batch norm: `judge` in `step.py`",
    tensorflow="the same",
    keras="the same",
)
@torch.no_grad()
def one_batch() -> tuple[float, float]:
    paper = Paper()
    D = paper.discriminator()
    wanted = D(paper.real)
    ours = torch_step.judge(paper.state, paper.real, paper.fake)[0]
    return distance(D(torch.cat([paper.real, paper.fake]))[:8], wanted), distance(ours, wanted)


@trap(
    "D's running statistics in G's update",
    "the plain loop moves them three times an iteration: real, fakes, and the fakes again for G",
    "D's running mean after an iteration",
    at_least=0.05,
    at_most=1e-12,
    pytorch="D stays in training mode for G's update",
    tensorflow="`D(fake, training=True)` for G's update",
    keras="the same",
)
@torch.no_grad()
def three_moves() -> tuple[float, float]:
    paper = Paper()
    D = paper.discriminator()
    D(paper.real)
    D(paper.fake)
    twice = D.main[3].running_mean.clone()
    ours = paper.after().main[3].running_mean
    for parameter, updated in zip(D.parameters(), paper.after().parameters(), strict=True):
        parameter.copy_(updated)
    D(paper.fake)  # by the D just updated
    wanted = D.main[3].running_mean
    return distance(twice, wanted), distance(ours, wanted)


@trap(
    "D in evaluation mode in G's update",
    "meant to leave D alone; G then learns against another function than the one D was trained as",
    "G's gradients",
    at_least=0.5,
    at_most=1e-12,
    pytorch="`requires_grad_(False)` leaves D's weights alone, and its mode too",
    tensorflow="`tape.gradient(loss, g_parameters)`, with `D(fake, training=True)`",
    keras="the gradient of the images, with `D(fake, training=True)`",
)
def evaluated_d() -> tuple[float, float]:
    paper = Paper()
    updated = paper.after()
    first = paper.state.g_optimizer.state[paper.state.generator.main[0].weight]["exp_avg"]
    ours = first / (1 - paper.state.config.beta1)  # after one step m = (1 - beta1) g
    found = []
    for training in (True, False):
        D = paper.discriminator().train(training)
        with torch.no_grad():
            for parameter, new in zip(D.parameters(), updated.parameters(), strict=True):
                parameter.copy_(new)
        G = paper.generator()
        loss = torch_losses.generator_loss(D(G(paper.noise)))
        found.append(torch.autograd.grad(loss, G.main[0].weight)[0])
    return distance(found[1], found[0]), distance(ours, found[0])


@trap(
    "running variance of 4x4 maps",
    "the smaller the batch and the map, the more biased and unbiased variance differ",
    "running variance, 2 images of 4x4",
    at_least=1 / 33,
    at_most=1e-13,
    pytorch="its own: n / (n - 1), n = 32",
    tensorflow="`n / (n - 1)` times `tf.nn.moments`'s",
    keras="a subclass: `keras_impl/layers.py`",
)
def small_maps() -> tuple[float, float]:
    maps = normal(2, 4, 4, 8)
    wanted = nn.BatchNorm2d(8, momentum=1.0, dtype=F64)
    wanted(nchw(maps))
    naive = keras.layers.BatchNormalization(momentum=0.0, dtype="float64")
    naive(maps, training=True)
    ours = tf_layers.BatchNorm(8, 1.0, tf.float64)
    ours(tf.constant(maps), training=True)
    a, b = (distance(x.moving_variance, wanted.running_var) for x in (naive, ours))
    return a, b


# ------------------------------------------------------------------ Adam


def torch_adam(gradients: Sequence[np.ndarray]) -> torch.Tensor:
    """What PyTorch's Adam with eps 1e-8 adds to a parameter."""
    p = torch.zeros_like(torch.from_numpy(gradients[0]))
    optimizer = torch.optim.Adam([p], RATE, (0.5, 0.999), eps=1e-8)
    for gradient in gradients:
        p.grad = torch.from_numpy(gradient)
        optimizer.step()
    return p


def keras_adam(kind: type, gradients: Sequence[np.ndarray], **options: float) -> Any:
    v = keras.Variable(np.zeros_like(gradients[0]), dtype=gradients[0].dtype)
    optimizer = kind(RATE, 0.5, 0.999, **options)
    optimizer.build([v])
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)])
    return v


def tf_adam(gradients: Sequence[np.ndarray]) -> Any:
    v = tf.Variable(np.zeros_like(gradients[0]))
    optimizer = tf_layers.Adam([v], Config(learning_rate=RATE, beta1=0.5, beta2=0.999))
    for gradient in gradients:
        optimizer.step([tf.constant(gradient)])
    return v


SMALL = list(normal(20, 64, scale=1e-6))  # gradients of 20 steps


@trap(
    "where Adam's epsilon stands",
    "Keras adds it before the bias correction, PyTorch and the paper's algorithm 1 after it",
    "first update, gradients of 1e-6",
    at_least=0.05,
    at_most=1e-13,
    pytorch="its own",
    tensorflow="`epsilon * tf.sqrt(1 - beta2**t)` in `tf.raw_ops.ResourceApplyAdam`",
    keras="a subclass whose epsilon is multiplied by `sqrt(1 - beta2**t)`",
)
def adam_epsilon() -> tuple[float, float]:
    wanted = torch_adam(SMALL[:1])
    naive = keras_adam(keras.optimizers.Adam, SMALL[:1], epsilon=1e-8)
    ours = keras_adam(keras_layers.Adam, SMALL[:1], epsilon=1e-8)
    worst = max(distance(ours, wanted), distance(tf_adam(SMALL[:1]), wanted))
    return distance(naive, wanted), worst


@trap(
    "an Adam epsilon fitted once",
    "scaled to agree at the first step it is wrong at the next ones: it has to follow the step",
    "20 updates, gradients of 1e-6",
    at_least=0.001,
    at_most=1e-13,
    pytorch="its own",
    tensorflow="compute it from the step's count, inside the graph",
    keras="compute it from `self.iterations` in `update_step`",
)
def adam_epsilon_follows() -> tuple[float, float]:
    wanted = torch_adam(SMALL)
    fitted = 1e-8 * (1 - 0.999) ** 0.5
    naive = keras_adam(keras.optimizers.Adam, SMALL, epsilon=fitted)
    ours = keras_adam(keras_layers.Adam, SMALL, epsilon=1e-8)
    worst = max(distance(ours, wanted), distance(tf_adam(SMALL), wanted))
    return distance(naive, wanted), worst


@trap(
    "Adam's default epsilon",
    "1e-7 in Keras, 1e-8 in PyTorch and the paper",
    "first update, gradients of 1e-6",
    at_least=0.05,
    at_most=1e-13,
    pytorch="`eps=1e-8`, its default",
    tensorflow="`epsilon=1e-8`",
    keras="`Adam(epsilon=1e-8)`",
)
def adam_default() -> tuple[float, float]:
    wanted = torch_adam(SMALL[:1])
    naive = keras_adam(keras_layers.Adam, SMALL[:1])  # the position is right, the default Keras's
    return distance(naive, wanted), distance(
        keras_adam(keras_layers.Adam, SMALL[:1], epsilon=1e-8), wanted
    )


@trap(
    "one Adam for both networks",
    "applied to D, then to G, its count moves twice an iteration and the bias correction is wrong",
    "G's first update",
    at_least=0.05,
    at_most=1e-13,
    pytorch="an optimizer for each network",
    tensorflow="an optimizer for each network",
    keras="an optimizer for each network",
)
def one_adam() -> tuple[float, float]:
    gradient = normal(64)
    d, g = (keras.Variable(np.zeros(64), dtype="float64") for _ in range(2))
    both = keras_layers.Adam(RATE, 0.5, 0.999, epsilon=1e-8)
    both.build([d, g])
    for variable in (d, g):
        both.apply([keras.ops.convert_to_tensor(gradient)], [variable])
    wanted = torch_adam([gradient])
    ours = keras_adam(keras_layers.Adam, [gradient], epsilon=1e-8)
    return distance(g, wanted), distance(ours, wanted)


@trap(
    "weights in bfloat16",
    "an update under 1/512 of a weight is rounded away; bfloat16 is for the arithmetic",
    "what 10 Adam steps change",
    at_least=0.2,
    at_most=1e-3,
    pytorch="`torch.autocast`, not `model.bfloat16()`",
    tensorflow="float32 variables, `tf.cast` in the layer",
    keras="policy `mixed_bfloat16`, not `bfloat16`",
)
@torch.no_grad()
def bfloat16_weights() -> tuple[float, float]:
    def moved(weight: torch.Tensor, optimizer: torch.optim.Optimizer) -> np.ndarray:
        before = array(weight.float())
        for _ in range(10):
            weight.grad = torch.ones_like(weight)
            optimizer.step()
        return array(weight.float()) - before

    state = torch_run("bfloat16")  # our bfloat16 run
    ours = state.generator.conv[3].bias
    naive = ours.detach().bfloat16()
    wanted = np.full(1, -10 * 3e-4)  # Adam's step is the learning rate while gradients are equal
    adam = torch.optim.Adam([naive], 3e-4, (0.5, 0.999))
    return distance(moved(naive, adam), wanted), distance(moved(ours, state.g_optimizer), wanted)


# ------------------------------------------------------------------ activations and scalars


@trap(
    "LeakyReLU's default slope",
    "0.01 in PyTorch, 0.2 in TensorFlow, 0.3 in Keras",
    "outputs",
    at_least=0.1,
    at_most=1e-15,
    pytorch="`nn.LeakyReLU(0.01)`",
    tensorflow="`tf.nn.leaky_relu(x, alpha=0.01)`",
    keras="`LeakyReLU(negative_slope=0.01)`",
)
def default_slope() -> tuple[float, float]:
    wanted = nn.LeakyReLU()(torch.from_numpy(IMAGES))
    naive = keras.layers.LeakyReLU(dtype="float64")(IMAGES)
    ours = keras_layers.LeakyReLU(negative_slope=0.01, dtype="float64")(IMAGES)
    return distance(naive, wanted), distance(ours, wanted)


@trap(
    "`tf.nn.leaky_relu` in float64",
    "the kernel holds its slope as a float32",
    "outputs for x < 0",
    at_least=1e-8,
    at_most=1e-15,
    pytorch="its own",
    tensorflow="`tf.maximum(tf.constant(0.01, x.dtype) * x, x)`",
    keras="`ops.where(x > 0, x, 0.01 * x)`",
)
def float32_slope() -> tuple[float, float]:
    x = -np.abs(normal(64))
    wanted = F.leaky_relu(torch.from_numpy(x), 0.01)
    naive = tf.nn.leaky_relu(tf.constant(x), 0.01)
    ours = tf_layers.leaky_relu(tf.constant(x), 0.01)
    theirs = keras_layers.LeakyReLU(negative_slope=0.01, dtype="float64")(x)
    return distance(naive, wanted), max(distance(ours, wanted), distance(theirs, wanted))


@trap(
    "casting a Python number to float64",
    "`tf.cast(0.999, tf.float64)` and `keras.ops.cast` go through float32",
    "1 - beta2",
    at_least=1e-6,
    at_most=1e-15,
    pytorch="a Python number: it takes the tensor's dtype",
    tensorflow="`tf.constant(0.999, tf.float64)`",
    keras="the Python number itself: `x * 0.999`",
)
def casts() -> tuple[float, float]:
    wanted = [1 - 0.999]
    naive = min(
        distance([1 - keras.ops.cast(0.999, "float64")], wanted),
        distance([1 - tf.cast(0.999, tf.float64)], wanted),
    )
    one = tf.ones(1, tf.float64)
    return naive, max(
        distance(one - tf.constant(0.999, tf.float64), wanted), distance(one - one * 0.999, wanted)
    )


@trap(
    "LeakyReLU at zero",
    "its derivative there is the slope in PyTorch and 1 in Keras on JAX; black pixels sit there",
    "derivative at 0",
    at_least=50,
    at_most=1e-7,
    pytorch="its own",
    tensorflow="`tf.nn.leaky_relu`, which agrees at 0",
    keras="`ops.where(x > 0, x, slope * x)`",
    engines=("jax",),
)
def slope_at_zero() -> tuple[float, float]:
    import jax

    zero = np.zeros(4, np.float32)
    wanted = torch_gradient(nn.LeakyReLU(0.01), zero)

    def derivative(layer: Any) -> Any:
        return jax.grad(lambda x: keras.ops.sum(layer(x)))(zero)

    naive = keras.layers.LeakyReLU(negative_slope=0.01)
    ours = keras_layers.LeakyReLU(negative_slope=0.01)
    return distance(derivative(naive), wanted), distance(derivative(ours), wanted)


@trap(
    "an activation moved behind the pooling",
    "right for max pooling and a positive slope, ties and gradients included; wrong for averages",
    "gradients",
    at_least=0.1,
    at_most=0,
    pytorch="`nn.MaxPool2d(2)`, then `nn.LeakyReLU(0.01)`: a quarter of the work",
    tensorflow="the same",
    keras="the same",
)
def pool_first() -> tuple[float, float]:
    x = np.round(normal(4, 3, 8, 8))  # whole numbers: many ties, many zeros
    weights = torch.arange(1.0, 17, dtype=F64).reshape(4, 4)  # so that places are told apart
    leaky, maximum, average = nn.LeakyReLU(0.01), nn.MaxPool2d(2), nn.AvgPool2d(2)
    errors = []
    for pool in (average, maximum):
        wanted = torch_gradient(lambda x, pool=pool: pool(leaky(x)) * weights, x)
        found = torch_gradient(lambda x, pool=pool: leaky(pool(x)) * weights, x)
        errors.append(distance(found, wanted))
    images, w = x.transpose(0, 2, 3, 1), weights.numpy()[:, :, None]
    max_pool = functools.partial(tf.nn.max_pool2d, ksize=2, strides=2, padding="VALID")
    ours = tf_gradient(lambda x: tf_layers.leaky_relu(max_pool(x), 0.01) * w, images)
    theirs = tf_gradient(lambda x: max_pool(tf_layers.leaky_relu(x, 0.01)) * w, images)
    return errors[0], max(errors[1], distance(ours, theirs))


@trap(
    "a gradient penalty at the ties of max pooling",
    "on a flat background the pooled values are equal but for rounding, which then decides where "
    "the image's gradient goes; first-order training does not notice, R1 does",
    "D's gradient on a digit's image",
    at_least=1e-3,
    at_most=1e-12,
    pytorch="the penalty half a grey level beside the image: `real + state.jitter`",
    tensorflow="the same",
    keras="the same",
)
def penalty_at_ties() -> tuple[float, float]:
    config = Config(precision="float64", device="cpu")
    arrays = checkpoint.initial(config)
    ours, theirs = (backend.make_state(config, arrays) for backend in (torch_backend, tf_backend))
    images = np.full((8, 28, 28, 1), -1.0)
    images[:, 8:20, 8:20] = np.tanh(normal(8, 12, 12, 1))
    # On some processors both libraries round alike, so that the rounding here is a drawn one.
    rounding = 1e-14 * normal(2, *images.shape)
    errors = []
    for x in (images, images + batches.jitter(0, (28, 28, 1))):
        wanted = torch_gradient(ours.discriminator, (x + rounding[0]).transpose(0, 3, 1, 2))
        found = tf_gradient(theirs.discriminator, x + rounding[1])
        errors.append(distance(found, wanted.permute(0, 2, 3, 1)))
    return errors[0], errors[1]


# ------------------------------------------------------------------ convolutions, layouts


@trap(
    '"same" with stride 2 and an odd kernel',
    "TensorFlow pads (1, 2) rows, PyTorch's `padding=2` pads (2, 2): the same shape, shifted",
    "outputs, kernel 5",
    at_least=0.5,
    at_most=1e-13,
    pytorch="`padding=2`, or F.pad (1, 2, 1, 2) to be like TensorFlow",
    tensorflow="`padding=((0, 0), (2, 2), (2, 2), (0, 0))`",
    keras="`ZeroPadding2D(2)`, then `padding='valid'`",
)
def odd_same() -> tuple[float, float]:
    x, kernel = normal(2, 8, 8, 3), normal(5, 5, 3, 4)
    wanted = nhwc(F.conv2d(nchw(x), torch.from_numpy(kernel.transpose(3, 2, 0, 1)), None, 2, 2))
    naive = tf.nn.conv2d(x, kernel, 2, "SAME")
    ours = tf.nn.conv2d(x, kernel, 2, ((0, 0), (2, 2), (2, 2), (0, 0)))
    return distance(naive, wanted), distance(ours, wanted)


@trap(
    '"same" transposed convolution with an odd kernel',
    "PyTorch's `padding=2, output_padding=1` has its shape, shifted by a pixel; an even kernel of "
    "4 with `padding=1` is equal",
    "outputs, kernel 5; ours: 4",
    at_least=0.5,
    at_most=1e-13,
    pytorch="`ConvTranspose2d(..., 4, 2, padding=1)`",
    tensorflow="`conv2d_transpose(..., strides=2, padding='SAME')` with a kernel of 4",
    keras="`Conv2DTranspose(..., 4, 2, padding='same')`",
)
def transposed_same() -> tuple[float, float]:
    x, k5, k4 = normal(2, 7, 7, 3), normal(5, 5, 4, 3), normal(4, 4, 4, 3)
    five, four = (torch.from_numpy(k.transpose(3, 2, 0, 1)) for k in (k5, k4))
    wanted = nhwc(F.conv_transpose2d(nchw(x), five, None, 2, 2, output_padding=1))
    naive = tf.nn.conv2d_transpose(x, k5, (2, 14, 14, 4), 2, "SAME")
    ours = tf_networks.ConvTranspose(3, 4, tf.float64)
    ours.kernel.assign(k4)
    even = nhwc(F.conv_transpose2d(nchw(x), four, None, 2, 1))
    return distance(naive, wanted), distance(ours(tf.constant(x)), even)


@trap(
    "a transposed convolution's kernel",
    "PyTorch (in, out, h, w), TensorFlow and Keras (h, w, out, in); with in = out a wrong order "
    "has the right shape",
    "outputs",
    at_least=0.5,
    at_most=1e-13,
    pytorch="`kernel.transpose(3, 2, 0, 1)` from TensorFlow's",
    tensorflow="`weight.transpose(2, 3, 1, 0)` from PyTorch's",
    keras="the same as TensorFlow",
)
def transposed_kernel() -> tuple[float, float]:
    x, weight = normal(2, 7, 7, 4), normal(4, 4, 4, 4)
    wanted = nhwc(F.conv_transpose2d(nchw(x), torch.from_numpy(weight), None, 2, 1))
    layer = tf_networks.ConvTranspose(4, 4, tf.float64)
    layer.kernel.assign(weight.transpose(2, 3, 0, 1))
    naive = layer(tf.constant(x))
    layer.kernel.assign(
        torch_canonical.to_canonical_layout("generator/deconv1/kernel", weight, MNIST28)
    )
    return distance(naive, wanted), distance(layer(tf.constant(x)), wanted)


@trap(
    "a square dense kernel",
    "PyTorch (out, in), the others (in, out); D's first is 1024 x 1024, so nothing complains",
    "outputs",
    at_least=0.5,
    at_most=1e-13,
    pytorch="`kernel.T` from the others'",
    tensorflow="`weight.T` from PyTorch's",
    keras="`weight.T` from PyTorch's",
)
def dense_kernel() -> tuple[float, float]:
    x, weight = normal(2, 96), normal(96, 96)
    wanted = F.linear(torch.from_numpy(x), torch.from_numpy(weight))
    layer = tf_networks.Dense(96, 96, tf.float64)
    layer.kernel.assign(weight)
    naive = layer(tf.constant(x))
    layer.kernel.assign(
        torch_canonical.to_canonical_layout("discriminator/dense2/kernel", weight, MNIST28)
    )
    return distance(naive, wanted), distance(layer(tf.constant(x)), wanted)


@trap(
    "the order in which an image is flattened",
    "(C, H, W) in PyTorch, (H, W, C) in the others: the dense kernel's rows have to move",
    "outputs",
    at_least=0.5,
    at_most=1e-13,
    pytorch="rows reordered: `pytorch_impl/canonical.py`",
    tensorflow="`tf.transpose(x, (0, 3, 1, 2))` before the reshape, or rows reordered",
    keras="`Permute((3, 1, 2))` before `Flatten`, or rows reordered",
)
def flatten_order() -> tuple[float, float]:
    x, weight = normal(2, 4, 4, 64), normal(16, 1024)
    wanted = F.linear(nchw(x).flatten(1), torch.from_numpy(weight))
    ours = torch_canonical.to_canonical_layout("discriminator/dense1/kernel", weight, MNIST28)
    flat = x.reshape(2, -1)
    return distance(flat @ weight.T, wanted), distance(flat @ ours, wanted)


@trap(
    "batch norm before a reshape",
    "its vectors run over the same flattened image as the dense kernel and are forgotten",
    "outputs of norm2",
    at_least=0.5,
    at_most=1e-13,
    pytorch="scale, offset and both running statistics reordered",
    tensorflow="the same",
    keras="the same",
)
def reordered_vectors() -> tuple[float, float]:
    x, scale = normal(4, 6272), normal(6272)
    norm = nn.BatchNorm1d(6272, dtype=F64)
    norm.weight.data = torch.from_numpy(scale)
    wanted = nhwc(norm(torch.from_numpy(x)).reshape(4, 128, 7, 7))
    layer = tf_layers.BatchNorm(6272, 0.1, tf.float64)
    pixels = tf.constant(nhwc(torch.from_numpy(x).reshape(4, 128, 7, 7)).reshape(4, -1))
    found = []
    for vector in (
        scale,
        torch_canonical.to_canonical_layout("generator/norm2/scale", scale, MNIST28),
    ):
        layer.scale.assign(vector)
        found.append(tf.reshape(layer(pixels, training=True), (4, 7, 7, 128)))
    return distance(found[0], wanted), distance(found[1], wanted)


@trap(
    "`view` for `permute`",
    "a reshape to NCHW has the right shape and scrambles every image of more than one channel",
    "images (8, 28, 28, 3)",
    at_least=0.5,
    at_most=1e-7,
    pytorch="`x.permute(0, 3, 1, 2)`",
    tensorflow="`tf.transpose(x, (0, 3, 1, 2))`, not `tf.reshape`",
    keras="`ops.transpose(x, (0, 3, 1, 2))`",
)
def view_for_permute() -> tuple[float, float]:
    images = np.random.default_rng(0).integers(0, 256, (8, 28, 28, 3), np.uint8)
    wanted = images.astype(np.float64) / 127.5 - 1
    ours = torch_step.scale_images(torch.from_numpy(images), F64)
    naive = torch.from_numpy(wanted).reshape(8, 3, 28, 28)
    return distance(naive, nchw(wanted)), distance(ours, nchw(wanted))


@trap(
    "arithmetic on uint8 images",
    "`2 * images` wraps round at 256 before the division",
    "scaled images",
    at_least=0.5,
    at_most=1e-15,
    pytorch="`images.to(dtype) / 127.5 - 1`",
    tensorflow="`tf.cast(images, dtype) / 127.5 - 1`",
    keras="`ops.cast(images, dtype) / 127.5 - 1`",
)
def uint8_wraps() -> tuple[float, float]:
    images = np.random.default_rng(0).integers(0, 256, (8, 28, 28, 1), np.uint8)
    wanted = images.astype(np.float64) / 127.5 - 1
    x = torch.from_numpy(images)
    ours = (
        nhwc(torch_step.scale_images(x, F64)),
        tf_step.scale_images(tf.constant(images), tf.float64),
        keras_step.scale_images(keras.ops.convert_to_tensor(images), "float64"),
    )
    return distance(2 * x / 255 - 1, wanted), max(distance(o, wanted) for o in ours)


# ------------------------------------------------------------------ initial weights, names, seeds


@trap(
    "`ConvTranspose2d`'s initial weights",
    "PyTorch takes the fan-in from dimension 1, which holds the output channels there",
    "largest weight",
    at_least=0.2,
    at_most=1e-3,
    pytorch="its own: 1 / sqrt(out x 16)",
    tensorflow="uniform, bound 1 / sqrt(out x 16)",
    keras="`RandomUniform(-b, b)`, b = 1 / sqrt(out x 16)",
)
def transposed_bound() -> tuple[float, float]:
    torch.manual_seed(0)
    wanted = nn.ConvTranspose2d(128, 64, 4).weight.abs().max().reshape(1)
    naive = [1 / (128 * 16) ** 0.5]
    ours = initial_parameters(MNIST28, 0)["generator/deconv1/kernel"]
    return distance(naive, wanted), distance([np.abs(ours).max()], wanted)


@trap(
    "default initial weights",
    "Keras draws Glorot uniform and zero biases, PyTorch uniform within 1 / sqrt(fan-in) for both",
    "largest weight, 96 -> 1024",
    at_least=0.2,
    at_most=1e-3,
    pytorch="its own",
    tensorflow="uniform, bound 1 / sqrt(in), biases too",
    keras="`kernel_initializer` and `bias_initializer=RandomUniform(-b, b)`",
)
def default_bound() -> tuple[float, float]:
    torch.manual_seed(0)
    wanted = nn.Linear(96, 1024).weight.abs().max().reshape(1)
    naive = keras.layers.Dense(1024)
    naive.build((None, 96))
    ours = initial_parameters(MNIST28, 0)["generator/dense1/kernel"]
    largest = [np.abs(array(w)).max() for w in (naive.kernel, ours)]
    return distance(largest[:1], wanted), distance(largest[1:], wanted)


@trap(
    "`tf.Module.trainable_variables`",
    "sorted by attribute name, not in order of definition: weights zipped with them change places",
    "outputs",
    at_least=0.5,
    at_most=1e-13,
    pytorch="`state_dict()`, by name",
    tensorflow="a mapping by name: `tensorflow_impl/canonical.py`",
    keras="`get_layer(name)`",
)
def sorted_variables() -> tuple[float, float]:
    class Two(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = tf_networks.Dense(8, 8, tf.float64)
            self.after = tf_networks.Dense(8, 8, tf.float64)

    x, kernels, port = normal(2, 8), normal(2, 8, 8), Two()
    wanted = x @ kernels[0] @ kernels[1]
    found = [v for v in port.trainable_variables if v.shape.rank == 2]
    errors = []
    for variables in (found, [port.first.kernel, port.after.kernel]):
        for variable, kernel in zip(variables, kernels, strict=True):
            variable.assign(kernel)
        errors.append(distance(port.after(port.first(tf.constant(x))), wanted))
    return errors[0], errors[1]


@trap(
    "numpy inside a compiled step",
    "it runs once, while tracing: every step then gets the first step's noise",
    "noise of the second step",
    at_least=0.5,
    at_most=0,
    pytorch="noise is an argument of the step",
    tensorflow="noise is an argument of the `tf.function`",
    keras="noise comes with the batch",
)
def traced_noise() -> tuple[float, float]:
    step = itertools.count()
    naive = tf.function(lambda: tf.constant(batches.noise(0, next(step), 4, 96)))
    ours = tf.function(tf.identity)
    for s in range(2):
        wanted = batches.noise(0, s, 4, 96)
        found = naive(), ours(tf.constant(wanted))
    return distance(found[0], wanted), distance(found[1], wanted)


# ------------------------------------------------------------------ losses

REAL, FAKE = normal(8, 1, scale=3.0), normal(16, 1, scale=3.0)[8:]


def loss_errors(wanted: float, real: np.ndarray = REAL, fake: np.ndarray = FAKE) -> float:
    """The worst of the three discriminator losses against a number."""
    return max(
        distance(torch_losses.discriminator_loss(*map(torch.from_numpy, (real, fake))), wanted),
        distance(tf_losses.discriminator_loss(*map(tf.constant, (real, fake))), wanted),
        distance(keras_losses.discriminator_loss(*map(tf.constant, (real, fake))), wanted),
    )


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


LOSS = float(softplus(-REAL).mean() + softplus(FAKE).mean())


@trap(
    "labels (N,) against logits (N, 1)",
    "a loss written by hand broadcasts them to (N, N): every logit meets every label",
    "loss",
    at_least=0.1,
    at_most=1e-14,
    pytorch="`torch.ones_like(logits)`; `F.binary_cross_entropy_with_logits` refuses the shapes",
    tensorflow="`tf.ones_like(logits)`",
    keras="`ops.ones_like(logits)`",
)
def label_shapes() -> tuple[float, float]:
    logits, labels = tf.concat([REAL, FAKE], 0), tf.constant([1.0] * 8 + [0.0] * 8, tf.float64)
    naive = 2 * tf.reduce_mean(tf.nn.softplus(logits) - logits * labels)
    return distance(naive, LOSS), loss_errors(LOSS)


@trap(
    "sigmoid before a loss on logits",
    "D ends in a sigmoid and the loss applies another: logits never leave (0, 1)",
    "loss",
    at_least=0.1,
    at_most=1e-14,
    pytorch="`binary_cross_entropy_with_logits` and a D without sigmoid",
    tensorflow="`tf.nn.sigmoid_cross_entropy_with_logits` and a D without sigmoid",
    keras="`from_logits=True` and a D without sigmoid",
)
def sigmoid_twice() -> tuple[float, float]:
    real, fake = (torch.from_numpy(x).sigmoid() for x in (REAL, FAKE))
    return distance(torch_losses.discriminator_loss(real, fake), LOSS), loss_errors(LOSS)


@trap(
    "logits given to a loss on probabilities",
    "Keras's `from_logits=False` is the default and clips them to (0, 1): no gradient outside",
    "gradients of the logits",
    at_least=0.5,
    at_most=1e-14,
    pytorch="`BCEWithLogitsLoss`; `BCELoss` refuses values outside [0, 1]",
    tensorflow="`tf.nn.sigmoid_cross_entropy_with_logits`",
    keras="`BinaryCrossentropy(from_logits=True)`",
)
def from_logits() -> tuple[float, float]:
    wanted = torch_gradient(torch_losses.generator_loss, FAKE)
    loss = keras.losses.BinaryCrossentropy(dtype="float64")
    naive = tf_gradient(lambda x: loss(np.ones_like(FAKE), x), FAKE)
    ours = tf_gradient(keras_losses.generator_loss, FAKE)
    return distance(naive, wanted), distance(ours, wanted)


@trap(
    "`log(1 - sigmoid(x) + 1e-8)`",
    "in float32 the sigmoid is 1 from a logit of 17 on: the loss is cut off at 18",
    "loss at logits of 30",
    at_least=0.3,
    at_most=1e-6,
    pytorch="`binary_cross_entropy_with_logits`",
    tensorflow="`tf.nn.sigmoid_cross_entropy_with_logits`",
    keras="`ops.binary_crossentropy(..., from_logits=True)`",
)
def log_of_sigmoid() -> tuple[float, float]:
    x = np.full((8, 1), 30, np.float32)
    naive = tf.reduce_mean(-tf.math.log(1 - tf.sigmoid(x) + 1e-8))
    return distance(naive, 30.0), loss_errors(30.0, real=x, fake=x)


# ------------------------------------------------------------------ the order of a step


class LittleGan:
    """Linear D and G, and what the entries below do with them."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.D, self.G = nn.Linear(6, 1, dtype=F64), nn.Linear(4, 6, dtype=F64)
        self.z, self.real = torch.from_numpy(normal(8, 4)), torch.from_numpy(normal(8, 6))
        self.d_optimizer = torch.optim.SGD(self.D.parameters(), 1.0)

    def d_loss(self, fake: torch.Tensor) -> torch.Tensor:
        return torch_losses.discriminator_loss(self.D(self.real), self.D(fake))

    def g_loss(self, fake: torch.Tensor) -> torch.Tensor:
        return torch_losses.generator_loss(self.D(fake))

    def d_gradient(self) -> torch.Tensor:
        """The gradient D's update should see."""
        return torch.autograd.grad(self.d_loss(self.G(self.z)), self.D.weight)[0]

    def g_gradient(self) -> torch.Tensor:
        return torch.autograd.grad(self.g_loss(self.G(self.z)), self.G.weight)[0]


@trap(
    "`detach` forgotten in D's update",
    "D's loss leaves gradients in G, and G's loss adds its own to them",
    "G's gradients",
    at_least=0.5,
    at_most=1e-14,
    pytorch="`D(fake.detach())` in D's update",
    tensorflow="`tape.gradient(d_loss, d_parameters)`",
    keras="the gradients of D's variables alone",
)
def detach() -> tuple[float, float]:
    errors = []
    for ours in (False, True):
        gan = LittleGan()
        wanted, fake = gan.g_gradient(), gan.G(gan.z)
        gan.d_loss(fake.detach() if ours else fake).backward(retain_graph=True)
        gan.g_loss(fake).backward()
        errors.append(distance(gan.G.weight.grad, wanted))
    return errors[0], errors[1]


@trap(
    "G's loss leaves gradients in D",
    "G's update passes through D; without `zero_grad` D's next update adds what it left there",
    "D's gradients",
    at_least=0.2,
    at_most=1e-14,
    pytorch="`D.requires_grad_(False)` for G's loss, or `zero_grad` before every backward",
    tensorflow="`tape.gradient(g_loss, g_parameters)`",
    keras="the gradients of G's variables alone",
)
def left_gradients() -> tuple[float, float]:
    errors = []
    for ours in (False, True):
        gan = LittleGan()
        wanted, fake = gan.d_gradient(), gan.G(gan.z)
        gan.D.requires_grad_(not ours)
        gan.g_loss(fake).backward()
        gan.D.requires_grad_(True)
        gan.d_loss(fake.detach()).backward()
        errors.append(distance(gan.D.weight.grad, wanted))
    return errors[0], errors[1]


@trap(
    "a second backward through the fakes",
    "D's backward frees G's graph, which G's backward needs",
    "G's gradients",
    at_least="RuntimeError",
    at_most=1e-14,
    pytorch="`fake.detach()` in D's update; not `retain_graph=True`, which hides it",
    tensorflow="a tape for each loss: one tape gives gradients once",
    keras="on TensorFlow a tape, on JAX a function for each loss",
)
def freed_graph() -> tuple[str, float]:
    gan = LittleGan()
    fake = gan.G(gan.z)
    gan.d_loss(fake).backward()
    raised = raised_by(lambda: gan.g_loss(fake).backward(), "second time")
    gan = LittleGan()
    fake = gan.G(gan.z)
    gan.d_loss(fake.detach()).backward()
    gan.g_loss(fake).backward()
    return raised, distance(gan.G.weight.grad, gan.g_gradient())


@trap(
    "D's logits used for both updates",
    "G learns from D as it was; PyTorch refuses, a tape of TensorFlow's answers with old weights",
    "G's gradients after an update of D",
    at_least=0.05,
    at_most=1e-14,
    pytorch="`D(fake)` again after `d_optimizer.step()`",
    tensorflow="the same, recorded after D's update",
    keras="the same",
)
def stale_logits() -> tuple[float, float]:
    gan = LittleGan()
    D, G = (tf.Variable(array(net.weight).T) for net in (gan.D, gan.G))
    z, b_d, b_g = (array(x) for x in (gan.z, gan.D.bias, gan.G.bias))
    with tf.GradientTape(persistent=True) as tape:
        fake = z @ G + b_g
        old = tf_losses.generator_loss(fake @ D + b_d)
    gan.d_loss(gan.G(gan.z).detach()).backward()
    gan.d_optimizer.step()
    D.assign(array(gan.D.weight).T)
    with tape:  # goes on recording, as our step does
        new = tf_losses.generator_loss(fake @ D + array(gan.D.bias))
    wanted = gan.g_gradient().T
    return distance(tape.gradient(old, G), wanted), distance(tape.gradient(new, G), wanted)


# ------------------------------------------------------------------ Keras on PyTorch and JAX


@trap(
    "float64 in Keras on PyTorch and JAX",
    "Keras's type promotion turns float64 into float32 there",
    "outputs of batch norm",
    at_least=1e-9,
    at_most=1e-14,
    pytorch="its own",
    tensorflow="its own",
    keras="`keep_float64()`: `keras_impl/__init__.py`",
    engines=("torch", "jax"),
)
def promotion() -> tuple[float, float]:
    if ENGINE == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
    x, errors = normal(4, 64), []
    wanted = nn.BatchNorm1d(64, dtype=F64)(torch.from_numpy(x))
    for prepare in (lambda: None, lambda: engine.prepare("float64")):
        prepare()
        layer = keras.layers.BatchNormalization(epsilon=1e-5, dtype="float64")
        errors.append(distance(layer(x, training=True), wanted))
    return errors[0], errors[1]


def fit_gan(kind: type, count: int = 3) -> Any:
    """A small model after `count` batches of fit()."""
    D = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])
    G = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(784), keras.layers.Reshape((28, 28, 1))]
    )
    model = kind(D, G)
    model.compile(*(keras_layers.Adam(RATE, 0.5, 0.999, epsilon=1e-8) for _ in range(2)))
    images = np.zeros((4 * count, 28, 28, 1), np.uint8)
    model.fit(images, batches.noise(0, 0, 4 * count, 4), batch_size=4, verbose=0, shuffle=False)
    return model


@trap(
    "two optimizers in a Keras model on JAX",
    "its trainer carries `self.optimizer`'s variables alone; the other's moments stay zero",
    "steps counted by G's optimizer",
    at_least=1,
    at_most=0,
    pytorch="nothing to do",
    tensorflow="nothing to do",
    keras="one optimizer that owns both: `BothOptimizers` in `keras_impl/model.py`",
    engines=("jax",),
)
def second_optimizer() -> tuple[float, float]:
    from keras_impl.model import DCGAN

    class Plain(DCGAN):
        d_optimizer = property(lambda self: self.optimizer)
        g_optimizer = property(lambda self: self.second)

        def compile(self, d_optimizer: Any, g_optimizer: Any) -> None:
            self.second = g_optimizer
            d_optimizer.build(self.discriminator.trainable_variables)
            g_optimizer.build(self.generator.trainable_variables)
            keras.Model.compile(self, optimizer=d_optimizer)

    naive, ours = (array(fit_gan(kind).g_optimizer.iterations) for kind in (Plain, DCGAN))
    return distance(naive, 3.0), distance(ours, 3.0)


@trap(
    "`steps_per_execution` in Keras",
    "raises on PyTorch, and hides the steps between from callbacks on the others",
    "metrics of two steps at once",
    at_least="ValueError",
    at_most=0,
    pytorch="a loop over the steps, read once: `train_chunk`",
    tensorflow="a loop over the steps, read once: `train_chunk`",
    keras="`train_chunk`, or `fit` with one step an execution",
    engines=("torch",),
)
def steps_per_execution() -> tuple[str, float]:
    from keras_impl import backend as keras_backend

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])

    def fit() -> None:
        model.compile("sgd", "mse", steps_per_execution=2)
        model.fit(np.zeros((8, 4)), np.zeros((8, 1)), batch_size=4, verbose=0)

    raised = raised_by(fit, "steps_per_execution")
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 28, 28, 1), np.uint8)
    noise, config = batches.noise(0, 0, 8, 96).reshape(2, 4, 96), Config(device="cpu")
    metrics = []
    for size in (1, 2):
        state = keras_backend.make_state(config, checkpoint.initial(config))
        rows = [
            keras_backend.train_chunk(state, images[i : i + size], noise[i : i + size])
            for i in range(0, 2, size)
        ]
        metrics.append(np.concatenate(rows))
    return raised, distance(metrics[1], metrics[0])


# ------------------------------------------------------------------ running the catalogue

OTHERS = ("torch", "jax")
PROGRAM = """
import json
from tests.cross import test_traps as traps
mine = [trap for trap in traps.CATALOGUE if traps.ENGINE in trap.engines]
print(json.dumps({trap.name: trap.measure() for trap in mine}))
"""


@functools.cache
def start(other: str) -> subprocess.Popen[str]:
    """A process that measures the entries of another engine of Keras's."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": other, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@functools.cache
def results(other: str) -> dict[str, tuple[float | str, float]]:
    """Name -> (naive error, our error) of another engine's entries."""
    out, err = start(other).communicate(timeout=600)
    assert start(other).returncode == 0, err
    return json.loads(out.splitlines()[-1])


def figures(trap: Trap) -> tuple[float | str, float]:
    """(naive error, our error): over several engines the smallest and the largest."""
    if ENGINE in trap.engines:
        return trap.measure()
    naive, ours = zip(*(results(other)[trap.name] for other in trap.engines), strict=True)
    return min(naive), max(ours)


# Keras's own call of np.array(variable), and numpy 2; it is the same array.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)


@pytest.fixture(scope="module", autouse=True)
def others() -> Any:
    """The other engines' processes, which run beside the tests."""
    yield [start(other) for other in OTHERS]
    for other in OTHERS:
        start(other).kill()
        start(other).communicate()


@pytest.mark.skipif(ENGINE != "tensorflow", reason="the other engines have processes of their own")
@pytest.mark.parametrize(
    "trap",
    # The other engines' last: their processes measure meanwhile.
    sorted(CATALOGUE, key=lambda trap: ENGINE not in trap.engines),
    ids=lambda trap: trap.measure.__name__,
)
def test_the_naive_port_fails_and_ours_does_not(trap: Trap) -> None:
    naive, ours = figures(trap)
    if isinstance(trap.at_least, str):
        assert naive == trap.at_least
    else:
        assert naive >= trap.at_least
    assert ours <= trap.at_most


def texts(trap: Trap) -> dict[str, str]:
    """What the catalogue says of an entry beside its figures."""
    names = ("name", "wrong", "error_of", "pytorch", "tensorflow", "keras")
    return {name: getattr(trap, name) for name in names}


def test_the_stored_figures_are_of_these_entries() -> None:
    rows = json.loads(FIGURES.read_text())["rows"]
    stored = [{name: row[name] for name in texts(CATALOGUE[0])} for row in rows]
    assert stored == [texts(trap) for trap in CATALOGUE], "run `python -m tests.cross.test_traps`"


def main() -> None:
    for other in OTHERS:
        start(other)
    rows = []
    for entry in CATALOGUE:
        naive, ours = figures(entry)
        print(entry.name, naive, ours, flush=True)
        rows.append(texts(entry) | {"naive": naive, "ours": ours})
    command = ["python", "-m", "tests.cross.test_traps"]
    record = {"processor": processor(), "command": command, "rows": rows}
    FIGURES.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
