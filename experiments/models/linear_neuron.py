"""One linear layer: the toy of which theorems speak."""

from __future__ import annotations

import math

from torch import nn

from experiments.models.network import MODELS, Network, Norm, Spec


@MODELS.register("linear_neuron")
def linear_neuron(spec: Spec, norm: Norm, *, bias: bool = False) -> Network:
    """y = W x, normalised, and nothing else: one neuron for each output; inputs are flattened.

    With a squared error and without normalisation it is least squares; with batch normalisation the neuron of Kohler et
    al. (2019, arXiv:1805.10694) and Cai et al. (2019). Blocks ``flatten``, ``neuron``.

    Args:
        spec: of the data.
        norm: applies the normalisation to a layer.
        bias: whether a bias is added, before the normalisation.
    """
    layer = nn.Linear(math.prod(spec.input_shape), spec.outputs, bias=bias)
    return Network({"flatten": nn.Flatten(), "neuron": norm(layer, output=True, normalised=True)})
