"""What a data set is: four arrays, the names of the classes, a fingerprint; by choice domains and further test sets."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from experiments.errors import WrongInput
from probes.randomness import seeded_generator


class HeldOut(NamedTuple):
    """A further test set, of inputs and targets like those of the usual one."""

    inputs: Tensor
    targets: Tensor
    domains: Tensor | None = None
    """Each sample's, where the data have domains."""


@dataclass(frozen=True)
class Arrays:
    """A data set in memory, before any standardisation, as its loader returns it.

    Inputs are bytes of images, uint8 (samples, channels, height, width), or numbers, float32 of this shape or (samples,
    values); those of training and test are alike. Classification: targets int64 (samples,) in [0, len(classes)).
    Regression: inputs float32, targets float32 (samples, outputs).
    """

    inputs_train: Tensor
    targets_train: Tensor
    inputs_test: Tensor
    targets_test: Tensor
    classes: tuple[str, ...] | None
    """Names of the classes, in the order of the labels; None for regression."""
    fingerprint: str = ""
    """:func:`content_hash` of the four arrays and the class names; "" where the contents are a pure function of the
    configuration and the seed."""
    label: str | None = None
    """What the data are called in results if the configuration has no data.label; None: the data set's name."""
    domains: tuple[str, ...] | None = None
    """Names of the domains, in the order of their numbers; None where samples are of none."""
    domains_train: Tensor | None = None
    """Each training sample's domain, int64 (samples,) in [0, len(domains)); likewise of the test samples. Each domain
    has samples of both."""
    domains_test: Tensor | None = None
    test_sets: Mapping[str, HeldOut] = field(default_factory=dict)
    """Further test sets, by name; each is evaluated beside the usual one."""

    def content_hash(self) -> str:
        """:func:`content_hash` of these, and of the further test sets."""
        if not self.test_sets:
            return self._content_hash()
        named = [[name, *map(_digest, held)] for name, held in sorted(self.test_sets.items())]
        return hashlib.sha256(json.dumps([self._content_hash(), named]).encode()).hexdigest()

    def _content_hash(self) -> str:
        contents = (self.inputs_train, self.targets_train, self.inputs_test, self.targets_test)
        if self.domains is None or self.domains_train is None or self.domains_test is None:
            return content_hash(*contents, self.classes)
        return content_hash(*contents, self.classes, (self.domains, self.domains_train, self.domains_test))


def content_hash(
    inputs_train: Tensor,
    targets_train: Tensor,
    inputs_test: Tensor,
    targets_test: Tensor,
    classes: tuple[str, ...] | None,
    domains: tuple[tuple[str, ...], Tensor, Tensor] | None = None,
) -> str:
    """SHA-256, hexadecimal, over shapes, types and values of the arrays and over the class names.

    Where there are domains (their names, those of the training and of the test samples), over these too. It doesn't
    depend on where the data lie or how they were packed.
    """
    arrays = [inputs_train, targets_train, inputs_test, targets_test]
    named: dict[str, Any] = {}
    if domains is not None:
        arrays += domains[1:]
        named = {"domains": domains[0]}
    layout = {"classes": classes, "arrays": [[str(array.dtype), *array.shape] for array in arrays], **named}
    digest = hashlib.sha256(json.dumps(layout).encode())
    for array in arrays:
        digest.update(array.contiguous().numpy().data)
    return digest.hexdigest()


def _digest(array: Tensor | None) -> str | None:
    if array is None:
        return None
    layout = f"{array.dtype} {tuple(array.shape)}"
    return hashlib.sha256(layout.encode() + array.contiguous().numpy().tobytes()).hexdigest()


