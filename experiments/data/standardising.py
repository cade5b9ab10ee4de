"""What is done to inputs before a network sees them, worked out on the training data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from experiments.errors import WrongInput

Standardise = bool | Literal["centred", "centred_per_pixel", "standardised_per_pixel", "whitened"]
"""As ``data.standardise`` has it; see :class:`experiments.data.batches.Options`."""

WHITENING_EPS = 1e-5
"""In units of the mean variance of a value: a direction in which the training data vary by no more is given as 0."""

MOST_VALUES = 4096
"""Of one input, at most, to be whitened: the covariance of 4,096 has 128 MiB, its eigenvectors take minutes."""

UNIT_OF_BYTES = 255.0
"""What bytes are divided by where they have no deviation of their own: their whole range is 1 then. Where the training
data are all alike other data may differ, in a test set or by a crop that moves a border into the image; undivided they
would stand out by up to 255 deviations of anything else."""

_CHUNK = 1024
"""Samples that are summed up at a time."""


def treatment(
    standardise: Standardise, inputs: Tensor, classes: bool, device: torch.device
) -> Callable[[Tensor], Tensor]:
    """What makes inputs ready for the network.

    Args:
        standardise: see :class:`experiments.data.batches.Options`.
        inputs: those of training, on the CPU: uint8 (samples, channels, height, width), or float32 of any shape.
        classes: whether they are classified; others are used as they are whether true or false.
        device: where it is applied.

    Returns:
        a function of inputs (any number of samples, *shape) that returns float32 of the same shape.

    Raises:
        WrongInput: inputs of too many values to be whitened, or of no variance.
    """
    if standardise == "whitened":
        mean, whitening = whitening_of(inputs)
        return _whitened(mean.float().to(device), whitening.float().to(device))
    of_bytes = inputs.dtype == torch.uint8
    if standardise == "standardised_per_pixel":
        pixel_mean, pixel_deviation = (part.to(device) for part in _moments_per_value(inputs))
        return lambda values: (values - pixel_mean) / pixel_deviation
    if standardise == "centred_per_pixel" or (standardise == "centred" and not classes):
        middle, unit = _mean_per_value(inputs).to(device), _unit(inputs)
        return lambda values: (values.float() - middle) / unit
    if not classes:
        return lambda values: values
    if not of_bytes:
        return _of_numbers(standardise, inputs, device)
    mean, deviation = channel_statistics(inputs) if standardise else (torch.zeros(1), torch.ones(1))
    if standardise is not True:
        deviation = torch.full((1,), UNIT_OF_BYTES)
    mean, deviation = mean.view(-1, 1, 1).to(device), deviation.view(-1, 1, 1).to(device)
    return lambda values: values.float().sub_(mean).div_(deviation)  # of bytes, float() makes a new tensor


def _of_numbers(standardise: Standardise, inputs: Tensor, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Of classified numbers: by channel (or coordinate), axis 1, as of bytes, but nothing is divided by 255."""
    if not standardise:
        return lambda values: values
    rows, count = (1, -1, *[1] * (inputs.ndim - 2)), inputs.numel() // inputs.shape[1]
    axes = [axis for axis in range(inputs.ndim) if axis != 1]
    mean = torch.stack([part.double().sum(axes) for part in inputs.split(_CHUNK)]).sum(0) / count
    middle = mean.view(rows)
    squares = torch.stack([(part.double() - middle).square().sum(axes) for part in inputs.split(_CHUNK)]).sum(0)
    deviation = (squares / count).sqrt()
    deviation = deviation.where(deviation > 0, 1.0) if standardise is True else torch.ones_like(deviation)
    subtracted, divided = (value.float().view(rows).to(device) for value in (mean, deviation))
    return lambda values: (values - subtracted) / divided


def _mean_per_value(inputs: Tensor) -> Tensor:
    """Over samples, float32 of the shape of one input; summed up some at a time."""
    total = sum((part.double().sum(0) for part in inputs.split(_CHUNK)), torch.zeros(inputs[0].shape).double())
    return (total / len(inputs)).float()


def _moments_per_value(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (biased) over samples, float32, each of the shape of one input; 0 is the unit."""
    mean = _mean_per_value(inputs)
    squares = torch.stack([(part.double() - mean.double()).square().sum(0) for part in inputs.split(_CHUNK)]).sum(0)
    deviation = (squares / len(inputs)).sqrt()
    return mean, deviation.where(deviation > 0, _unit(inputs)).float()


def _unit(inputs: Tensor) -> float:
    """What values without a deviation are divided by: bytes by 255, numbers by 1."""
    return UNIT_OF_BYTES if inputs.dtype == torch.uint8 else 1.0


def _whitened(mean: Tensor, whitening: Tensor) -> Callable[[Tensor], Tensor]:
    def whitened(values: Tensor) -> Tensor:
        return ((values.flatten(1).float() - mean) @ whitening).view(values.shape)

    return whitened


def whitening_of(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """The mean m and the matrix W of ZCA whitening, x -> W (x - m), over all values of an input together.

    W = U diag(1 / sqrt(lambda)) U^T with the covariance U diag(lambda) U^T (biased; Bell & Sejnowski 1997, "The
    'independent components' of natural scenes are edge filters"): of all whitenings the one that changes the inputs
    least, so that an image remains one. Where lambda is at most :data:`WHITENING_EPS` times its mean, W maps to 0: of
    what the training data do not show there is no scale. The covariance of what comes out is then the identity on the
    other directions. Computed in float64; the eigenvectors are a machine's own in their last digits.

    Args:
        inputs: (samples, ...), the training data, on the CPU.

    Returns:
        m (values,) and W (values, values), symmetric, float64.

    Raises:
        WrongInput: more values than :data:`MOST_VALUES`, or no direction in which they vary.
    """
    samples, size = len(inputs), inputs[0].numel()
    if size > MOST_VALUES:
        raise WrongInput(f"data.standardise=whitened: an input has {size} values; at most {MOST_VALUES} are whitened")
    total, products = torch.zeros(size, dtype=torch.float64), torch.zeros(size, size, dtype=torch.float64)
    for part in inputs.split(_CHUNK):
        rows = part.flatten(1).double()
        total += rows.sum(0)
        products += rows.T @ rows
    mean = total / samples
    variances, directions = torch.linalg.eigh(products / samples - mean[:, None] * mean)
    kept = variances > WHITENING_EPS * variances.clamp(min=0).mean()
    if not kept.any():
        raise WrongInput("data.standardise=whitened: the training inputs are all alike")
    directions = directions[:, kept]
    return mean, (directions * variances[kept].rsqrt()) @ directions.T


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (over all pixels, divided by their number) of each channel, in bytes.

    They are sums of whole numbers, hence exact up to the last rounding and the same on every machine. The deviation of
    a channel of one value is given as :data:`UNIT_OF_BYTES`, so that it becomes 0 in training instead of NaN.

    Args:
        images: uint8 (samples, channels, height, width), on the CPU.

    Returns:
        two float32 tensors of shape (channels,).
    """
    counts = torch.stack([images[:, c].flatten().bincount(minlength=256) for c in range(images.shape[1])]).double()
    values = torch.arange(256, dtype=torch.float64)
    pixels = counts.sum(1)
    mean = (counts * values).sum(1) / pixels
    deviation = ((counts * (values - mean[:, None]).square()).sum(1) / pixels).sqrt()
    return mean.float(), deviation.where(deviation > 0, UNIT_OF_BYTES).float()
