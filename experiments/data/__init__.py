"""Data sets by name, as arrays on the device.

A data set is a function ``load(seed, *, <options>) -> Arrays``, registered here or in a user's file. Its typed
signature is its configuration schema; the options of :class:`Options` are understood for every data set.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from experiments.data.arrays import Arrays, HeldOut, check_arrays, stratified_draw
from experiments.data.batches import Batch, Data, DataSpec
from experiments.data.options import Options
from experiments.discovery import Registry
from experiments.errors import WrongInput, near_miss
from experiments.options import build
from probes.randomness import seeded_generator

__all__ = [
    "DATA",
    "Arrays",
    "Batch",
    "Data",
    "DataSpec",
    "HeldOut",
    "Options",
    "StandIn",
    "load_data",
    "part_loader",
    "stratified_draw",
]

DATA: Registry[Callable[..., Arrays]] = Registry("data", "experiments.data")


@dataclass(frozen=True)
class StandIn:
    """Shape of the random images that stand in for a data set whose files are not there."""

    channels: int
    size: int
    classes: int


STAND_INS: dict[str, StandIn] = {}
"""By name, the data sets that need files. Their modules enter them here."""


_stood_in: contextvars.ContextVar[bool] = contextvars.ContextVar("stood_in", default=False)


def part_loader(name: str) -> Callable[..., Arrays]:
    """The loader of a data set that another one is made of; of random images where :func:`load_data` is told so.

    Raises:
        WrongInput: no such data set.
    """
    loader = DATA.get(name)
    return _standing_in(loader, STAND_INS[name], 512, 128) if _stood_in.get() and name in STAND_INS else loader


def load_data(
    options: Mapping[str, Any],
    seed: int,
    batch_size: int | None,
    device: torch.device | str = "cpu",
    *,
    stand_in: bool = False,
) -> Data:
    """The data set that the configuration names, on ``device``.

    Args:
        options: the configuration's ``data`` group: ``name``, ``file`` (a user's Python file, or None), those of
            :class:`Options` and the loader's own.
        seed: the run's seed.
        batch_size: samples in a training batch; None: all of them.
        device: where the data shall live.
        stand_in: for a data set that would need files, random images of its shape (its number of classes; for
            image_folder three channels, 32x32, ten classes unless the options say otherwise), without touching the
            disk. All options are checked as usual. For trying out configurations.

    Raises:
        WrongInput: unknown data set or option, wrong type, missing or damaged files, a user's function that returns
            something else than :class:`Arrays`, a batch larger than the data.
        RunFailure: the files could not be downloaded, or their cache not written.
    """
    given = dict(options)
    name, file = given.pop("name", None), given.pop("file", None)
    if not isinstance(name, str):
        raise WrongInput(f"data.name={name}: must be given; allowed: {', '.join(DATA.names())}")
    loader = DATA.get(name, file)
    shared = {field.name for field in fields(Options)}
    own = list(inspect.signature(loader).parameters.values())[1:]
    if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in own):
        allowed = shared | {parameter.name for parameter in own}
        for key in given.keys() - allowed:
            raise WrongInput(f"data.{key}={given[key]}: unknown option of {name}; {near_miss(key, allowed)}")
    common: Options = build("data", Options, (), {key: given[key] for key in given.keys() & shared})
    specific = {key: value for key, value in given.items() if key not in shared}
    if file is not None:
        arrays = _from_user(name, file, loader, seed, specific)
    else:
        if stand_in and name in STAND_INS:
            samples = max(512, batch_size or 0, common.subset or 0), max(128, common.test_subset or 0)
            loader = _standing_in(loader, STAND_INS[name], *samples)
        token = _stood_in.set(stand_in)
        try:
            arrays = build("data", loader, (seed,), specific)
        finally:
            _stood_in.reset(token)
    return Data(check_arrays(f"data.name={name}", arrays), seed, batch_size, device, common, name)


def _from_user(name: str, file: Any, loader: Callable[..., Arrays], seed: int, options: Mapping[str, Any]) -> Arrays:
    arrays = check_arrays(f"data.name={name} of {file}", build("data", loader, (seed,), options))
    if arrays.fingerprint:
        return arrays
    return replace(arrays, fingerprint=arrays.content_hash())


def _standing_in(loader: Callable[..., Arrays], shape: StandIn, train: int, test: int) -> Callable[..., Arrays]:
    """A function of the loader's own signature, hence its own options, that returns random images."""

    @functools.wraps(loader)
    def load(seed: int, **options: Any) -> Arrays:
        channels, size = options.get("channels") or shape.channels, options.get("image_size") or shape.size
        generator = seeded_generator("cpu", "stand-in")

        def images(samples: int) -> tuple[torch.Tensor, torch.Tensor]:
            pixels = torch.randint(256, (samples, channels, size, size), generator=generator, dtype=torch.uint8)
            return pixels, torch.arange(samples) % shape.classes

        return Arrays(*images(train), *images(test), tuple(str(label) for label in range(shape.classes)))

    return load
