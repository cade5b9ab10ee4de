"""Figures by name. A figure is one file, in two halves: `compute` makes arrays, `draw` draws them.

A study's figures lie in its folder, `analysis/studies/<name>/figures/`; those of no study lie here. Such a file holds

    TITLE, CAPTION, EXPECTED                what the figure shows; what is seen; what is claimed or would be expected
    compute(runs: Runs) -> data             a data class of arrays, from the runs' records and arrays
    draw(data, figure: Figure) -> None      on a given, empty matplotlib figure; sets its size
    data.table() -> DataFrame               the numbers behind it
    data.empty: str                         "" if there is something to draw, else what is missing
    data.panels() -> list[PanelDisplay]     its panels, to be had alone

and is found by its file name. `compute` and `draw` take runs without what they need and then say what is missing.
A user's own figure is such a file anywhere, in a study or by its path; all but TITLE, `compute` and `draw` may be left
out of it.

    figures.show("fig04_landscape", runs)                                     the whole figure
    figures.numbers("fig04_landscape", runs)                                  its numbers, a DataFrame
    figures.draw("fig04_landscape", runs, panel="beta", setting="0.1", ax=ax)     one panel, on axes of one's own

`draw` computes once: the object that it gives can `.plot(ax)` again elsewhere, and `.table()` has the panel's numbers.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import studies
from analysis.drawing.display import PanelDisplay, Picture, one_of
from analysis.drawing.medians import write_medians
from analysis.errors import WrongInput, near_miss
from analysis.files import replace
from analysis.loader import Folders
from analysis.runs import Runs
from analysis.style import house

__all__ = [
    "PanelDisplay", "Picture", "Runs", "draw", "from_file", "get", "lay_out", "names", "numbers", "panels", "show",
    "write",
]  # fmt: skip

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


def names(known: Iterable[studies.Study] | None = None) -> list[str]:
    """The names of all figures: the studies' own, study by study, then those of no study.

    Args:
        known: the studies, where a user's own are among them.

    Raises:
        WrongInput: as `refuse_taken`.
    """
    known = studies.load() if known is None else list(known)
    refuse_taken(known)
    return [*_homes(known), *_generic()]


def refuse_taken(known: Iterable[studies.Study]) -> None:
    """Raises WrongInput where a study's figure has the name of one of no study."""
    homes = _homes(known)
    for name in _generic():
        if name in homes:
            raise WrongInput(
                f"figure {name!r} of study {homes[name].name!r}: there is one already; give it another name"
            )


def _generic() -> list[str]:
    found = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    return sorted(found)


def _homes(known: Iterable[studies.Study] | None) -> dict[str, studies.Study]:
    return {name: study for study in (studies.load() if known is None else known) for name in study.figures}


def get(name: str, known: Iterable[studies.Study] | None = None) -> FigureModule:
    """The figure of this name, of the suite's studies or of those that are `known`.

    Raises:
        WrongInput: there is none, with the nearest name; a user's figure lacks something.
    """
    homes = _homes(known)
    if name in homes:
        return _checked(homes[name].figure(name), f"{homes[name].name}/figures/{name}.py")
    if name not in _generic():
        numbered = re.fullmatch(r"(?:fig(?:ure)?)?[ _.]*(\d+)(?:_.*)?", name, re.IGNORECASE)
        meant = f"fig{int(numbered[1]):02d}_" if numbered else name  # "figure4", as publications call it
        raise WrongInput(f"unknown figure {name!r}; {near_miss(meant, [*homes, *_generic()])}")
    return _checked(importlib.import_module(f"{__name__}.{name}"), name)


def _checked(module: Any, where: str | Path) -> FigureModule:
    """What a figure's file must hold, of ours and of a user's own alike."""
    lacking = [name for name in ("TITLE", "compute", "draw") if not hasattr(module, name)]
    if lacking:
        raise WrongInput(
            f"{where}: a figure needs TITLE, compute(runs) and draw(data, figure); missing: {', '.join(lacking)}"
        )
    module.CAPTION, module.EXPECTED = (getattr(module, name, "") for name in ("CAPTION", "EXPECTED"))
    return cast(FigureModule, module)


