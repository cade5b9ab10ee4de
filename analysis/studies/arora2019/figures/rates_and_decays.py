"""Final training loss over learning rates; test error over products and over ratios of rate and decay."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.across import grid_of
from analysis.drawing.draw import sized
from analysis.drawing.panel import Curve, Over, Panel, curve, panel
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.measures import Measure, final
from analysis.runs import Runs
from analysis.select import Setting, known_and_others
from analysis.studies.arora2019.claims import APART, CLEAN_LEVEL, ERROR, INVARIANT, NOISY_LEVEL, PLAIN
from analysis.usable import usable

TITLE = "What trains at which learning rate, and what the test error goes by"
CAPTION = (
    "Training loss at the end over learning rates, at one weight decay (dotted: the level below which a run "
    "counts as trained); and, where both were varied, test error over learning rate × decay and over learning rate / "
    "decay, of runs with a decay above 0."
)
EXPECTED = (
    "Scale-invariant networks train over decades more (AR1), still more where the last gamma and beta have a rate of "
    "their own (AR2); the test error is a function of the product, and none of the ratio (AR5)."
)
RATE, DECAY = "optim.lr", "optim.weight_decay"
RATES = Over("log10_learning_rate", "log₁₀ learning rate")
PRODUCTS = Over("log10_product", "log₁₀ (learning rate × decay)")
RATIOS = Over("log10_ratio", "log₁₀ (learning rate / decay)")
FEWEST = 3
"""Learning rates, of a range."""


def compute(runs: Runs) -> Sheet:
    """Every setting of several learning rates, decays alike or not."""
    found = drawn_settings(
        runs,
        arms=known_and_others(runs, (INVARIANT, APART, PLAIN)),
        free=(RATE, DECAY),
        about={"task": "classification"},
        where=lambda setting: len(grid_of(setting.runs, (RATE,))[RATE]) >= FEWEST,
    )
    columns = [column for setting in found.drawn for column in _columns(setting)]
    return found.sheet(columns, "no runs of several\nlearning rates")


def _columns(setting: Setting) -> list[Column]:
    if len(grid_of(setting.runs, (DECAY,))[DECAY]) > 1:
        return [
            Column(setting, (_panel(setting, "test error", ERROR, over, at),), title)
            for title, over, at in (("by the product", PRODUCTS, 1), ("by the ratio", RATIOS, -1))
        ]
    return [Column(setting, (_panel(setting, "final training loss", final("data_loss", "train"), RATES, 0),))]


def _panel(setting: Setting, name: str, measure: Measure, over: Over, power: int) -> Panel:
    """Over log10(rate x decay ** power); runs of one seed at one place are averaged."""
    curves: list[Curve] = []
    notes: list[str] = []
    for arm in setting.names:
        own, left = usable(setting.runs.only(setting.of[arm]), measure, arm)
        notes += left
        if power:  # without a decay there is no ratio
            own = own.only([run for run in own.each.index if (own.value(run, DECAY) or 0) > 0])
        numbers = measure.of(own).replace([np.inf], np.nan)
        frame = pd.DataFrame(
            {
                "run": [f"seed {seed}" for seed in own.each["seed"]],
                "step": [round(_place(own.value, run, power), 6) for run in own.each.index],
                "value": numbers.to_numpy(),
            }
        )
        frame = frame.groupby(["run", "step"], as_index=False)["value"].mean()
        curves += [curve(arm, frame, setting, over=over)] if len(frame) else []
    noisy = float(setting.values.get("data.label_noise") or 0.0) > 0
    level = NOISY_LEVEL if noisy else CLEAN_LEVEL
    return panel(
        name,
        setting,
        unit="1" if power else "nats",
        scale="linear" if power else "log",
        over=over,
        curves=tuple(curves),
        levels=() if power else ((f"counts as trained below {level:g}", level),),
        notes=tuple(notes),
    )


def _place(value: Callable[[str, str], object], run: str, power: int) -> float:
    rate, decay = (float(str(value(run, key) or 0.0)) for key in (RATE, DECAY))
    return float(np.log10(rate) + (power * np.log10(decay) if power else 0.0))


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure, tall=1.4)
