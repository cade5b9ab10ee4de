"""Outliers of the Hessian's spectrum over training, and the gradient's share in their span."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.panel import Panel, curves, of_setting, panel
from analysis.drawing.rows import TRAINING_LOSS
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting, known_and_norms
from analysis.studies.ghorbani2019.claims import BATCH, NONE, POPULATION, RUNNING
from analysis.studies.ghorbani2019.own_measures import HELD, RANK, ratios, shares

TITLE = "Outliers of the Hessian's spectrum over training"
CAPTION = (
    f"First over {RANK}th largest eigenvalue of the Hessian of a fixed batch, with the batch's statistics moving with "
    f"the weights and held as constants; the gradient's share in the span of the first {RANK} eigenvectors; the "
    "training loss. At the probed steps; thin: each seed."
)
EXPECTED = (
    "Without BN the first eigenvalue stands further out (GH1) and the gradient lies in the span (GH2); with the "
    "statistics held BN's outliers are back (GH3); trained by others than the batch's the gradient is there again "
    "(GH4, GH5)."
)


def compute(runs: Runs) -> Sheet:
    """Every setting that records ten eigenvalues on a fixed batch."""
    recording = set(ratios(runs, "fixed")["run"].astype(str))
    found = drawn_settings(
        runs,
        arms=known_and_norms(runs, (NONE, BATCH, POPULATION, RUNNING)),
        where=lambda setting: bool(recording & set(setting.runs.each.index)),
    )
    columns = [
        Column(
            setting,
            (
                _panel("λ₁ / λ₁₀", setting, ratios(runs, "fixed"), scale="log"),
                _panel("λ₁ / λ₁₀, statistics held", setting, ratios(runs, HELD), scale="log"),
                _panel("gradient in the first ten", setting, shares(runs)),
                replace(TRAINING_LOSS.panel(runs, setting), context=True),
            ),
        )
        for setting in found.drawn
    ]
    return found.sheet(columns, "no ten eigenvalues of a fixed batch\n(probes=spectrum)")


def _panel(name: str, setting: Setting, rows: pd.DataFrame, **options: str) -> Panel:
    return panel(name, setting, unit="1", curves=curves(of_setting(rows, setting), setting), **options)


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
