"""Two domains with the same classes: images and a changed copy of them, or two data sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from experiments.data import DATA, Arrays
from experiments.data.arrays import content_hash
from experiments.errors import WrongInput, near_miss
from experiments.options import build, refuse_unknown_options
from probes.randomness import seeded_generator

Change = Literal["inverted_blurred", "inverted", "blurred", "permuted"]


@DATA.register("two_domains")
def two_domains(
    seed: int,
    *,
    first: str = "digits",
    second: str | None = None,
    change: Change = "inverted_blurred",
    first_options: dict[str, Any] | None = None,
    second_options: dict[str, Any] | None = None,
) -> Arrays:
    """All samples of ``first``, then all of ``second``, or of a changed copy of ``first``; each with its domain.

    The changes: ``inverted`` gives a byte b as 255 - b; ``blurred`` gives each pixel the mean of the 3x3 pixels around
    it, of those that lie in the image; ``inverted_blurred`` inverts what is blurred; ``permuted`` puts the pixels of
    every image into one fixed random order. No seed changes them. Training and test images are changed alike.

    Of two data sets the one with the smaller images has them enlarged to the other's size (bilinear), and where one is
    of colour, the other's grey is repeated in its channels. Both must have the same number of classes; label k of the
    one is taken for label k of the other, by the names of the first.

    Args:
        seed: given on to the data sets.
        first: an image data set of the suite, by name.
        second: another; None: the changed copy.
        change: how the copy is changed.
        first_options, second_options: those of the data sets themselves (root, download, image_size, ...).

    Raises:
        WrongInput: no such data set, one without classes, classes that differ in number.
    """
    one = _load(seed, "first", first, first_options)
    if second is None:
        if second_options:
            raise WrongInput(f"data.second_options={second_options}: needs data.second")
        names: tuple[str, str] = (first, change)
        changed = CHANGES[change]
        other = Arrays(
            changed(one.inputs_train), one.targets_train, changed(one.inputs_test), one.targets_test, one.classes
        )
    else:
        if change != "inverted_blurred":
            raise WrongInput(f"data.change={change}: is without effect: data.second={second} takes the copy's place")
        names = (first, second if second != first else f"{second}_again")
        other = _load(seed, "second", second, second_options)
    assert one.classes is not None
    assert other.classes is not None
    if len(one.classes) != len(other.classes):
        raise WrongInput(
            f"data.second={second}: has {len(other.classes)} classes, but data.first={first} {len(one.classes)}"
        )
    shape = [max(pair) for pair in zip(one.inputs_train.shape[1:], other.inputs_train.shape[1:], strict=True)]
    parts = {}
    for part in ("train", "test"):
        inputs = [_of_shape(getattr(arrays, f"inputs_{part}"), shape) for arrays in (one, other)]
        targets = [getattr(arrays, f"targets_{part}") for arrays in (one, other)]
        domains = [torch.full((len(t),), domain) for domain, t in enumerate(targets)]
        parts[part] = (torch.cat(inputs), torch.cat(targets), torch.cat(domains))
    (x, y, train), (x_test, y_test, test) = parts["train"], parts["test"]
    fingerprint = content_hash(x, y, x_test, y_test, one.classes, (names, train, test))
    return Arrays(x, y, x_test, y_test, one.classes, fingerprint, None, names, train, test)


def _load(seed: int, key: str, name: str, options: Mapping[str, Any] | None) -> Arrays:
    place = f"data.{key}_options"
    if name == "two_domains":
        raise WrongInput(f"data.{key}=two_domains: must be another data set")
    if not isinstance(options or {}, Mapping):
        raise WrongInput(f"{place}={options}: must be null or a mapping of the options of data.{key}={name}")
    if name not in DATA.names():
        raise WrongInput(f"data.{key}={name}: unknown data set; {near_miss(name, DATA.names())}")
    loader = DATA.get(name, None, None)
    refuse_unknown_options(place, loader, 1, options or {}, {})
    arrays: Arrays = build(place, loader, (seed,), options or {})
    if arrays.classes is None:
        raise WrongInput(f"data.{key}={name}: must be images with classes")
    return arrays


def _of_shape(images: Tensor, shape: list[int]) -> Tensor:
    """Images (samples, *shape), enlarged, and grey in all channels."""
    if images.shape[1] != shape[0]:
        images = images.expand(-1, shape[0], -1, -1)
    if list(images.shape[2:]) != shape[1:]:
        parts = [functional.interpolate(part.float(), shape[1:], mode="bilinear") for part in images.split(1024)]
        images = torch.cat([part.round().clamp(0, 255).to(torch.uint8) for part in parts])
    return images.contiguous()


def _inverted(images: Tensor) -> Tensor:
    return 255 - images


def _blurred(images: Tensor) -> Tensor:
    """The mean over 3x3 pixels, at the border over those that are there; rounded to a byte."""
    parts = [
        functional.avg_pool2d(part.double(), 3, stride=1, padding=1, count_include_pad=False)
        for part in images.split(1024)
    ]
    return torch.cat([part.round().to(torch.uint8) for part in parts])


def _permuted(images: Tensor) -> Tensor:
    pixels = images[0, 0].numel()
    order = torch.randperm(pixels, generator=seeded_generator("cpu", "permuted domain"))
    return images.flatten(2)[:, :, order].view(images.shape)


CHANGES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "inverted_blurred": lambda images: _inverted(_blurred(images)),
    "inverted": _inverted,
    "blurred": _blurred,
    "permuted": _permuted,
}
"""What a changed copy is: images uint8 (samples, channels, height, width) to new ones of the same shape."""
