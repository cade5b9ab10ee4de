"""Steps to learn over how alike samples are at initialisation, by normalisation."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.decide.ranks import spearman
from analysis.drawing.draw import sized
from analysis.drawing.panel import Curve, Over, Panel, curve, panel
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.measures import steps_to_learn
from analysis.runs import Runs
from analysis.select import Setting
from analysis.studies.lubana2021.own_measures import COSINES, initial_cosine
from analysis.usable import usable

TITLE = "Steps to learn, by how alike samples are at initialisation"
CAPTION = (
    "First step with 90 % training accuracy, over the mean cosine of pairs of samples after the last hidden layer at "
    "initialisation: a point for each normalisation, both medians over seeds; a run that has ended without it counts "
    "its whole length."
)
EXPECTED = "The more alike samples are, the more steps (LU1, within one family; over families it is shown, not judged)."
ALIKE = Over("initial_cosine", "mean cosine at initialisation")


def compute(runs: Runs) -> Sheet:
    """Every setting that knows how alike samples are; first those with the most normalisations."""
    recorded = runs.recording(COSINES, "train")
    found = drawn_settings(
        runs,
        about={"task": "classification"},
        where=lambda setting: bool(recorded & set(setting.runs.each.index)),
        first=lambda setting: len(setting.names) > 2,
    )
    columns = [Column(setting, (_panel(setting),)) for setting in found.drawn]
    return found.sheet(columns, "no cosines of samples are recorded\nin these runs")


def _panel(setting: Setting) -> Panel:
    steps, cosine = steps_to_learn(), initial_cosine()
    curves: list[Curve] = []
    notes: list[str] = []
    points = {}
    for arm in setting.names:
        own, left = usable(setting.runs.only(setting.of[arm]), steps, arm)
        notes += left
        alike, counted = cosine.of(own), steps.of(own)
        both = alike.notna() & counted.notna()
        if not both.any():
            continue
        points[arm] = float(alike[both].median()), float(counted[both].median())
        frame = pd.DataFrame({"run": counted.index[both], "step": points[arm][0], "value": counted[both].to_numpy()})
        curves.append(curve(arm, frame, setting, over=ALIKE))
    if len(points) > 2:
        across = pd.DataFrame(points.values(), columns=["cosine", "steps"])
        rho = spearman(across["cosine"].to_numpy(), across["steps"].to_numpy())
        notes.append(f"rank correlation over {len(points)} normalisations: {rho:.2f}")
    return panel(
        "steps to 90 % training accuracy",
        setting,
        unit="1",
        scale="log",
        over=ALIKE,
        curves=tuple(curves),
        notes=tuple(notes),
    )


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, across=3, tall=1.5)
