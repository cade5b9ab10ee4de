"""CIFAR, MNIST, Fashion-MNIST and SVHN, read and downloaded by torchvision.

Integrity: torchvision compares MD5 sums of CIFAR's and SVHN's files whenever they are read. Of MNIST's and
Fashion-MNIST's it does so when they are downloaded; afterwards it looks only whether they are there, so number, size
and labels of the images are checked here, but changed pixels would go unnoticed (the fingerprint would differ).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from experiments.data import DATA, STAND_INS, Arrays, StandIn
from experiments.data.arrays import content_hash, in_words
from experiments.data.torchvision_import import import_torchvision
from experiments.errors import RunFailure, WrongInput


@dataclass(frozen=True)
class Source:
    """What a torchvision data set must contain."""

    torchvision_name: str
    shape: tuple[int, int, int]
    classes: int
    train: int
    test: int


SOURCES = {
    "cifar10": Source("CIFAR10", (3, 32, 32), 10, 50_000, 10_000),
    "cifar100": Source("CIFAR100", (3, 32, 32), 100, 50_000, 10_000),
    "mnist": Source("MNIST", (1, 28, 28), 10, 60_000, 10_000),
    "fashion_mnist": Source("FashionMNIST", (1, 28, 28), 10, 60_000, 10_000),
    "svhn": Source("SVHN", (3, 32, 32), 10, 73_257, 26_032),
}


def _loader(name: str) -> Callable[..., Arrays]:
    def load(seed: int, *, root: str = "data", download: bool = False) -> Arrays:
        """The data set from torchvision's files under ``root``.

        Args:
            seed: not used, the data are fixed.
            root: folder with torchvision's files or for them; relative to the working directory.
            download: fetch what is missing.

        Raises:
            WrongInput: the files are missing or damaged.
            RunFailure: the download failed.
        """
        folder = Path(root).expanduser()
        if download:
            _download(name, folder)
        try:
            parts = [_read(_open(name, folder, train, False)) for train in (True, False)]
            return _checked(name, parts)
        except Exception as error:  # each data set raises its own kinds for damaged files
            raise WrongInput(
                f"data.name={name}: missing or damaged in data.root={root} ({folder.resolve()}): {in_words(error)}; "
                "data.download=true fetches what is missing (delete damaged files before); digits and gaussian need no "
                "network"
            ) from error

    return load


def _download(name: str, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{name}.lock"):  # the runs of a sweep start together; one fetches, the others wait
            for train in (True, False):
                _open(name, folder, train, True)
    except Exception as error:  # network, disk, permission or a wrong checksum: torchvision raises all kinds
        raise RunFailure(f"data.name={name}: download into data.root={folder} failed: {in_words(error)}") from error


def _open(name: str, folder: Path, train: bool, download: bool) -> Any:
    kind = getattr(import_torchvision().datasets, SOURCES[name].torchvision_name)
    part = {"split": "train" if train else "test"} if name == "svhn" else {"train": train}
    return kind(root=str(folder), download=download, **part)


def _read(dataset: Any) -> tuple[torch.Tensor, torch.Tensor, tuple[str, ...]]:
    """Images (samples, channels, height, width), labels (samples,) and class names of a torchvision data set."""
    images = torch.as_tensor(dataset.data)
    labels = torch.as_tensor(dataset.labels if hasattr(dataset, "labels") else dataset.targets, dtype=torch.int64)
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[-1] == 3 and images.shape[1] != 3:
        images = images.permute(0, 3, 1, 2)
    classes = tuple(getattr(dataset, "classes", map(str, range(10))))
    return images.contiguous(), labels, classes


def _checked(name: str, parts: list[tuple[torch.Tensor, torch.Tensor, tuple[str, ...]]]) -> Arrays:
    source = SOURCES[name]
    for (images, labels, classes), part, samples in zip(
        parts, ("training", "test"), (source.train, source.test), strict=True
    ):
        if images.shape != (samples, *source.shape) or labels.shape != (samples,):
            raise ValueError(
                f"the {part} set has images {tuple(images.shape)} and labels {tuple(labels.shape)}, "
                f"not {samples} of {source.shape}"
            )
        if len(classes) != source.classes or labels.min() < 0 or labels.max() >= source.classes:
            raise ValueError(f"the {part} set has labels outside its {source.classes} classes")
    contents = (*parts[0][:2], *parts[1][:2])
    return Arrays(*contents, parts[0][2], content_hash(*contents, parts[0][2]))


for _name, _source in SOURCES.items():
    DATA.register(_name)(_loader(_name))
    STAND_INS[_name] = StandIn(_source.shape[0], _source.shape[1], _source.classes)
