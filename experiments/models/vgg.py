"""VGG networks (Simonyan & Zisserman 2014, arXiv:1409.1556, table 1: A, B, D) for small images."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from torch import nn

from experiments.errors import WrongInput
from experiments.models.network import MODELS, Activation, Dropout, Network, Norm, Placement, Spec, scaled

CHANNELS = (64, 128, 256, 512, 512)
"""Channels of the five stages; a pool follows each."""


def vgg(
    spec: Spec,
    norm: Norm,
    stages: Sequence[Sequence[int]],
    *,
    activation: Activation,
    placement: Placement,
    head_width: int | None,
    dropout: float,
) -> Network:
    """Stages of 3x3 convolutions (padding 1, with bias), each closed by a 2x2 maximum pool; then a linear head.

    Blocks ``conv1``..., the last of a stage with a child ``pool``; ``flatten``; ``fc1`` if there is a hidden head
    layer, normalised as the convolutions are; ``dropout`` if there is any; ``head``.

    Args:
        spec: of the data; images of at least 2**stages pixels a side.
        norm: applies the normalisation to a layer.
        stages: output channels of each convolution of each stage.
        activation, placement: after every convolution; normalisation before or after it.
        head_width: units of a hidden layer before the last one, or None.
        dropout: probability before the last layer.

    Raises:
        WrongInput: data that are no images or too small ones.
    """
    side = 2 ** len(stages)
    shape = "x".join(map(str, spec.input_shape))
    if len(spec.input_shape) != 3:
        raise WrongInput(f"model: needs images, not inputs of shape {shape}; models that fit: mlp, deep_linear")
    channels, height, width = spec.input_shape
    if min(height, width) < side:
        fitting = "vgg_small, mlp" if min(height, width) >= 8 else "mlp"
        raise WrongInput(
            f"model: needs images of {side}x{side} or more, not {height}x{width} (data of shape {shape}); "
            f"models that fit: {fitting}"
        )
    if head_width is not None and head_width < 1:
        raise WrongInput(f"model.head_width={head_width}: must be null or at least 1")
    hidden = functools.partial(norm, activation=activation, placement=placement)

    blocks: dict[str, nn.Module] = {}
    for stage in stages:
        for outputs in stage:
            block = blocks[f"conv{len(blocks) + 1}"] = hidden(nn.Conv2d(channels, outputs, 3, padding=1))
            channels = outputs
        block.add_module("pool", nn.MaxPool2d(2))
    blocks["flatten"] = nn.Flatten()
    features = channels * (height // side) * (width // side)
    if head_width is not None:
        blocks["fc1"] = hidden(nn.Linear(features, head_width))
        features = head_width
    if dropout:
        blocks["dropout"] = Dropout(dropout)
    blocks["head"] = norm(nn.Linear(features, spec.outputs), output=True)
    return Network(blocks)


def _five_stages(
    spec: Spec,
    norm: Norm,
    convolutions: Sequence[int],
    width: float,
    activation: Activation,
    placement: Placement,
    head_width: int | None,
    dropout: float,
) -> Network:
    stages = [[scaled(c, width)] * n for c, n in zip(CHANNELS, convolutions, strict=True)]
    return vgg(spec, norm, stages, activation=activation, placement=placement, head_width=head_width, dropout=dropout)


@MODELS.register("vgg11")
def vgg11(
    spec: Spec,
    norm: Norm,
    *,
    width: float = 1.0,
    activation: Activation = "relu",
    placement: Placement = "before",
    head_width: int | None = None,
    dropout: float = 0.0,
) -> Network:
    """Eight convolutions (column A), for images of 32x32 or more. ``width``: factor on channels. See :func:`vgg`."""
    return _five_stages(spec, norm, (1, 1, 2, 2, 2), width, activation, placement, head_width, dropout)


@MODELS.register("vgg13")
def vgg13(
    spec: Spec,
    norm: Norm,
    *,
    width: float = 1.0,
    activation: Activation = "relu",
    placement: Placement = "before",
    head_width: int | None = None,
    dropout: float = 0.0,
) -> Network:
    """Ten convolutions (column B), for images of 32x32 or more. ``width``: factor on channels. See :func:`vgg`."""
    return _five_stages(spec, norm, (2, 2, 2, 2, 2), width, activation, placement, head_width, dropout)


@MODELS.register("vgg16")
def vgg16(
    spec: Spec,
    norm: Norm,
    *,
    width: float = 1.0,
    activation: Activation = "relu",
    placement: Placement = "before",
    head_width: int | None = None,
    dropout: float = 0.0,
) -> Network:
    """Thirteen convolutions (column D), for images of 32x32 or more. ``width``: factor on channels. See :func:`vgg`."""
    return _five_stages(spec, norm, (2, 2, 3, 3, 3), width, activation, placement, head_width, dropout)


@MODELS.register("vgg_small")
def vgg_small(
    spec: Spec,
    norm: Norm,
    *,
    convolutions_per_stage: int = 2,
    width: float = 1.0,
    activation: Activation = "relu",
    placement: Placement = "before",
    head_width: int | None = None,
    dropout: float = 0.0,
) -> Network:
    """Three stages of 32, 64, 128 channels for 8x8 and 28x28 images (or others of at least 8x8); see :func:`vgg`.

    Args:
        convolutions_per_stage: one to three.
        width: factor on all channels.
    """
    if convolutions_per_stage not in (1, 2, 3):
        raise WrongInput(f"model.convolutions_per_stage={convolutions_per_stage}: must be 1, 2 or 3")
    stages = [[scaled(c, width)] * convolutions_per_stage for c in (32, 64, 128)]
    return vgg(spec, norm, stages, activation=activation, placement=placement, head_width=head_width, dropout=dropout)
