"""Residual networks for small images (He et al. 2015, arXiv:1512.03385, section 4.2; 2016, arXiv:1603.05027)."""

from __future__ import annotations

import functools
from collections import OrderedDict

from torch import nn

from experiments.errors import WrongInput
from experiments.models.network import MODELS, Activation, Network, Norm, Spec, scaled
from experiments.models.residual import Branch, GlobalMean, Residual, Shortcut
from experiments.norms import ACTIVATIONS

CHANNELS = (16, 32, 64)
"""Channels of the three stages; the second and the third begin with a stride of 2."""


@MODELS.register("resnet")
def resnet(
    spec: Spec,
    norm: Norm,
    *,
    depth: int = 20,
    width: float = 1.0,
    activation: Activation = "relu",
    pre_activation: bool = False,
    branch: Branch = "plain",
    alpha: float = 0.0,
) -> Network:
    """6n + 2 layers: a 3x3 convolution, three stages of n blocks of two 3x3 convolutions, the mean over pixels, a head.

    As published each convolution is followed by its normalisation, and a block ends with an activation after the sum;
    with pre-activation normalisation and activation come first, and once more at the end. Shortcuts have no parameters.
    All convolutions have biases, as elsewhere in the suite. Blocks ``stem``, ``stage1_block1``... with
    ``residual.branch.layer1``, ``layer2``, ``final`` with pre-activation, ``pool``, ``head``.

    Args:
        spec: of the data; images of 8x8 or more (32x32 as published).
        norm: applies the normalisation to a layer.
        depth: 6n + 2.
        width: factor on channels.
        activation: after, or with pre-activation before, the convolutions.
        pre_activation: see above.
        branch, alpha: how branches are joined to their shortcuts, see :class:`experiments.models.residual.Residual`.

    Raises:
        WrongInput: another depth, data that are no images or too small ones.
    """
    if depth < 8 or depth % 6 != 2:
        raise WrongInput(f"model.depth={depth}: must be 6n + 2: 8, 14, 20, 32, 44, 56, 110, ...")
    shape = "x".join(map(str, spec.input_shape))
    if len(spec.input_shape) != 3:
        raise WrongInput(
            f"model=resnet: needs images, not inputs of shape {shape}; models that fit: mlp, residual_mlp, deep_linear"
        )
    channels, *sides = spec.input_shape
    if min(sides) < 8:
        raise WrongInput(f"model=resnet: needs images of 8x8 or more, not {shape}; models that fit: mlp, residual_mlp")
    per_stage = (depth - 2) // 6
    placement = "first" if pre_activation else "before"
    made = ACTIVATIONS[activation]

    def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
        return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)

    layer = functools.partial(norm, placement=placement)
    width_of = [scaled(c, width) for c in CHANNELS]
    children: dict[str, nn.Module] = {}
    stem = convolution(channels, width_of[0])
    children["stem"] = norm(stem, normalised=False) if pre_activation else norm(stem, activation=activation)
    inputs = width_of[0]
    for stage, outputs in enumerate(width_of, start=1):
        for number in range(1, per_stage + 1):
            stride = 2 if stage > 1 and number == 1 else 1
            one = layer(convolution(inputs, outputs, stride), activation=activation)
            two = layer(convolution(outputs, outputs), activation=activation if pre_activation else None)
            changed = stride > 1 or inputs != outputs
            shortcut = Shortcut(stride, outputs - inputs) if changed else None
            residual = Residual({"layer1": one, "layer2": two}, branch, 3 * per_stage, alpha, shortcut)
            block = OrderedDict[str, nn.Module](residual=residual)
            if not pre_activation and made is not None:
                block["activation"] = made()
            children[f"stage{stage}_block{number}"] = nn.Sequential(block)
            inputs = outputs
    if pre_activation:
        children["final"] = norm(units=inputs, dims=2, activation=activation)
    children["pool"] = GlobalMean()
    children["head"] = norm(nn.Linear(inputs, spec.outputs), output=True)
    return Network(children)
