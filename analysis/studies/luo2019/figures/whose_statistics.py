"""Test loss and accuracy over the learning rate, by whose statistics training normalised."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.panel import Scale
from analysis.drawing.rates import RATE, over_rate
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.measures import Measure, final
from analysis.runs import Runs
from analysis.select import known_and_norms
from analysis.standard import LOSS
from analysis.studies.luo2019.arms import ARMS

TITLE = "Statistics of the batch, of the population, and a decay of gamma (Luo et al. 2019)"
CAPTION = (
    "Test loss and test accuracy, both by the statistics of the whole training set, and final training loss over the "
    "learning rate; median over seeds (thin: each seed)."
)
EXPECTED = (
    "The batch's statistics end at a lower test loss than the population's (PN1), and a decay of gamma by a constant "
    "over the size of batches makes up for half of it (PN2)."
)
EVALUATION = "whole_set"
SHOWN: tuple[tuple[str, Measure, Scale], ...] = (
    ("test loss", final("data_loss", "test", statistics=EVALUATION), "log"),
    ("test accuracy", final("accuracy", "test", statistics=EVALUATION), "accuracy"),
    ("final training loss", LOSS, "log"),
)
WANTED = ("none", *(arm.name for arm in ARMS))


def compute(runs: Runs) -> Sheet:
    """Every setting that is evaluated by the whole training set's statistics, the learning rate free."""
    there = runs.recording("data_loss", f"test, {EVALUATION}")
    found = drawn_settings(
        runs,
        WANTED,
        arms=known_and_norms(runs, ARMS),
        free=(RATE,),
        where=lambda setting: bool(there & set(setting.runs.each.index)),
        most=4,
    )
    columns = [Column(s, tuple(over_rate(s, *shown) for shown in SHOWN)) for s in found.drawn]
    return found.sheet(columns, "no evaluations by the statistics\nof the whole training set")


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
