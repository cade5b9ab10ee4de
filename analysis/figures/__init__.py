"""Figures by name. A figure is one file of this folder, in two halves: `compute` makes arrays, `draw` draws them.

A module here, say `fig04_landscape`, holds

    TITLE, CAPTION, EXPECTED                what the figure shows; what is seen; what is claimed or would be expected
    compute(runs: Runs) -> data             a data class of arrays, from the runs' records and arrays
    draw(data, figure: Figure) -> None      on a given, empty matplotlib figure; sets its size
    data.table() -> DataFrame               the numbers behind it

and is found by its file name. `compute` and `draw` take runs without what they need and then say what is missing.
A user's own figure is such a file anywhere; CAPTION, EXPECTED and `table` may be left out of it.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import os
import pkgutil
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
from matplotlib.figure import Figure

from analysis.errors import WrongInput, near_miss
from analysis.figures._runs import Runs
from analysis.loader import Folders
from analysis.style import house

__all__ = ["Picture", "Runs", "from_file", "get", "lay_out", "names", "show", "write"]

# Nothing of the day or the machine goes into a file: equal runs give equal bytes.
_METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": "batchnorm-suite"},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": "batchnorm-suite", "Producer": None},
}


class FigureModule(Protocol):
    """What a file of this folder holds."""

    TITLE: str
    CAPTION: str
    EXPECTED: str

    def compute(self, runs: Runs) -> Any: ...

    def draw(self, data: Any, figure: Figure) -> None: ...


def names() -> list[str]:
    """The names of all figures: those of the paper by number, then the others."""
    found = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    return sorted(found)


def get(name: str) -> FigureModule:
    """The figure of this name. Raises WrongInput with the nearest name."""
    if name not in names():
        numbered = re.fullmatch(r"(?:fig(?:ure)?)?[ _.]*(\d+)(?:_.*)?", name, re.IGNORECASE)
        meant = f"fig{int(numbered[1]):02d}_" if numbered else name  # "figure4", as its experiment is called
        raise WrongInput(f"unknown figure {name!r}; {near_miss(meant, names())}")
    return importlib.import_module(f"{__name__}.{name}")


def from_file(path: str | Path) -> tuple[str, FigureModule]:
    """Name and module of a user's own figure, from the user's own file; its name is the file's.

    Raises WrongInput: no such file, one that cannot be imported, a name that is taken, something missing.
    """
    path = Path(path)
    if path.suffix != ".py" or not path.is_file():
        raise WrongInput(f"no such figure file: {path.absolute()}; give a Python file")
    if path.stem in names():
        raise WrongInput(f"{path}: there is a figure {path.stem!r} already; give the file another name")
    spec = importlib.util.spec_from_file_location(f"user_figure_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a user's file raises
        raise WrongInput(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    lacking = [name for name in ("TITLE", "compute", "draw") if not hasattr(module, name)]
    if lacking:
        raise WrongInput(
            f"{path}: a figure needs TITLE, compute(runs) and draw(data, figure); missing: {', '.join(lacking)}"
        )
    module.CAPTION, module.EXPECTED = (getattr(module, name, "") for name in ("CAPTION", "EXPECTED"))
    return path.stem, module


class Picture(Figure):
    """A matplotlib figure that Jupyter shows when it is the last line of a cell; its layout is constrained."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"layout": "constrained", **options})

    def _repr_png_(self) -> bytes:
        png = io.BytesIO()
        with house():
            self.savefig(png, format="png", dpi=110)
        return png.getvalue()


def show(name: str, runs: Runs | pd.DataFrame | Folders) -> Picture:
    """The figure of this name, computed and drawn, for a notebook. Raises WrongInput for an unknown name."""
    module = get(name)
    data, picture = module.compute(Runs.of(runs)), Picture()
    with house():
        module.draw(data, picture)
    return picture


def write(
    name: str, runs: Runs | pd.DataFrame | Folders, folder: Path, module: FigureModule | None = None
) -> list[Path]:
    """Computes and draws a figure, and writes NAME.svg, .png, .pdf and .csv (its numbers) to `folder`.

    runs: one `Runs` for all figures is quickest; a table has no arrays. module: of a figure that is not one of ours.
    Gives the paths, absolute. Raises WrongInput for an unknown name, OSError where it cannot be written; a file is
    either written whole or left as it was.
    """
    module = module or get(name)
    data = module.compute(Runs.of(runs))
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with house():
        figure = Figure(layout="constrained")
        module.draw(data, figure)
        lay_out(figure)
        for kind, metadata in _METADATA.items():
            paths.append(_replace(folder / f"{name}.{kind}", partial(figure.savefig, format=kind, metadata=metadata)))
    if hasattr(data, "table"):
        paths.append(_replace(folder / f"{name}.csv", partial(data.table().to_csv, index=False, na_rep="nan")))
    return paths


def lay_out(figure: Figure) -> None:
    """Lays a figure out once, instead of at each saving, which would take most of the time."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)


def _replace(path: Path, save: Callable[[Path], Any]) -> Path:
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        save(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
