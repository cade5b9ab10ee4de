"""Rows of panels that several figures share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.figures._runs import Runs
from analysis.figures._settings import Setting, ShownLayer, paper_layers
from analysis.figures._sheet import Panel, bands, beside_published, curves, of_setting, over_x, panel

# The grids of the published figures, in learning rates.
PAPER_GRID = {False: (0.5, 1.0, 2.0, 4.0), True: (0.01, 0.1, 1.0, 10.0, 31.6)}


@dataclass(frozen=True)
class Row:
    """A metric of the built-in evaluation."""

    name: str
    metric: str
    batch: str
    accuracy: bool = False

    def panel(self, runs: Runs, setting: Setting, wanted: Sequence[str] = (), published: str | None = None) -> Panel:
        """Its panel; losses of regression on a logarithmic axis. published: the paper's panel to draw beside it."""
        frame = of_setting(runs.records(self.metric, self.batch, "training"), setting)
        scale = "accuracy" if self.accuracy else "log" if setting.regression else "linear"
        made = panel(self.name, setting, wanted, unit=unit_of(frame), scale=scale, curves=curves(frame, setting))
        return made if published is None else beside_published(made, setting, published, log=scale == "log")


TRAINING_ACCURACY = Row("training accuracy", "accuracy", "train", accuracy=True)
TEST_ACCURACY = Row("test accuracy", "accuracy", "test", accuracy=True)
TRAINING_LOSS = Row("training loss", "loss", "train")
TEST_LOSS = Row("test loss", "data_loss", "test")


def unit_of(frame: pd.DataFrame) -> str:
    """The unit of a metric's rows."""
    return str(frame["unit"].iloc[0]) if len(frame) and isinstance(frame["unit"].iloc[0], str) else ""


def loss_unit(runs: Runs, setting: Setting) -> str:
    """The unit of the training loss, which the landscape's loss is."""
    return unit_of(of_setting(runs.records("loss", "train", "training"), setting)).partition(", ")[0]


# ------------------------------------------------------------------------------------------------------------ landscape


def on_grid(frame: pd.DataFrame, multiples: Sequence[float]) -> pd.DataFrame | None:
    """The rows at these step lengths (in learning rates); None where one of them is not recorded."""
    there = np.unique(frame["x"].dropna())
    if any(not np.isclose(there, multiple, rtol=0.01).any() for multiple in multiples):
        return None
    return frame[np.isclose(frame["x"].to_numpy()[:, None], multiples, rtol=0.01).any(axis=1)]


def step_lengths(runs: Runs, metric: str, setting: Setting) -> tuple[pd.DataFrame, str]:
    """The rows of a landscape metric on the paper's grid, or else on all of the recorded one; and which it is."""
    frame = of_setting(runs.records(metric), setting)
    frame = frame[frame["x"] > 0]
    if not len(frame):
        return frame, ""
    multiples = PAPER_GRID[setting.regression]
    part = on_grid(frame, multiples)
    if part is not None:
        return part, f"the paper's step lengths {', '.join(f'{m:g}' for m in multiples)} × lr"
    there = np.unique(frame["x"])
    return frame, f"step lengths {', '.join(f'{m:g}' for m in there)} × lr (the paper's grid is not recorded)"


def lengths_told(told: Mapping[str, str]) -> tuple[str, ...]:
    """Notes on the step lengths (as `step_lengths` words them) of settings, by their labels; once where they agree."""
    words = {label: said for label, said in told.items() if said}
    if len(set(words.values())) < 2:
        return tuple(words.values())[:1]
    return tuple(f"{label}: {said}" for label, said in words.items())


def landscape_panels(runs: Runs, setting: Setting, wanted: Sequence[str]) -> tuple[tuple[Panel, ...], str]:
    """Loss band, gradient-predictiveness band, effective beta: figures 4, 10, 12 and 13; and the step lengths."""
    published = wanted == PLAIN and not setting.regression
    panels = []
    told = ""
    for name, metric, key in (
        ("loss along −g", "landscape_loss", "fig4a_loss_band"),
        ("difference ‖g′ − g‖", "gradient_difference", "fig4b_gradient_predictiveness_band"),
    ):
        frame, words = step_lengths(runs, metric, setting)
        told = told or words
        unit = loss_unit(runs, setting) if metric == "landscape_loss" else unit_of(frame)
        made = panel(name, setting, wanted, unit=unit, scale="log", bands=bands(frame, setting))
        panels.append(beside_published(made, setting, key, log=True) if published else made)
    frame, _ = step_lengths(runs, "effective_beta", setting)
    largest = over_x(frame).rename(columns={"max": "value"})
    made = panel("effective β", setting, wanted, unit=unit_of(frame), scale="log", curves=curves(largest, setting))
    panels.append(beside_published(made, setting, "fig4c_effective_beta", log=True) if published else made)
    return tuple(panels), told


PLAIN = ("none", "batch")
NOISY = ("none", "batch", "noisy_batch")
LP = ("none", "batch", "l1", "l2", "linf")


# --------------------------------------------------------------------------------------------------------------- layers


def layers_of(runs: Runs, metric: str, setting: Setting, numbers: Sequence[int]) -> list[ShownLayer]:
    """Our layers for the paper's numbers, among those that a metric is recorded for."""
    frame = of_setting(runs.records(metric), setting)
    return paper_layers(frame["layer"].dropna().unique(), numbers, regression=setting.regression)


def into_activation(runs: Runs, metric: str, setting: Setting, batch: str = "train") -> pd.DataFrame:
    """Rows of `metric` of the normalisations' outputs; of layers without one, of the layers' own outputs."""
    after = of_setting(runs.records(f"{metric}_after_normalisation", batch), setting)
    before = of_setting(runs.records(f"{metric}_before_normalisation", batch), setting)
    if not len(after):
        return before
    keys = ["run", "layer"]
    normalised = set(map(tuple, after[keys].drop_duplicates().astype(str).to_numpy()))
    alone = [
        pair not in normalised for pair in zip(before["run"].astype(str), before["layer"].astype(str), strict=True)
    ]
    return pd.concat([after, before[alone]])
