"""Test and training accuracy over the learning rate, by how many samples of a batch are normalised together."""

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
from analysis.standard import ACCURACY, TEST_LOSS
from analysis.studies.summers2020.claims import GHOST, WHOLE

TITLE = "Ghost batches: batches normalised whole and in parts (Summers & Dinneen 2020, section 3.2)"
CAPTION = (
    "Final test accuracy, test loss (both by running statistics) and training accuracy over the learning rate, with "
    "batches of 128 normalised whole or 16 samples at a time; median over seeds (thin: each seed)."
)
EXPECTED = "On few training samples parts of 16 test better than whole batches, each at its own best rate (SD1)."
SHOWN: tuple[tuple[str, Measure, Scale], ...] = (
    ("final test accuracy", ACCURACY, "accuracy"),
    ("final test loss", TEST_LOSS, "log"),
    ("final training accuracy", final("accuracy", "train"), "accuracy"),
)
ARMS = (WHOLE, GHOST)


def compute(runs: Runs) -> Sheet:
    """Every setting in which batches were normalised in parts of 16, the learning rate free."""
    found = drawn_settings(
        runs,
        [arm.name for arm in ARMS],
        arms=known_and_norms(runs, ARMS),
        free=(RATE,),
        where=lambda setting: GHOST.name in setting.names,
        most=4,
    )
    columns = [Column(setting, tuple(over_rate(setting, *shown) for shown in SHOWN)) for setting in found.drawn]
    return found.sheet(columns, "no batches normalised\n16 samples at a time")


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
