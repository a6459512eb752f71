"""What all that is made of trees shares: the plain form of trees, their ONNX form, and importances."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from tandem.scorers.sample import Floats
from tandem.serving.forest import LEAF, Forest, Trees, below

OPSET, OPSET_ML, IR = 15, 3, 8
LARGEST = float(np.finfo(np.float32).max)
_LINKS = {"logistic": "Sigmoid", "softmax": "Softmax", "identity": "Identity", "share": "Clip"}


@dataclass(frozen=True, slots=True)
class Grown:
    """A fitted forest in its plain form."""

    trees: Trees
    forest: Forest
    shares: Floats
    """What each column matters; sum 1, or all 0."""

    @classmethod
    def of(cls, trees: Trees, gains: Floats) -> Grown:
        return cls(trees, Forest.of(trees), shared(gains))

    def predict(self, features: Floats) -> Floats:
        return self.forest.predict(features)

    def native(self) -> tuple[str, bytes]:
        return "forest.json", msgspec.json.encode(self.trees)

    def onnx(self) -> bytes:
        return graph(self.trees, len(self.shares))

    def importances(self) -> Floats:
        return self.shares


def shared(gains: Floats) -> Floats:
    """Gains as shares of their sum."""
    total = gains.sum()
    return np.asarray(gains / total if total > 0 else np.zeros(len(gains)))


def single(features: Floats) -> Floats:
    """Rounded to 32 bits, as they are compared when the model answers."""
    return np.asarray(features.astype(np.float32).astype(np.float64))


def bounded(thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """An infinite threshold, which parts gaps from all values, as the largest number that 32 bits hold: JSON has no infinity."""
    return np.clip(thresholds, -LARGEST, LARGEST)


def graph(made: Trees, columns: int) -> bytes:
    """The ONNX form: one TreeEnsembleRegressor, then the link."""
    from onnx import TensorProto, helper, numpy_helper

    sizes = [len(tree.feature) for tree in made.trees]
    feature = np.concatenate([np.array(tree.feature) for tree in made.trees])
    thresholds = np.concatenate([below(np.array(tree.threshold, dtype=np.float64)) for tree in made.trees])
    leaf = feature == LEAF
    number, node = np.repeat(np.arange(len(sizes)), sizes), np.concatenate([np.arange(size) for size in sizes])
    trees, nodes, outputs, weights = _leaves(made)
    ensemble = helper.make_node(
        "TreeEnsembleRegressor",
        ["input"],
        ["scores"],
        domain="ai.onnx.ml",
        n_targets=len(made.base),
        aggregate_function="SUM",
        base_values=[float(each) for each in made.base],
        nodes_treeids=number.tolist(),
        nodes_nodeids=node.tolist(),
        nodes_featureids=np.where(leaf, 0, feature).tolist(),
        nodes_values=np.where(leaf, 0, thresholds).astype(np.float32).tolist(),
        nodes_modes=["LEAF" if each else "BRANCH_LEQ" for each in leaf],
        nodes_truenodeids=[each for tree in made.trees for each in tree.left],
        nodes_falsenodeids=[each for tree in made.trees for each in tree.right],
        nodes_missing_value_tracks_true=[int(each) for tree in made.trees for each in tree.missing_left],
        target_treeids=trees.tolist(),
        target_nodeids=nodes.tolist(),
        target_ids=outputs.tolist(),
        target_weights=weights.tolist(),
    )
    ends = {"lowest": 0.0, "highest": 1.0} if made.link == "share" else {}
    built = helper.make_graph(
        [ensemble, helper.make_node(_LINKS[made.link], ["scores", *ends], ["answer"])],
        "tandem",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["rows", columns])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["rows", len(made.base)])],
        [numpy_helper.from_array(np.array(bound, dtype=np.float32), name) for name, bound in ends.items()],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", OPSET_ML)]
    model = helper.make_model(built, opset_imports=opsets, ir_version=IR, producer_name="tandem")
    return bytes(model.SerializeToString(deterministic=True))


def _leaves(made: Trees) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Floats]:
    """Of every leaf and output: tree, node, output, and what is added."""
    found = []
    for number, tree in enumerate(made.trees):
        values = np.array(tree.values, dtype=np.float64).reshape(len(tree.feature), -1)
        nodes = np.flatnonzero(np.array(tree.feature) == LEAF)
        for place in range(values.shape[1]):
            ends = np.full(len(nodes), tree.output + place)
            found.append((np.full(len(nodes), number), nodes, ends, values[nodes, place]))
    trees, nodes, outputs, weights = (np.concatenate(part) for part in zip(*found, strict=True))
    return trees, nodes, outputs, weights