def stratified_draw(targets: Tensor, size: int, classification: bool) -> Tensor:
    """Indices, ascending, of a fixed draw of ``size`` of the samples: a function of ``targets`` and ``size`` alone.

    Each class has its share of the draw, rounded, and a smaller draw is part of every larger one, so that results on
    growing subsets differ by what was added.

    Args:
        targets: (samples,) class indices, or (samples, outputs) values, for which the draw is plainly uniform.
        size: samples to draw, at most len(targets).
        classification: whether ``targets`` are class indices.
    """
    order = torch.randperm(len(targets), generator=seeded_generator("cpu", "subset"))
    if classification:
        labels = targets[order]
        place = torch.empty(len(labels), dtype=torch.float64)
        for label in labels.unique():
            members = (labels == label).nonzero().squeeze(1)
            place[members] = (torch.arange(len(members), dtype=torch.float64) + 0.5) / len(members)
        order = order[place.argsort(stable=True)]
    return order[:size].sort().values


def check_arrays(key: str, arrays: Any) -> Arrays:
    """``arrays`` itself, after everything that :class:`Arrays` promises was checked.

    Raises:
        WrongInput: one line that names ``key``, what is wrong and what is allowed.
    """
    if not isinstance(arrays, Arrays):
        raise WrongInput(f"{key}: must return experiments.data.Arrays, not {type(arrays).__name__}")
    _check_test_sets(key, arrays.test_sets)
    parts = dict(_parts(arrays))
    for part, (inputs, targets) in parts.items():
        for name, value in ((f"inputs_{part}", inputs), (f"targets_{part}", targets)):
            if not isinstance(value, Tensor):
                raise WrongInput(f"{key}: {name} must be a torch tensor, not {type(value).__name__}")
            if value.device.type != "cpu":
                raise WrongInput(f"{key}: {name} must be on the CPU, not on {value.device}; the suite moves it")
    if not isinstance(arrays.fingerprint, str):
        raise WrongInput(f"{key}: fingerprint must be a text, not {type(arrays.fingerprint).__name__}")
    classes = arrays.classes
    if classes is not None and not (
        isinstance(classes, tuple) and classes and all(isinstance(name, str) for name in classes)
    ):
        raise WrongInput(f"{key}: classes must be a tuple of texts, or None for regression, not {classes!r}")
    for part, (inputs, targets) in parts.items():
        _check_kind(key, part, inputs, targets, classes)
        for name, value, train in zip(("inputs", "targets"), (inputs, targets), parts["train"], strict=True):
            if (value.shape[1:], value.dtype) != (train.shape[1:], train.dtype):
                raise WrongInput(
                    f"{key}: {name}_train and {name}_{part} must have equal shapes per sample and equal types, not "
                    f"{tuple(train.shape[1:])} {_spelled(train)} and {tuple(value.shape[1:])} {_spelled(value)}"
                )
    _check_domains(key, arrays)
    return arrays


def _parts(arrays: Arrays) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    """Inputs and targets of each part, by its name in error lines."""
    yield "train", (arrays.inputs_train, arrays.targets_train)
    yield "test", (arrays.inputs_test, arrays.targets_test)
    for name, held in arrays.test_sets.items():
        yield f"of test_sets[{name!r}]", (held.inputs, held.targets)


def _check_test_sets(key: str, sets: Any) -> None:
    if not isinstance(sets, Mapping) or not all(isinstance(held, HeldOut) for held in sets.values()):
        raise WrongInput(f"{key}: test_sets must map names to experiments.data.HeldOut")
    for name in sets:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z]\w*", name):
            raise WrongInput(f"{key}: test_sets: {name!r}: a name is of letters, digits and _, a letter first")


_FLOATS = {2: "(samples, values)", 4: "(samples, channels, height, width)"}


