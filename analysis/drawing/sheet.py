"""A sheet: columns of panels, what the compute halves of most figures hand to their draw halves."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import pandas as pd

from analysis.drawing.display import PanelDisplay
from analysis.drawing.draw_panel import draw_alone
from analysis.drawing.panel import Panel
from analysis.select import Setting

NO_NUMBERS = ["quantity", "norm", "step"]
"""Columns of a table without rows."""


@dataclass(frozen=True)
class Column:
    """Panels of one setting. `title`: what stands in front of the setting's."""

    setting: Setting
    panels: tuple[Panel, ...]
    title: str = ""


@dataclass(frozen=True)
class Sheet:
    """Columns of panels.

    Attributes:
        nothing: what to say where there is none.
        notes: below all panels.
        bands: what a band between two ends is, for the legend.
    """

    columns: tuple[Column, ...]
    nothing: str
    notes: tuple[str, ...] = ()
    bands: str = ""

    @property
    def empty(self) -> str:
        """What is missing where there is nothing to draw of what the figure is about; else nothing."""
        if not self.columns:
            return " ".join(self.nothing.split())
        about = [panel for column in self.columns for panel in column.panels if not panel.context]
        if any(panel.missing is None for panel in about):
            return ""
        return f"nothing recorded to draw of {', '.join(dict.fromkeys(panel.name for panel in about))}"

    def table(self) -> pd.DataFrame:
        """Long form: setting, quantity, unit, curve, norm, step (or depth, ...); median, min, max, runs, each run."""
        return _joined([row for column in self.columns for panel in column.panels for row in _rows(column, panel)])

    def beside(self) -> list[dict[str, object]]:
        """How far ours lies from each published curve that is drawn: one row to a curve, or to an end of a band.

        Keys: panel, setting, norm, end (empty, low or high), points, log, typical, within, as in :class:`Apart`.
        """
        return [
            {
                "panel": ": ".join(filter(None, (column.title, panel.name))),
                "setting": column.setting.label,
                "norm": one.curve.norm,
                "end": end,
                "log": panel.log,
                **asdict(apart),
            }
            for column in self.columns
            for panel in column.panels
            for one in panel.published
            for end, apart in zip(("",) if len(one.ends) == 1 else ("low", "high"), one.ends, strict=True)
        ]

    def panels(self) -> list[PanelDisplay]:
        """Every panel, to be had alone."""
        return [
            PanelDisplay(
                setting=column.setting.label,
                name=": ".join(filter(None, (column.title, panel.name))),
                draw_on=partial(draw_alone, panel, column.setting, column.title, self.bands),
                numbers=partial(lambda column, panel: _joined(_rows(column, panel)), column, panel),
            )
            for column in self.columns
            for panel in column.panels
        ]


def _joined(rows: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=NO_NUMBERS)


def _rows(column: Column, panel: Panel) -> list[pd.DataFrame]:
    start = {**described(column.setting), "column": column.title, "quantity": panel.name, "unit": panel.unit}
    ends = [("", curve) for curve in panel.curves]
    ends += [(which, end) for band in panel.bands for which, end in (("low", band.low), ("high", band.high))]
    rows = [
        pd.DataFrame(
            {
                **start,
                "curve": " ".join(filter(None, (curve.label, which))),
                "norm": curve.norm,
                panel.over.column: curve.steps,
                "median": curve.median,
                "min": curve.least,
                "max": curve.greatest,
                "runs": (~np.isnan(curve.each)).sum(axis=0),
                "diverged": len(curve.diverged),
                **{f"run_{i}": values for i, values in enumerate(curve.each)},
            }
        )
        for which, curve in ends
    ]
    if (cells := panel.cells) is not None:
        for place, up in enumerate(cells.up):
            about = {"curve": f"{cells.label} {up:g}", "norm": cells.norm, panel.over.column: cells.across}
            ends_of_cells = {"median": cells.median, "min": cells.least, "max": cells.greatest, "runs": cells.seeds}
            rows.append(pd.DataFrame({**start, **about, **{key: own[place] for key, own in ends_of_cells.items()}}))
    for one in panel.published:
        ends_of = ("",) if len(one.distances) == 1 else ("low", "high")
        for which, values, distance in zip(ends_of, (one.curve.low, one.curve.high), one.distances, strict=False):
            about = {"curve": f"published {which}".strip(), "norm": one.curve.norm, "step": one.curve.steps}
            rows.append(pd.DataFrame({**start, **about, "median": values, "distance": distance}))
    for line in panel.expected:
        about = {"curve": line.label, "norm": "", panel.over.column: line.steps}
        rows.append(pd.DataFrame({**start, **about, "median": line.values}))
    return [row for row in rows if len(row)]


def described(setting: Setting) -> dict[str, object]:
    """What tables say of a setting."""
    values = setting.values
    return {"setting": setting.label, **{key: values[key] for key in ("data", "model", "optim.lr") if key in values}}
