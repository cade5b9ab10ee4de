"""The training loss, averaged over twenty steps, and the norm of the weights over training."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.panel import Panel, curves, of_setting, panel
from analysis.drawing.rows import unit_of
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Arm, Setting, known_and_norms
from analysis.studies.lobacheva2021.claims import INVARIANT, PLAIN
from analysis.studies.lobacheva2021.own_measures import BLOCK, norms

TITLE = "Periodic jumps of the training loss (Lobacheva et al. 2021)"
CAPTION = (
    "Training loss of the mini-batches, averaged over 20 steps in a row, and the norm of all trained weights taken as "
    "one vector. Seeds jump at times of their own, so that thin lines (each seed) show what their median does not."
)
EXPECTED = (
    "With weight decay the loss of scale-invariant networks jumps where the norm is least, at intervals of about "
    "1 / (2 lr decay) (LB1 to LB3); without decay, and without normalisation, it does not (LB4, LB5)."
)
NONE = Arm("none", PLAIN.where)
"""Called by its norm, as in other figures."""


def compute(runs: Runs) -> Sheet:
    """Every setting that records norms of weights; the losses of a stretch are those of it that were recorded."""
    losses, lengths = _averaged(runs), norms(runs)
    drawn = losses.keys() & lengths.keys()
    found = drawn_settings(
        runs,
        arms=known_and_norms(runs, (INVARIANT, NONE)),
        where=lambda setting: bool(drawn & set(setting.runs.each.index)),
    )
    unit = unit_of(runs.records("data_loss", "train"))
    columns = [
        Column(
            setting,
            (
                _panel(setting, "training loss over 20 steps", {run: losses[run] for run in drawn}, unit),
                _panel(setting, "norm of the weights", {run: lengths[run] for run in drawn}, "parameter"),
            ),
        )
        for setting in found.drawn
    ]
    return found.sheet(columns, "no norms of weights\n(probes=dynamics)")


def _averaged(runs: Runs) -> dict[str, pd.Series]:
    rows = runs.records("data_loss", "train", "training")
    means = rows.groupby([rows["run"].astype(str), rows["step"].astype(int) // BLOCK * BLOCK], observed=True)["value"]
    return {str(run): own.droplevel(0) for run, own in means.mean().groupby(level=0)}


def _panel(setting: Setting, name: str, lines: Mapping[str, pd.Series], unit: str) -> Panel:
    rows = [
        pd.DataFrame({"run": run, "step": line.index.to_numpy(dtype=int), "value": line.to_numpy(dtype=float)})
        for run, line in lines.items()
    ]
    empty = pd.DataFrame({"run": [], "step": [], "value": []})
    frame = of_setting(pd.concat(rows, ignore_index=True) if rows else empty, setting)
    return panel(name, setting, unit=unit, scale="log", curves=curves(frame, setting))


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, across=3, tall=1.0)
