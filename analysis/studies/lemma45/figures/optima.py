"""Angles from the initialisation to where training ends, less those of the plain network, neuron by neuron."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.panel import Curve, Over, Panel, curve, panel
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting
from analysis.studies.santurkar2018.optima import ANGLE

TITLE = "How much farther to turn with normalisation than without"
CAPTION = (
    "Angle between a neuron's weights at the start and at the end of training, less that of the same neuron without "
    "normalisation, over the neurons whose plain end lies within 90° of their start, in order; median over seeds "
    "(thin: each seed). Right of where a curve crosses 0 the bound of Lemma 4.5 is violated."
)
EXPECTED = (
    "0 for every neuron with centred inputs or a bias (L1, L2); without either, above 0 for a good part of them (L3)."
)
SHARES = np.linspace(0.0, 1.0, 41)
SHARE = Over("share", "share of the neurons")
PLAIN = "none"
MOST = 8


def compute(runs: Runs) -> Sheet:
    """Every setting whose runs record the angles of units; of several layers the first."""
    recorded = set(runs.recording(ANGLE, "train")) if ANGLE in runs.metrics() else set[str]()
    found = drawn_settings(runs, most=MOST, where=lambda setting: bool(recorded & set(setting.runs.each.index)))
    columns = [Column(setting, (_panel(setting),)) for setting in found.drawn]
    return found.sheet(columns, "no angles of units from the start\n(probes.use.dynamics.units=true)")


def _panel(setting: Setting) -> Panel:
    own = _angles(setting)
    seeds = setting.runs.each["seed"]
    plain = {seeds[run]: angles for run, angles in own.items() if setting.arm_of()[run] == PLAIN}
    curves: list[Curve] = []
    for arm in setting.names:
        parts = [
            pd.DataFrame({"run": run, "step": SHARES, "value": excess(plain[seeds[run]], own[run])})
            for run in setting.of[arm]
            if run in own and seeds[run] in plain
        ]
        if parts:
            curves.append(curve(arm, pd.concat(parts), setting, over=SHARE))
    return panel(
        "angle less that without normalisation", setting, (PLAIN,), unit="radian", over=SHARE, curves=tuple(curves)
    )


def _angles(setting: Setting) -> dict[str, np.ndarray]:
    """Run -> the angle of each unit of its first layer at the last probed step; of runs that have finished."""
    each = setting.runs.each
    rows = setting.runs.records(ANGLE, "train")
    found = {}
    for run, own in rows.groupby("run", observed=True):
        if each["state"][str(run)] != "finished":
            continue
        layer = str(own["layer"].iloc[0])
        for array in setting.runs.arrays(ANGLE, [str(run)], "train", [layer]).values():
            found[str(run)] = array.to_numpy().astype(float)[-1]
    return found


def excess(plain: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Quantiles, at `SHARES`, of the difference over the units whose plain angle is below 90 degrees."""
    spoken = plain < math.pi / 2
    if not spoken.any() or len(plain) != len(other):
        return np.full(len(SHARES), np.nan)
    found: np.ndarray = np.quantile(other[spoken] - plain[spoken], SHARES)
    return found


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, across=4)
