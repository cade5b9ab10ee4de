"""The deep linear network of Santurkar et al. (2018), section 2.2: linear layers and nothing between them."""

from __future__ import annotations

from torch import nn

from experiments.errors import WrongInput
from experiments.linear import SamplesSideBySide
from experiments.models.network import MODELS, Network, Norm, Spec


@MODELS.register("deep_linear")
def deep_linear(spec: Spec, norm: Norm, *, depth: int = 25, dimension: int = 10, norm_last: bool = True) -> Network:
    """y = W_depth ... W_1 x without biases or non-linearities, a normalisation after every layer.

    Blocks ``layer1``... Where the paper puts the normalisation of the last layer it does not say: there, it fixes the
    mean and the scale of the outputs.

    Args:
        spec: of the data; vectors.
        norm: applies the normalisation to a layer.
        depth: number of layers, at least 1.
        dimension: units of every layer but the last, which has as many as there are outputs.
        norm_last: whether the last layer is normalised too.

    Raises:
        WrongInput: data that are no vectors, a depth or dimension less than 1.
    """
    if len(spec.input_shape) != 1:
        shape = "x".join(map(str, spec.input_shape))
        raise WrongInput(
            f"model=deep_linear: needs vectors, not inputs of shape {shape}; models that fit: mlp, vgg_small "
            "(from 8x8), vgg11 (from 32x32)"
        )
    for key, value in (("depth", depth), ("dimension", dimension)):
        if value < 1:
            raise WrongInput(f"model.{key}={value}: must be at least 1")
    sizes = [spec.input_shape[0], *[dimension] * (depth - 1), spec.outputs]
    blocks: dict[str, nn.Module] = {}
    for i in range(depth):
        layer = SamplesSideBySide(sizes[i], sizes[i + 1], bias=False)
        last = i == depth - 1
        blocks[f"layer{i + 1}"] = norm(layer, output=last, normalised=norm_last or not last)
    return Network(blocks)