def from_file(path: str | Path, known: Iterable[studies.Study] | None = None) -> tuple[str, FigureModule]:
    """Name and module of a user's own figure, from the user's own file; its name is the file's.

    Args:
        path: of the file.
        known: the studies, whose figures' names are taken.

    Raises:
        WrongInput: no such file, one that cannot be imported, a name that is taken, something missing.
    """
    path = Path(path)
    if path.suffix != ".py" or not path.is_file():
        raise WrongInput(f"no such figure file: {path.absolute()}; give a Python file")
    if path.stem in [*_homes(known), *_generic()]:
        raise WrongInput(f"{path}: there is a figure {path.stem!r} already; give the file another name")
    spec = importlib.util.spec_from_file_location(f"user_figure_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a user's file raises
        raise WrongInput(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    return path.stem, _checked(module, path)


def _module(name: str | Path) -> FigureModule:
    """A figure by its name, or a user's own by the path of its file."""
    return from_file(name)[1] if Path(name).suffix == ".py" else get(str(name))


def show(name: str | Path, runs: Runs | pd.DataFrame | Folders) -> Picture:
    """A figure, computed and drawn, for a notebook.

    Args:
        name: of the figure; or the path of a user's own, as everywhere here.
        runs: `Runs`, which several figures may share; or a path; or a table, which has no arrays.

    Raises:
        WrongInput: there is no such figure.
    """
    module = _module(name)
    data, picture = module.compute(Runs.of(runs)), Picture()
    with house():
        module.draw(data, picture)
    return picture


def numbers(name: str | Path, runs: Runs | pd.DataFrame | Folders) -> pd.DataFrame:
    """The numbers of a figure, in long form: what is drawn, by setting, quantity, arm and step.

    Raises:
        WrongInput: there is no such figure, or it is a user's own without a table.
    """
    data = _module(name).compute(Runs.of(runs))
    if not hasattr(data, "table"):
        raise WrongInput(f"figure {name}: what its compute gives has no table()")
    table: pd.DataFrame = data.table()
    return table


def panels(name: str | Path, runs: Runs | pd.DataFrame | Folders) -> list[PanelDisplay]:
    """All panels of a figure, each of which can be drawn alone.

    Raises:
        WrongInput: there is no such figure; it has no single panels; there is nothing to draw.
    """
    data = _module(name).compute(Runs.of(runs))
    if not hasattr(data, "panels"):
        raise WrongInput(f"figure {name}: has no single panels; figures.show draws it whole")
    found: list[PanelDisplay] = data.panels()
    if not found:
        raise WrongInput(f"figure {name}: nothing to draw: {getattr(data, 'empty', '') or 'it has no panels'}")
    return found


def draw(
    name: str | Path,
    runs: Runs | pd.DataFrame | Folders,
    panel: str | None = None,
    *,
    setting: str | None = None,
    ax: Axes | None = None,
) -> PanelDisplay:
    """One panel of a figure, drawn on axes of one's own.

    Args:
        name, runs: as in `show`.
        panel: a part of its name, whatever the case; Greek letters may be spelled out ("beta").
        setting: a part of the setting's label, where there are several settings.
        ax: where to; None: on a picture of its own.

    Returns:
        The panel: `.plot(ax)` draws it again, `.table()` has its numbers, `.ax` is where it is.

    Raises:
        WrongInput: as `panels`; no panel has these parts, or several have, with all that there are.
    """
    return one_of(panels(name, runs), panel, setting).plot(ax)


def write(
    name: str, runs: Runs | pd.DataFrame | Folders, folder: Path, module: FigureModule | None = None
) -> list[Path]:
    """Computes and draws a figure, and writes NAME.svg, .png, .pdf, .csv and .medians.csv to `folder`.

    NAME.csv has each number of each run; NAME.medians.csv is small and has what is drawn (`analysis.drawing.medians`).

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
            paths.append(replace(folder / f"{name}.{kind}", partial(figure.savefig, format=kind, metadata=metadata)))
    if callable(getattr(data, "table", None)):  # of a user's own it may be anything
        table = data.table()
        paths.append(replace(folder / f"{name}.csv", partial(table.to_csv, index=False, na_rep="nan")))
        if (beside := write_medians(table, folder / f"{name}.medians.csv")) is not None:
            paths.append(beside)
    return paths


def lay_out(figure: Figure) -> None:
    """Lays a figure out once, instead of at each saving, which would take most of the time."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)
