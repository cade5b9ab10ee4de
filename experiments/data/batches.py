"""Batches from data that lie on the device: batch t is a function of (seed, t)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from experiments.data.arrays import Arrays, stratified_draw
from experiments.errors import WrongInput
from probes.randomness import seeded_generator

CROP_PADDING = 4
"""Pixels of black added on every side before the random crop, as is customary for 32x32 images."""


@dataclass(frozen=True)
class DataSpec:
    """What a network needs to know of its data."""

    input_shape: tuple[int, ...]
    """Shape of one input: (channels, height, width) or (inputs,)."""
    outputs: int
    """Number of classes, or of values to predict."""
    task: Literal["classification", "regression"]


@dataclass(frozen=True)
class Batch:
    """One batch, on the device and ready for the network.

    Inputs are float32 (samples, *input_shape); targets int64 (samples,) or float32 (samples, outputs). They may share
    memory with the data set: never write into them.
    """

    step: int
    """The training step that the batch belongs to; -1 for test and fixed batches, which belong to none."""
    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Options:
    """What the configuration says about any data set, besides the options of its loader.

    Args:
        subset: training samples to keep, a fixed draw with each class's share that no seed changes; null keeps all.
            Its statistics standardise the data, test set included.
        test_subset: the same for the test set.
        augment: random crop of the image padded by 4 black pixels, and horizontal flip with probability 1/2, both
            drawn anew for every sample and step; images only.
        standardise: subtract the mean and divide by the standard deviation of each channel over the training data;
            otherwise bytes are divided by 255. Of images only: regression data are used as they are.
        label: what the data are called in results; null: as the data set says, else its name.
    """

    subset: int | None = None
    test_subset: int | None = None
    augment: bool = False
    standardise: bool = True
    label: str | None = None

    def __post_init__(self) -> None:
        for name in ("subset", "test_subset"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise WrongInput(f"data.{name}={value}: must be a whole number of at least 1, or null for all samples")


class Data:
    """A data set on its device, and the batches drawn from it.

    Training runs over the data in epochs of n // batch_size whole batches, each epoch in an order of its own; the
    samples that do not fill a batch wait for the next order. Order and augmentation are drawn on the CPU from
    (seed, epoch) and (seed, step), so that they are the same on every device and torch's global generators stay as
    they are.

    Args:
        arrays: the data, checked (:func:`experiments.data.arrays.check_arrays`).
        seed: the run's seed.
        batch_size: samples in a batch; None: every batch is the whole training set in its own order.
        device: where the data live and the batches are made.
        options: subset, augmentation, standardisation and label.
        name: the data set's name, for results and error lines.

    Raises:
        WrongInput: a batch or subset larger than the data, or augmentation of data that are no images.
    """

    def __init__(
        self,
        arrays: Arrays,
        seed: int,
        batch_size: int | None,
        device: torch.device | str = "cpu",
        options: Options | None = None,
        name: str = "data",
    ) -> None:
        options = options or Options()
        images = arrays.classes is not None
        if options.augment and not images:
            raise WrongInput(f"data.augment=true: only images can be cropped and flipped, and {name} has none")
        train = _subset(arrays.inputs_train, arrays.targets_train, options.subset, images, "subset", name)
        test = _subset(arrays.inputs_test, arrays.targets_test, options.test_subset, images, "test_subset", name)
        size = len(train[0])
        if batch_size is not None and not 1 <= batch_size <= size:
            raise WrongInput(
                f"optim.batch_size={batch_size}: must be a whole number from 1 to {size}, the number of training "
                f"samples, or null for all of them"
            )
        self.label: str = options.label or arrays.label or name
        """What the data are called in results."""
        self.fingerprint = arrays.fingerprint
        """SHA-256 of the contents; "" where they are a pure function of the configuration and the seed."""
        self.classes = arrays.classes
        """Names of the classes; None for regression."""
        outputs = arrays.targets_train.shape[1] if arrays.classes is None else len(arrays.classes)
        self.spec = DataSpec(tuple(train[0].shape[1:]), outputs, "classification" if images else "regression")
        self.seed = seed
        self.batch_size = size if batch_size is None else batch_size
        self.device = torch.device(device)
        self._full = batch_size is None
        self._augment = options.augment
        self._scale: tuple[Tensor, Tensor] | None = None
        if images:
            mean, deviation = torch.zeros(1), torch.full((1,), 255.0)
            if options.standardise:
                mean, deviation = channel_statistics(train[0])
            self._scale = (mean.view(-1, 1, 1).to(self.device), deviation.view(-1, 1, 1).to(self.device))
        self._inputs, self._targets = (array.to(self.device) for array in train)
        self._test_inputs, self._test_targets = (array.to(self.device) for array in test)
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))

    @property
    def training_size(self) -> int:
        """Number of training samples in use."""
        return len(self._inputs)

    @property
    def test_size(self) -> int:
        """Number of test samples in use."""
        return len(self._test_inputs)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in the training data."""
        return self.training_size // self.batch_size

    def batch(self, step: int) -> Batch:
        """The training batch of step ``step`` (from 0): (batch_size, *input_shape), never a partial one."""
        if self._full:
            inputs, targets = self._inputs, self._targets
        else:
            epoch, place = divmod(step, self.steps_per_epoch)
            chosen = self._epoch_order(epoch)[place * self.batch_size : (place + 1) * self.batch_size]
            inputs, targets = self._inputs.index_select(0, chosen), self._targets.index_select(0, chosen)
        if self._augment:
            inputs = self._augmented(inputs, step)
        return Batch(step, self._ready(inputs), targets)

    def test_batches(self, size: int) -> Iterator[Batch]:
        """The whole test set in its own order, ``size`` samples at a time; only the last batch may have fewer."""
        for start in range(0, self.test_size, size):
            part = slice(start, start + size)
            yield Batch(-1, self._ready(self._test_inputs[part]), self._test_targets[part])

    def fixed_batch(self, size: int) -> Batch:
        """``size`` different training samples, drawn from the seed once and for all, without augmentation.

        Raises:
            WrongInput: ``size`` is not in 1..training_size.
        """
        if not 1 <= size <= self.training_size:
            raise WrongInput(f"a fixed batch of {size}: must be from 1 to {self.training_size}, the training samples")
        generator = seeded_generator("cpu", self.seed, "fixed batch")
        chosen = torch.randperm(self.training_size, generator=generator)[:size].to(self.device)
        return Batch(-1, self._ready(self._inputs[chosen]), self._targets[chosen])

    def _epoch_order(self, epoch: int) -> Tensor:
        if self._order[0] != epoch:
            generator = seeded_generator("cpu", self.seed, epoch, "data order")
            self._order = (epoch, torch.randperm(self.training_size, generator=generator).to(self.device))
        return self._order[1]

    def _augmented(self, images: Tensor, step: int) -> Tensor:
        generator = seeded_generator("cpu", self.seed, step, "augmentation")
        top, left = torch.randint(2 * CROP_PADDING + 1, (2, len(images)), generator=generator).to(self.device)
        flips = torch.randint(2, (len(images),), generator=generator)
        return crop_and_flip(images, top, left, flips.to(self.device).bool())

    def _ready(self, inputs: Tensor) -> Tensor:
        if self._scale is None:
            return inputs
        mean, deviation = self._scale
        return inputs.float().sub_(mean).div_(deviation)


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (over all pixels, divided by their number) of each channel, in bytes.

    They are sums of whole numbers, hence exact up to the last rounding and the same on every machine. The deviation of
    a channel of one value is given as 1, so that it becomes 0 everywhere instead of NaN.

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
    return mean.float(), deviation.where(deviation > 0, 1.0).float()


