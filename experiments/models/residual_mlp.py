"""Fully connected residual networks with pre-activation (De & Smith 2020, arXiv:2002.10444, section 3)."""

from __future__ import annotations

import functools
import math

from torch import nn

from experiments.errors import WrongInput
from experiments.models.network import MODELS, Activation, Network, Norm, Spec
from experiments.models.residual import Branch, Residual


@MODELS.register("residual_mlp")
def residual_mlp(
    spec: Spec,
    norm: Norm,
    *,
    width: int = 64,
    blocks: int = 20,
    layers_per_block: int = 1,
    activation: Activation = "relu",
    branch: Branch = "plain",
    alpha: float = 0.0,
) -> Network:
    """A linear stem, residual blocks, a last normalisation with activation, a linear head; inputs are flattened.

    Each layer of a branch is normalisation, activation, linear. Blocks ``flatten``, ``stem``, ``block1``... with
    ``branch.layer1``..., ``final``, ``head``. The stem is not normalised unless ``model.norm_at`` says so.

    Args:
        spec: of the data.
        norm: applies the normalisation to a layer.
        width: units of every layer but the head.
        blocks: number of residual blocks.
        layers_per_block: linear layers of each branch.
        activation: before every layer of a branch, and before the head.
        branch, alpha: how branches are joined to their shortcuts, see :class:`experiments.models.residual.Residual`.

    Raises:
        WrongInput: a size less than 1.
    """
    for key, value in (("width", width), ("blocks", blocks), ("layers_per_block", layers_per_block)):
        if value < 1:
            raise WrongInput(f"model.{key}={value}: must be at least 1")
    first = functools.partial(norm, activation=activation, placement="first")
    children: dict[str, nn.Module] = {"flatten": nn.Flatten()}
    children["stem"] = norm(nn.Linear(math.prod(spec.input_shape), width), normalised=False)
    for number in range(1, blocks + 1):
        layers = {f"layer{i}": first(nn.Linear(width, width)) for i in range(1, layers_per_block + 1)}
        children[f"block{number}"] = Residual(layers, branch, blocks, alpha)
    children["final"] = norm(units=width, dims=1, activation=activation)
    children["head"] = norm(nn.Linear(width, spec.outputs), output=True)
    return Network(children)
