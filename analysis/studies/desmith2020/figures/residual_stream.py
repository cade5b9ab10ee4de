"""Second moment of what leaves each residual block at initialisation."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.panel import Curve, Over, Panel, curve, panel
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.runs import Runs
from analysis.select import Setting, known_and_norms
from analysis.studies.desmith2020.claims import ARMS, RATE
from analysis.studies.desmith2020.own_measures import FEWEST_BLOCKS, stream

TITLE = "Second moment of what leaves each residual block, at initialisation"
CAPTION = (
    "Mean square over samples and units of the sum in which each residual block ends, at step 0, over the blocks; "
    "median over seeds (thin: each seed)."
)
EXPECTED = "It doubles with each block without normalisation and grows linearly with BN (DS1); undone, it stays."
OVER = Over("block", "residual block")


def compute(runs: Runs) -> Sheet:
    """Every setting that records it of enough blocks."""
    known = {run: values for run, values in stream(runs).items() if len(values) >= FEWEST_BLOCKS}
    found = drawn_settings(
        runs,
        arms=known_and_norms(runs, ARMS),
        free=(RATE,),
        where=lambda setting: bool(set(known) & set(setting.arm_of())),
    )
    columns = [Column(setting, (_panel(setting, known),)) for setting in found.drawn]
    return found.sheet(columns, "no second moments of a residual stream\n(probes=representations, places=[stream])")


def _panel(setting: Setting, known: dict[str, np.ndarray]) -> Panel:
    curves: list[Curve] = []
    for arm in setting.names:
        by_seed: dict[str, str] = {}  # at step 0 all rates are one network
        for run in setting.of[arm]:
            if run in known:
                by_seed.setdefault(f"seed {setting.runs.each['seed'][run]}", run)
        frames = [
            pd.DataFrame({"run": seed, "step": range(1, len(values) + 1), "value": values})
            for seed, run in by_seed.items()
            for values in [known[run]]
        ]
        if frames:
            curves.append(curve(arm, pd.concat(frames), setting, over=OVER))
    return panel("second moment", setting, unit="activation²", scale="log", over=OVER, curves=tuple(curves))


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, across=3, tall=1.5)
