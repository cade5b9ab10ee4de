"""What a data set is: four arrays, the names of the classes and a fingerprint."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from experiments.errors import WrongInput
from probes.randomness import seeded_generator


@dataclass(frozen=True)
class Arrays:
    """A data set in memory, before any standardisation, as its loader returns it.

    Classification of images: inputs uint8 (samples, channels, height, width), targets int64 (samples,) in
    [0, len(classes)). Regression: inputs float32 (samples, inputs), targets float32 (samples, outputs).
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

    def content_hash(self) -> str:
        """:func:`content_hash` of these."""
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
    for name in ("inputs_train", "targets_train", "inputs_test", "targets_test"):
        value = getattr(arrays, name)
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
    task, kinds = ("regression", (torch.float32, 2, torch.float32, 2))
    if classes is not None:
        task, kinds = ("classification", (torch.uint8, 4, torch.int64, 1))
    shapes = {2: "(samples, values)", 4: "(samples, channels, height, width)", 1: "(samples,)"}
    for part in ("train", "test"):
        inputs, targets = getattr(arrays, f"inputs_{part}"), getattr(arrays, f"targets_{part}")
        for name, value, dtype, dims in (("inputs", inputs, *kinds[:2]), ("targets", targets, *kinds[2:])):
            if value.dtype != dtype or value.ndim != dims or 0 in value.shape:
                raise WrongInput(
                    f"{key}: {name}_{part} of a {task} data set must be {str(dtype)[6:]} {shapes[dims]} without zeros, "
                    f"not {str(value.dtype)[6:]} {tuple(value.shape)}"
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
    for name in ("inputs", "targets"):
        train, test = (tuple(getattr(arrays, f"{name}_{part}").shape[1:]) for part in ("train", "test"))
        if train != test:
            raise WrongInput(
                f"{key}: {name}_train and {name}_test must have equal shapes per sample, not {train} and {test}"
            )
    _check_domains(key, arrays)
    return arrays


def _check_domains(key: str, arrays: Arrays) -> None:
    names = arrays.domains
    if names is None:
        if arrays.domains_train is not None or arrays.domains_test is not None:
            raise WrongInput(f"{key}: domains must be a tuple of texts where samples have domains, not None")
        return
    if not (isinstance(names, tuple) and names and all(isinstance(name, str) for name in names)):
        raise WrongInput(f"{key}: domains must be a tuple of texts, or None, not {names!r}")
    if len(set(names)) < len(names):
        raise WrongInput(f"{key}: domains must have names of their own, not {names!r}")
    for part in ("train", "test"):
        found, samples = getattr(arrays, f"domains_{part}"), len(getattr(arrays, f"inputs_{part}"))
        if not (isinstance(found, Tensor) and found.dtype == torch.int64 and found.shape == (samples,)):
            told = f"{str(found.dtype)[6:]} {tuple(found.shape)}" if isinstance(found, Tensor) else repr(found)
            raise WrongInput(f"{key}: domains_{part} must be int64 ({samples},), one for each sample, not {told}")
        if not (int(found.min()) >= 0 and int(found.max()) < len(names)):
            raise WrongInput(f"{key}: domains_{part} must be in 0..{len(names) - 1} for {len(names)} domains")
        refuse_empty_domains(key, part, names, found)


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
