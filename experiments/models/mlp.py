"""Fully connected networks of any widths."""

from __future__ import annotations

from torch import nn

from experiments.errors import WrongInput
from experiments.models.network import MODELS, Activation, Dropout, Network, Norm, Placement, Spec


@MODELS.register("mlp")
def mlp(
    spec: Spec,
    norm: Norm,
    *,
    widths: tuple[int, ...] = (100, 100, 100),
    depth: int | None = None,
    activation: Activation = "relu",
    placement: Placement = "before",
    dropout: float = 0.0,
) -> Network:
    """Hidden layers of the given widths, each normalised, and a linear head; inputs of any shape are flattened.

    Blocks ``flatten``, ``fc1``..., ``dropout`` if there is any, ``head``. With three layers of 100 sigmoid units it is
    the network of Ioffe & Szegedy (2015), section 4.1.

    Args:
        spec: of the data.
        norm: applies the normalisation to a layer.
        widths: units of the hidden layers, in order; may be empty.
        depth: so many hidden layers, all of the one width that ``widths`` then gives; None: one for each width.
        activation, placement: after every hidden layer; normalisation before or after it.
        dropout: probability before the head.

    Raises:
        WrongInput: a width or a depth less than 1, a depth for more than one width.
    """
    if depth is not None:
        if depth < 1:
            raise WrongInput(f"model.depth={depth}: must be at least 1")
        if len(widths) != 1:
            raise WrongInput(f"model.depth={depth}: needs one width, not model.widths={list(widths)}")
        widths = widths * depth
    if any(width < 1 for width in widths):
        raise WrongInput(f"model.widths={list(widths)}: must all be at least 1")
    blocks: dict[str, nn.Module] = {"flatten": nn.Flatten()}
    features = 1
    for size in spec.input_shape:
        features *= size
    for i, width in enumerate(widths, start=1):
        blocks[f"fc{i}"] = norm(nn.Linear(features, width), activation=activation, placement=placement)
        features = width
    if dropout:
        blocks["dropout"] = Dropout(dropout)
    blocks["head"] = norm(nn.Linear(features, spec.outputs), output=True)
    return Network(blocks)
