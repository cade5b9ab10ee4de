"""Figures by name. A figure is one file of this folder, in two halves: `compute` makes arrays, `draw` draws them.

A module here, say `training_curves`, holds

    TITLE                                   what the figure shows, in one line
    compute(runs: DataFrame) -> data        from the table that `analysis.load_runs` gives; a data class of arrays
    draw(data, figure: Figure) -> None      on a given, empty matplotlib figure; sets its size
    data.table() -> DataFrame               the numbers behind it

and is found by its file name. `compute` and `draw` take runs without what they need and then say what is missing.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
from matplotlib.figure import Figure

from analysis.errors import WrongInput, near_miss
from analysis.style import house

# Nothing of the day or the machine goes into a file: equal runs give equal bytes.
_METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": "batchnorm-suite"},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": "batchnorm-suite", "Producer": None},
}


class FigureData(Protocol):
    """What lies between the two halves."""

    def table(self) -> pd.DataFrame: ...


class FigureModule(Protocol):
    """What a file of this folder holds."""

    TITLE: str

    def compute(self, runs: pd.DataFrame) -> FigureData: ...

    def draw(self, data: Any, figure: Figure) -> None: ...


def names() -> list[str]:
    """The names of all figures."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def get(name: str) -> FigureModule:
    """The figure of this name. Raises WrongInput with the nearest name."""
    if name not in names():
        raise WrongInput(f"unknown figure {name!r}; {near_miss(name, names())}")
    return importlib.import_module(f"{__name__}.{name}")


def write(name: str, runs: pd.DataFrame, folder: Path) -> list[Path]:
    """Computes and draws a figure, and writes NAME.svg, .png, .pdf and .csv (its numbers) to `folder`.

    Gives the paths, absolute. Raises WrongInput for an unknown name, OSError where it cannot be written; a file is
    either written whole or left as it was.
    """
    module = get(name)
    data = module.compute(runs)
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with house():
        figure = Figure(layout="constrained")
        module.draw(data, figure)
        for kind, metadata in _METADATA.items():
            paths.append(_replace(folder / f"{name}.{kind}", partial(figure.savefig, format=kind, metadata=metadata)))
    paths.append(_replace(folder / f"{name}.csv", partial(data.table().to_csv, index=False, na_rep="nan")))
    return paths


def _replace(path: Path, save: Callable[[Path], Any]) -> Path:
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        save(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
