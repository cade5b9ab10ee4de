"""Batches from data that lie on the device: batch t is a function of (seed, t)."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from experiments.data.arrays import Arrays, refuse_empty_domains, stratified_draw
from experiments.data.labels import with_noise
from experiments.data.options import Options
from experiments.data.orders import Chosen, Order, Samples, build_order
from experiments.data.standardising import treatment
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
    """The training step that the batch belongs to; -1 for test and other batches that belong to none."""
    inputs: Tensor
    targets: Tensor
    domain: Tensor | None = None
    """Each sample's domain, int64 (samples,), where the data have domains."""


class _Part(NamedTuple):
    """Samples as they are stored; inputs are made ready when they are asked for."""

    inputs: Tensor
    targets: Tensor
    domain: Tensor | None

    def at(self, chosen: Tensor | slice) -> _Part:
        """Some of them."""
        return _Part(*(None if part is None else _rows(part, chosen) for part in self))  # type: ignore[arg-type]

    def of(self, domain: int) -> _Part:
        """Those of a domain."""
        assert self.domain is not None
        return self.at((self.domain == domain).nonzero().squeeze(1))

    def to(self, device: torch.device) -> _Part:
        """The same on a device."""
        return _Part(*(None if part is None else part.to(device) for part in self))  # type: ignore[arg-type]


def _rows(values: Tensor, chosen: Tensor | slice) -> Tensor:
    return values[chosen] if isinstance(chosen, slice) else values.index_select(0, chosen)


