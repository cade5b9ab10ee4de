"""Rows of panels that several figures share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import derived
from analysis.drawing.panel import Panel, curves, of_setting, panel
from analysis.runs import Runs
from analysis.select import Setting


@dataclass(frozen=True)
class Row:
    """A metric of the built-in evaluation."""

    name: str
    metric: str
    batch: str
    accuracy: bool = False

    def panel(self, runs: Runs, setting: Setting, wanted: Sequence[str] = ()) -> Panel:
        """Its panel; losses on a logarithmic axis, without the penalty."""
        frame = of_setting(runs.records(self.metric, self.batch, "training"), setting)
        scale = "accuracy" if self.accuracy else "log"
        return panel(self.name, setting, wanted, unit=unit_of(frame), scale=scale, curves=curves(frame, setting))


TRAINING_ACCURACY = Row("training accuracy", "accuracy", "train", accuracy=True)
TEST_ACCURACY = Row("test accuracy", "accuracy", "test", accuracy=True)
TRAINING_LOSS = Row("training loss", "data_loss", "train")
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


def step_lengths(runs: Runs, metric: str, setting: Setting, grid: Sequence[float]) -> tuple[pd.DataFrame, str]:
    """The rows of a landscape metric on a published grid, or else on all of the recorded one; and which it is."""
    frame = derived.along_line(of_setting(runs.records(metric), setting))
    if not len(frame):
        return frame, ""
    part = on_grid(frame, grid)
    if part is not None:
        return part, f"the published step lengths {', '.join(f'{m:g}' for m in grid)} × lr"
    there = np.unique(frame["x"])
    return frame, f"step lengths {', '.join(f'{m:g}' for m in there)} × lr (the published grid is not recorded)"


def lengths_told(told: Mapping[str, str]) -> tuple[str, ...]:
    """Notes on the step lengths (as `step_lengths` words them) of settings, by their labels; once where they agree."""
    words = {label: said for label, said in told.items() if said}
    if len(set(words.values())) < 2:
        return tuple(words.values())[:1]
    return tuple(f"{label}: {said}" for label, said in words.items())