def crop_and_flip(images: Tensor, top: Tensor, left: Tensor, flip: Tensor) -> Tensor:
    """Each image padded by CROP_PADDING zeros, cut to its former size, and mirrored left to right where asked.

    Args:
        images: (samples, channels, height, width).
        top: int64 (samples,), the cut's first row in the padded image, in 0..2 CROP_PADDING.
        left: int64 (samples,), its first column.
        flip: bool (samples,), mirror the cut.

    Returns:
        a new tensor of the shape of ``images``.
    """
    samples, channels, height, width = images.shape
    padded = functional.pad(images, (CROP_PADDING,) * 4)
    rows = top[:, None] + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(samples, width)
    columns = left[:, None] + torch.where(flip[:, None], width - 1 - columns, columns)
    pixels = (rows[:, :, None] * padded.shape[3] + columns[:, None, :]).view(samples, 1, -1)
    return padded.flatten(2).gather(2, pixels.expand(-1, channels, -1)).view(images.shape)


def _subset(
    inputs: Tensor, targets: Tensor, size: int | None, images: bool, key: str, name: str
) -> tuple[Tensor, Tensor]:
    if size is None:
        return inputs, targets
    if size > len(inputs):
        raise WrongInput(f"data.{key}={size}: must be from 1 to {len(inputs)}, the samples of {name}, or null for all")
    chosen = stratified_draw(targets, size, images)
    return inputs[chosen], targets[chosen]