class Data:
    """A data set on its device, and the batches drawn from it.

    Training runs over the data in whole batches, in the order that ``options.order`` names. Order and augmentation are
    drawn on the CPU as functions of (seed, step), so that they are the same on every device and torch's global
    generators stay as they are.

    Args:
        arrays: the data, checked (:func:`experiments.data.arrays.check_arrays`).
        seed: the run's seed.
        batch_size: samples in a batch; None: every batch is the whole training set in its own order.
        device: where the data live and the batches are made.
        options: subset, augmentation, standardisation, order and label.
        name: the data set's name, for results and error lines.

    Raises:
        WrongInput: a batch or subset larger than the data, augmentation of data that are no images, or an order that
            these batches cannot have.
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
        images = arrays.inputs_train.dtype == torch.uint8
        if options.augment and not images:
            raise WrongInput(f"data.augment=true: only images can be cropped and flipped, and {name} has none")
        inputs, targets, domain = _subset(arrays, "train", options.subset, "subset", name)
        test_inputs, test_targets, test_domain = _subset(arrays, "test", options.test_subset, "test_subset", name)
        targets = with_noise(targets, options.label_noise, len(arrays.classes) if arrays.classes else None, seed)
        size = len(inputs)
        if batch_size is not None and not 1 <= batch_size <= size:
            raise WrongInput(
                f"optim.batch_size={batch_size}: must be a whole number from 1 to {size}, the number of training "
                f"samples, or null for all of them"
            )
        self.label: str = options.label or arrays.label or name
        """What the data are called in results."""
        self.fingerprint = arrays.fingerprint
        """SHA-256 of the contents; "" where they are a pure function of the configuration and the seed."""
        outputs = arrays.targets_train.shape[1] if arrays.classes is None else len(arrays.classes)
        self.spec = DataSpec(
            tuple(inputs.shape[1:]), outputs, "regression" if arrays.classes is None else "classification"
        )
        self.seed = seed
        self.batch_size = size if batch_size is None else batch_size
        self.device = torch.device(device)
        self._augment = options.augment
        self._standardise = options.standardise
        self._has_range = images and options.standardise != "whitened"
        self.domains: tuple[str, ...] = arrays.domains or ()
        """Names of the domains, in the order of their numbers; none where the data have none."""
        self._training = _Part(inputs, targets, domain).to(self.device)
        self._test = _Part(test_inputs, test_targets, test_domain).to(self.device)
        self._further = {name: _Part(*held).to(self.device) for name, held in arrays.test_sets.items()}
        self.test_sets: tuple[str, ...] = tuple(self._further)
        """Names of the further test sets."""
        labels = {} if arrays.classes is None else {"class": (targets, arrays.classes)}
        labels |= {} if domain is None else {"domain": (domain, self.domains)}
        self._order = None if batch_size is None else self._ordered(options, labels)

    def tested_on(self, name: str) -> Data:
        """The same data, with a further test set in the test set's place."""
        return self._with(_test=self._further[name])

    def tested_in(self, domain: int) -> Data:
        """The same data, with a domain's part of the test set for the whole."""
        return self._with(_test=self._test.of(domain))

    def tested_part(self, part: int, parts: int) -> Data:
        """The same data, with one of ``parts`` random parts of the test set, which no seed changes, for the whole."""
        order = torch.randperm(self.test_size, generator=seeded_generator("cpu", "part of the test set"))
        return self._with(_test=self._test.at(order.tensor_split(parts)[part].sort().values.to(self.device)))

    def tested_on_training(self, samples: int) -> Data:
        """The same data, with the training samples of a fixed batch of that size in the test set's place."""
        return self._with(_test=self._training.at(self._fixed(samples)))

    def trained_in(self, domain: int) -> Data:
        """The same data for populations: of the training samples of one domain, standardised as all are."""
        return self._with(_training=self._training.of(domain))

    def _with(self, **parts: _Part) -> Data:
        found = copy.copy(self)
        vars(found).update(_ready=self._ready, **parts)
        return found

    @property
    def training_size(self) -> int:
        """Number of training samples in use."""
        return len(self._training.inputs)

    @property
    def test_size(self) -> int:
        """Number of test samples in use."""
        return len(self._test.inputs)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in the training data."""
        return self.training_size // self.batch_size

    @property
    def batches_of_all(self) -> int:
        """Batches in the training data, the samples that do not fill one included."""
        return -(-self.training_size // self.batch_size)

    @property
    def valid_range(self) -> tuple[Tensor, Tensor] | None:
        """What black and white of bytes become, (channels, 1, 1), or of an input's shape where pixels are apart.

        None without bytes, and for whitened values, each of which is mixed from all pixels.
        """
        if not self._has_range:
            return None
        shape = (1, self.spec.input_shape[0], 1, 1)
        black, white = (self._ready(torch.full(shape, value, device=self.device))[0] for value in (0.0, 255.0))
        return black, white

    def batch(self, step: int) -> Batch:
        """The training batch of step ``step`` (from 0): (batch_size, *input_shape), never a partial one."""
        chosen = self._training if self._order is None else self._training.at(self._order(step))
        return self._batch(chosen, step, self._augment, step)

    def rarest(self, steps: int) -> int:
        """Of steps 0 to ``steps`` - 1 the first whose batch has the fewest samples of a domain that is in it."""
        if self._order is None or self._training.domain is None or steps < 1:
            return 0
        domain, order = self._training.domain, self._order
        return min(range(steps), key=lambda step: fewest_of_a_domain(domain[order(step)]))

    def _batch(self, chosen: _Part, step: int = -1, augment: bool = False, draw: int = 0) -> Batch:
        """These samples, ready for the network; crops and flips are a function of the seed and ``draw``."""
        inputs = self._augmented(chosen.inputs, draw) if augment else chosen.inputs
        return Batch(step, self._ready(inputs), chosen.targets, chosen.domain)

    def test_batches(self, size: int) -> Iterator[Batch]:
        """The whole test set in its own order, ``size`` samples at a time; only the last batch may have fewer."""
        for start in range(0, self.test_size, size):
            yield self._batch(self._test.at(slice(start, start + size)))

    def mixed_test_batches(self, size: int) -> Iterator[Batch]:
        """The whole test set in an order that the seed draws, in batches of ``size`` and what is left spread over them.

        Batches are as equal as can be and never smaller than ``size``, unless the whole test set is.
        """
        generator = seeded_generator("cpu", self.seed, "order of the test set")
        order = torch.randperm(self.test_size, generator=generator).to(self.device)
        for chosen in order.tensor_split(max(1, self.test_size // size)):
            yield self._batch(self._test.at(chosen))

    def population(self, batches: int) -> Iterator[Batch]:
        """Training batches of one pass, in an order that no epoch has: no sample comes twice, and all come in all.

        Augmented where training is, by draws of its own.

        Args:
            batches: how many; of ``batches_of_all`` the last may have fewer samples.
        """
        generator = seeded_generator("cpu", self.seed, "order of the population")
        order = torch.randperm(self.training_size, generator=generator).to(self.device)
        for place, chosen in enumerate(order.split(self.batch_size)[:batches]):
            yield self._batch(self._training.at(chosen), -1, self._augment, -1 - place)  # as no step of training

    def training_inputs(self) -> Tensor:
        """The inputs of all training samples, in the order of the data: (training_size, *input_shape).

        Raises:
            WrongInput: each step sees others, as they are augmented.
        """
        if self._augment:
            raise WrongInput(
                "data.augment=true: there are no statistics of the whole training set then, as each step changes the "
                "images anew; choose data.augment=false or norm.statistics=batch"
            )
        return self._ready(self._training.inputs)

    def fixed_batch(self, size: int) -> Batch:
        """``size`` different training samples, drawn from the seed once and for all, without augmentation.

        Raises:
            WrongInput: ``size`` is not in 1..training_size.
        """
        if not 1 <= size <= self.training_size:
            raise WrongInput(f"a fixed batch of {size}: must be from 1 to {self.training_size}, the training samples")
        return self._batch(self._training.at(self._fixed(size)))

    def _fixed(self, size: int) -> Tensor:
        generator = seeded_generator("cpu", self.seed, "fixed batch")
        return torch.randperm(self.training_size, generator=generator)[:size].to(self.device)

    @functools.cached_property
    def _ready(self) -> Callable[[Tensor], Tensor]:
        """What makes inputs ready; worked out when the first batch is asked for, as whitening may take a minute."""
        return treatment(
            self._standardise, self._training.inputs.cpu(), self.spec.task == "classification", self.device
        )

    def _ordered(self, options: Options, labels: Mapping[str, tuple[Tensor, tuple[str, ...]]]) -> Order:
        """The order of batches; ``labels`` of the training samples are on the CPU."""
        own = {"grouped_by": options.grouped_by, "groups_per_batch": options.groups_per_batch}
        chosen = Chosen(
            options.order, options.order_file, {key: value for key, value in own.items() if value is not None}
        )
        return build_order(chosen, Samples(self.training_size, self.batch_size, self.seed, self.device, labels))

    def _augmented(self, images: Tensor, step: int) -> Tensor:
        generator = seeded_generator("cpu", self.seed, step, "augmentation")
        top, left = torch.randint(2 * CROP_PADDING + 1, (2, len(images)), generator=generator).to(self.device)
        flips = torch.randint(2, (len(images),), generator=generator)
        return crop_and_flip(images, top, left, flips.to(self.device).bool())


def fewest_of_a_domain(domain: Tensor) -> int:
    """The number of samples of the domain that has the fewest, but any; ``domain`` is each sample's."""
    counts = torch.bincount(domain)
    return int(counts[counts > 0].min())


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


def _subset(arrays: Arrays, part: str, size: int | None, key: str, name: str) -> tuple[Tensor, Tensor, Tensor | None]:
    """Inputs, targets and domains of what is used of a part of the data; each domain has samples there."""
    inputs, targets, domain = (getattr(arrays, f"{kind}_{part}") for kind in ("inputs", "targets", "domains"))
    if size is None:
        return inputs, targets, domain
    if size > len(inputs):
        raise WrongInput(f"data.{key}={size}: must be from 1 to {len(inputs)}, the samples of {name}, or null for all")
    strata = targets if arrays.classes is not None else None
    if domain is not None:
        strata = domain if arrays.classes is None else targets + len(arrays.classes) * domain
    chosen = stratified_draw(targets if strata is None else strata, size, strata is not None)
    if domain is not None:
        refuse_empty_domains(f"data.{key}={size}", part, arrays.domains or (), domain[chosen])
    return inputs[chosen], targets[chosen], None if domain is None else domain[chosen]
