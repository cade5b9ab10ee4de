"""The file of a run's arrays, ``arrays.npz``, from the inside. Imports numpy only.

Of each array of each probe it has two members: ``<probe>/<key>/steps``, int64 (steps,), ascending, and
``<probe>/<key>/values``, (steps, *shape of one step's array).
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np

STEPS, VALUES = "steps", "values"

BySteps: TypeAlias = dict[str, dict[int, np.ndarray]]
"""``<probe>/<key>`` -> step -> array."""

DAMAGED = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)
"""What reading raises where the file is none, or damaged."""


def read_arrays(path: Path, wanted: Callable[[str], bool] = lambda name: True) -> BySteps:
    """The arrays of a file whose names, ``<probe>/<key>``, are wanted; the others are not read.

    Raises:
        one of :data:`DAMAGED`: it is no such file, or damaged.
    """
    found: BySteps = {}
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        for name in (member.removesuffix(f"/{STEPS}") for member in archive.files if member.endswith(f"/{STEPS}")):
            if wanted(name):
                steps, values = archive[f"{name}/{STEPS}"], archive[f"{name}/{VALUES}"]
                if steps.ndim != 1 or values.shape[:1] != steps.shape:
                    raise ValueError(f"{name} has {values.shape} values for {steps.shape} steps")
                found[name] = dict(zip(steps.tolist(), values, strict=True))
    return found


def merged(arrays: Mapping[str, Mapping[int, np.ndarray]]) -> dict[str, np.ndarray]:
    """The members of the file, by name."""
    members = {}
    for name, by_step in arrays.items():
        members[f"{name}/{STEPS}"] = np.array(sorted(by_step), dtype=np.int64)
        members[f"{name}/{VALUES}"] = np.stack([by_step[step] for step in sorted(by_step)])
    return members
