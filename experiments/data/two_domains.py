"""Two domains with the same classes: images and a changed copy of them, or two data sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from experiments.data import DATA, Arrays, part_loader
from experiments.data.arrays import content_hash
from experiments.errors import WrongInput, near_miss
from experiments.options import build, refuse_unknown_options
from probes.randomness import seeded_generator

Change = Literal["inverted_blurred", "inverted", "blurred", "permuted", "inverted_faint_blocks"]
BLOCK = 2
"""Pixels of a side of the blocks that are put into another order."""


@DATA.register("two_domains")
def two_domains(
    seed: int,
    *,
    first: str = "digits",
    second: str | None = None,
    change: Change = "inverted_blurred",
    blend: float = 1.0,
    disjoint: bool = False,
    predict: Literal["class", "domain"] = "class",
    first_options: dict[str, Any] | None = None,
    second_options: dict[str, Any] | None = None,
) -> Arrays:
    """All samples of ``first``, then all of ``second``, or of a changed copy of ``first``; each with its domain.

    The changes: ``inverted`` gives a byte b as 255 - b; ``blurred`` gives each pixel the mean of the 3x3 pixels around
    it, of those that lie in the image; ``inverted_blurred`` inverts what is blurred; ``permuted`` puts the pixels of
    every image into one fixed random order; ``inverted_faint_blocks`` inverts, halves the distance from mid-grey and
    puts the blocks of 2x2 pixels into one fixed random order. No seed changes them. Training and test images are
    changed alike.

    Of two data sets the one with the smaller images has them enlarged to the other's size (bilinear), and where one is
    of colour, the other's grey is repeated in its channels. Both must have the same number of classes; label k of the
    one is taken for label k of the other, by the names of the first; of two image folders the names must be the same.

    Args:
        seed: given on to the data sets.
        first: an image data set of the suite, by name.
        second: another; None: the changed copy.
        change: how the copy is changed.
        blend: s in [0, 1]: the copy is (1 - s) times the image plus s times the changed one, rounded to a byte.
        disjoint: whether each image is in one domain only: of every class each other one, training and test alike; else
            the copy has all of them.
        predict: what the targets are: the classes, or which domain a sample is of (a discriminator).
        first_options, second_options: those of the data sets themselves (root, download, image_size, ...).

    Raises:
        WrongInput: no such data set, one without classes, classes that differ in number, folders of other names.
    """
    one = _load(seed, "first", first, first_options)
    if not 0 <= blend <= 1:
        raise WrongInput(f"data.blend={blend:g}: must be from 0 to 1")
    if second is None:
        if second_options:
            raise WrongInput(f"data.second_options={second_options}: needs data.second")
        names: tuple[str, str] = (first, change)
        one, source = _halves(one) if disjoint else (one, one)
        train, test = (_blended(images, change, blend) for images in (source.inputs_train, source.inputs_test))
        other = Arrays(train, source.targets_train, test, source.targets_test, one.classes)
    else:
        for key, value, usual in (
            ("change", change, "inverted_blurred"),
            ("blend", blend, 1),
            ("disjoint", disjoint, 0),
        ):
            if value != usual:
                told = str(value).lower() if isinstance(value, bool) else value
                raise WrongInput(f"data.{key}={told}: is without effect: data.second={second} takes the copy's place")
        names = (first, second if second != first else f"{second}_again")
        other = _load(seed, "second", second, second_options)
    assert one.classes is not None
    assert other.classes is not None
    if len(one.classes) != len(other.classes):
        raise WrongInput(
            f"data.second={second}: has {len(other.classes)} classes, but data.first={first} {len(one.classes)}"
        )
    if first == second == "image_folder" and predict == "class" and one.classes != other.classes:
        apart = sorted(set(one.classes) ^ set(other.classes))
        raise WrongInput(
            f"data.second=image_folder: its classes are not those of data.first: {', '.join(apart[:6])} are of one of "
            "the two only; give the folders the same names"
        )
    shape = [max(pair) for pair in zip(one.inputs_train.shape[1:], other.inputs_train.shape[1:], strict=True)]
    parts = {}
    for part in ("train", "test"):
        inputs = [_of_shape(getattr(arrays, f"inputs_{part}"), shape) for arrays in (one, other)]
        targets = [getattr(arrays, f"targets_{part}") for arrays in (one, other)]
        domains = [torch.full((len(t),), domain) for domain, t in enumerate(targets)]
        parts[part] = (torch.cat(inputs), torch.cat(targets), torch.cat(domains))
    (x, y, of_train), (x_test, y_test, of_test) = parts["train"], parts["test"]
    classes = one.classes
    if predict == "domain":
        y, y_test, classes = of_train, of_test, names
    fingerprint = content_hash(x, y, x_test, y_test, classes, (names, of_train, of_test))
    return Arrays(x, y, x_test, y_test, classes, fingerprint, None, names, of_train, of_test)


def _halves(arrays: Arrays) -> tuple[Arrays, Arrays]:
    """Of every class each other sample, and those between, in their order."""
    found: list[list[Tensor]] = [[], []]
    for part in ("train", "test"):
        inputs, targets = getattr(arrays, f"inputs_{part}"), getattr(arrays, f"targets_{part}")
        by_class = targets.argsort(stable=True)
        for half, own in enumerate(found):
            chosen = by_class[half::2].sort().values
            own += [inputs[chosen], targets[chosen]]
    one, other = (Arrays(x, y, x_test, y_test, arrays.classes) for x, y, x_test, y_test in found)
    return one, other


def _blended(images: Tensor, change: Change, blend: float) -> Tensor:
    changed = CHANGES[change](images)
    if blend == 1:
        return changed
    return ((1 - blend) * images.double() + blend * changed.double()).round().to(torch.uint8)


def _load(seed: int, key: str, name: str, options: Mapping[str, Any] | None) -> Arrays:
    place = f"data.{key}_options"
    if name == "two_domains":
        raise WrongInput(f"data.{key}=two_domains: must be another data set")
    if not isinstance(options or {}, Mapping):
        raise WrongInput(f"{place}={options}: must be null or a mapping of the options of data.{key}={name}")
    if name not in DATA.names():
        raise WrongInput(f"data.{key}={name}: unknown data set; {near_miss(name, DATA.names())}")
    loader = part_loader(name)
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


def _inverted_faint_blocks(images: Tensor) -> Tensor:
    """127.5 - (b - 127.5) / 2 of each byte, then whole blocks in another order.

    Pixels beyond the last whole block stay where they are.
    """
    faint = ((382.5 - images.double()) / 2).round().to(torch.uint8)
    rows, columns = (side // BLOCK for side in images.shape[2:])
    order = torch.randperm(rows * columns, generator=seeded_generator("cpu", "permuted blocks"))
    inside = faint[:, :, : rows * BLOCK, : columns * BLOCK]
    blocks = inside.unfold(2, BLOCK, BLOCK).unfold(3, BLOCK, BLOCK).flatten(2, 3)[:, :, order]
    moved = blocks.unflatten(2, (rows, columns)).transpose(3, 4).reshape(inside.shape)
    faint[:, :, : rows * BLOCK, : columns * BLOCK] = moved
    return faint


CHANGES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "inverted_blurred": lambda images: _inverted(_blurred(images)),
    "inverted": _inverted,
    "blurred": _blurred,
    "permuted": _permuted,
    "inverted_faint_blocks": _inverted_faint_blocks,
}
"""What a changed copy is: images uint8 (samples, channels, height, width) to new ones of the same shape."""
