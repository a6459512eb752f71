"""A small convolutional network over pixels, trained by PyTorch; its ONNX form is written here, and serves without PyTorch.

Three blocks of convolution (3 x 3), batch normalisation (Ioffe and Szegedy 2015), ReLU and pooling, then the mean over the
image and a linear layer. Trained by Adam on images that are mirrored and shifted at random, until the loss of rows that were
held back falls no more.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tandem.core.errors import Invalid
from tandem.scorers.base import TaskName
from tandem.scorers.sample import Floats
from tandem.serving.onnx import FILE, Onnx
from tandem.training.algorithms.base import Examples, Param, Trained

SIDE, CHANNELS = 32, 3
"""Of the images, as rows of SIDE x SIDE x CHANNELS numbers between 0 and 1."""
SHIFT = 2
"""Pixels by which images are shifted at most."""
HELD = 0.15
"""The share of the rows that tells when to stop."""
PATIENCE = 20
"""Epochs without a better loss after which it stops."""
OPSET = 17


class Network:
    """A trained network."""

    def __init__(self, model: bytes, torch: Any, net: Any, classes: int) -> None:
        self._model, self._torch, self._net, self._classes = model, torch, net, classes

    def predict(self, features: Floats) -> Floats:
        with self._torch.no_grad():
            parts = [self._net(_images(self._torch, features[at : at + 256])) for at in range(0, len(features), 256)]
            chances = self._torch.cat(parts).softmax(dim=1).numpy().astype(np.float64)
        return np.asarray(chances[:, -1:] if self._classes == 2 else chances)

    def native(self) -> tuple[str, bytes]:
        return FILE, self._model

    def onnx(self) -> bytes:
        Onnx.of(self._model)
        return self._model

    def importances(self) -> Floats:
        return np.zeros(SIDE * SIDE * CHANNELS)


class Cnn:
    """Of two classes or more; softmax over all of them."""

    runtime: ClassVar[str] = "onnx"
    tasks: ClassVar[tuple[TaskName, ...]] = ("classification", "multiclass")
    params: ClassVar[Mapping[str, Param]] = {
        "epochs": Param(default=100, low=1, high=1000, whole=True),
        "learning_rate": Param(default=0.003, low=1e-6, high=1),
        "batch": Param(default=16, low=2, high=1024, whole=True),
        "width": Param(default=16, low=4, high=128, whole=True),
    }

    def fit(self, examples: Examples, *, params: Mapping[str, float], seed: int) -> Trained:
        torch = _torch()
        if examples.features.shape[1] != SIDE * SIDE * CHANNELS:
            raise Invalid("The algorithm cnn learns from images.", field="algorithm", hint="Use another one for tables.")
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True)
        torch.set_num_threads(1)
        draw = np.random.default_rng(seed)
        images = _images(torch, examples.features)
        target = torch.from_numpy(examples.target.astype(np.int64))
        weights = torch.ones(len(target)) if examples.weights is None else torch.from_numpy(examples.weights).float()
        net = _network(torch, int(params["width"]), examples.classes)
        optimiser = torch.optim.Adam(net.parameters(), lr=params["learning_rate"], weight_decay=1e-4)
        held, rows = np.split(draw.permutation(len(target)), [max(1, int(HELD * len(target)))])
        best, kept, waited = np.inf, copy.deepcopy(net.state_dict()), 0
        for _ in range(int(params["epochs"])):
            net.train()
            for batch in np.array_split(draw.permutation(rows), max(1, len(rows) // int(params["batch"]))):
                optimiser.zero_grad()
                _loss(torch, net(_moved(torch, images[batch], draw)), target[batch], weights[batch]).backward()
                optimiser.step()
            net.eval()
            with torch.no_grad():
                loss = float(_loss(torch, net(images[held]), target[held], weights[held]))
            if loss < best:
                best, kept, waited = loss, copy.deepcopy(net.state_dict()), 0
            elif (waited := waited + 1) >= PATIENCE:
                break
        net.load_state_dict(kept)
        net.eval()
        return Network(_written({name: value.numpy() for name, value in kept.items()}), torch, net, examples.classes)


def _torch() -> Any:
    """PyTorch.

    Raises:
        Invalid: it is not installed.
    """
    try:
        import torch
    except ImportError:
        raise Invalid(
            "The algorithm cnn needs PyTorch.",
            field="algorithm",
            hint="Install it where trainings run: pip install 'tandem-ai[torch]'.",
        ) from None
    return torch


def _images(torch: Any, features: Floats) -> Any:
    """Rows of numbers as images, channels first."""
    pixels = features.reshape(-1, SIDE, SIDE, CHANNELS).transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32))


def _network(torch: Any, width: int, classes: int) -> Any:
    nn = torch.nn
    layers: list[Any] = []
    for given, made in ((CHANNELS, width), (width, 2 * width), (2 * width, 4 * width)):
        layers += [nn.Conv2d(given, made, 3, padding=1), nn.BatchNorm2d(made), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, classes))


def _moved(torch: Any, images: Any, draw: np.random.Generator) -> Any:
    """Mirrored at random, each one, and shifted, all alike."""
    mirrored = torch.from_numpy(draw.random(len(images)) < 0.5)
    images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    across, down = (int(draw.integers(-SHIFT, SHIFT + 1)) for _ in range(2))
    return images.roll((down, across), (2, 3))


def _loss(torch: Any, scores: Any, target: Any, weights: Any) -> Any:
    losses = torch.nn.functional.cross_entropy(scores, target, reduction="none")
    return (losses * weights).sum() / weights.sum()


def _written(state: Mapping[str, Any]) -> bytes:
    """The network as ONNX: rows of numbers in, the probability of each class out."""
    constants = {name: np.asarray(value, dtype=np.float32) for name, value in state.items() if "num_batches" not in name}
    nodes = [
        helper.make_node("Reshape", ["input", "shape"], ["image"]),
        helper.make_node("Transpose", ["image"], ["x0"], perm=[0, 3, 1, 2]),
    ]
    for block in range(3):
        at = 4 * block
        norm = [f"{at + 1}.{name}" for name in ("weight", "bias", "running_mean", "running_var")]
        nodes += [
            helper.make_node("Conv", [f"x{block}", f"{at}.weight", f"{at}.bias"], [f"c{block}"], pads=[1, 1, 1, 1]),
            helper.make_node("BatchNormalization", [f"c{block}", *norm], [f"b{block}"]),
            helper.make_node("Relu", [f"b{block}"], [f"r{block}"]),
            helper.make_node("MaxPool", [f"r{block}"], [f"x{block + 1}"], kernel_shape=[2, 2], strides=[2, 2]),
        ]
    nodes += [
        helper.make_node("GlobalAveragePool", ["x3"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "14.weight", "14.bias"], ["scores"], transB=1),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
    ]
    held = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    held.append(numpy_helper.from_array(np.array([-1, SIDE, SIDE, CHANNELS], dtype=np.int64), "shape"))
    graph = helper.make_graph(
        nodes,
        "cnn",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [None, SIDE * SIDE * CHANNELS])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, len(constants["14.bias"])])],
        held,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