def _check_kind(key: str, part: str, inputs: Tensor, targets: Tensor, classes: tuple[str, ...] | None) -> None:
    """Types, numbers of dimensions and values of one part."""
    task = "regression" if classes is None else "classification"
    floats = f"float32 {_FLOATS[2]} or {_FLOATS[4]}"
    wanted = floats if classes is None else f"uint8 {_FLOATS[4]}, or {floats},"
    bytes_of_images = inputs.dtype == torch.uint8 and inputs.ndim == 4 and classes is not None
    fits = bytes_of_images or (inputs.dtype == torch.float32 and inputs.ndim in _FLOATS)
    checks = [("inputs", inputs, fits, wanted)]
    of_targets = (torch.float32, 2, _FLOATS[2]) if classes is None else (torch.int64, 1, "(samples,)")
    fits = (targets.dtype, targets.ndim) == of_targets[:2]
    checks.append(("targets", targets, fits, f"{str(of_targets[0])[6:]} {of_targets[2]}"))
    for name, value, right, told in checks:
        if not right or 0 in value.shape:
            raise WrongInput(
                f"{key}: {name}_{part} of a {task} data set must be {told} without zeros, not {_spelled(value)} "
                f"{tuple(value.shape)}"
            )
        if value.is_floating_point() and not value.isfinite().all():
            raise WrongInput(f"{key}: {name}_{part} must be finite, but has NaN or infinite values")
    if len(inputs) != len(targets):
        raise WrongInput(f"{key}: inputs_{part} has {len(inputs)} samples but targets_{part} has {len(targets)}")
    if classes is not None and not (int(targets.min()) >= 0 and int(targets.max()) < len(classes)):
        raise WrongInput(
            f"{key}: targets_{part} must be in 0..{len(classes) - 1} for {len(classes)} classes, "
            f"not {int(targets.min())}..{int(targets.max())}"
        )


def _spelled(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _check_domains(key: str, arrays: Arrays) -> None:
    names = arrays.domains
    further = {f"of test_sets[{name!r}]": held for name, held in arrays.test_sets.items()}
    if names is None:
        held_out = [held.domains for held in further.values()]
        if any(domains is not None for domains in (arrays.domains_train, arrays.domains_test, *held_out)):
            raise WrongInput(f"{key}: domains must be a tuple of texts where samples have domains, not None")
        return
    if not (isinstance(names, tuple) and names and all(isinstance(name, str) for name in names)):
        raise WrongInput(f"{key}: domains must be a tuple of texts, or None, not {names!r}")
    if len(set(names)) < len(names):
        raise WrongInput(f"{key}: domains must have names of their own, not {names!r}")
    if both := [name for name in names if name in arrays.test_sets]:
        raise WrongInput(f"{key}: {both[0]!r} names a domain and a test set; give one of them another name")
    parts = [(part, getattr(arrays, f"domains_{part}"), len(getattr(arrays, f"inputs_{part}"))) for part in _USUAL]
    parts += [(part, held.domains, len(held.inputs)) for part, held in further.items()]
    for part, found, samples in parts:
        if not (isinstance(found, Tensor) and found.dtype == torch.int64 and found.shape == (samples,)):
            told = f"{_spelled(found)} {tuple(found.shape)}" if isinstance(found, Tensor) else repr(found)
            raise WrongInput(f"{key}: domains_{part} must be int64 ({samples},), one for each sample, not {told}")
        if not (int(found.min()) >= 0 and int(found.max()) < len(names)):
            raise WrongInput(f"{key}: domains_{part} must be in 0..{len(names) - 1} for {len(names)} domains")
        if part in _USUAL:
            refuse_empty_domains(key, part, names, found)


_USUAL = ("train", "test")


def refuse_empty_domains(key: str, part: str, names: tuple[str, ...], domains: Tensor) -> None:
    """Refuses samples among which a domain has none.

    Args:
        key: what is to be changed, for the error line.
        part: train or test.
        names: of the domains.
        domains: int64 (samples,).

    Raises:
        WrongInput: one has none; it is named.
    """
    for domain, name in enumerate(names):
        if not (domains == domain).any():
            raise WrongInput(f"{key}: domain {name!r} has no {'training' if part == 'train' else part} samples")


def in_words(error: BaseException) -> str:
    """The kind and message of ``error`` without line breaks, to stand within an error line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
