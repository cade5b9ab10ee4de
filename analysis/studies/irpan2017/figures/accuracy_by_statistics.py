"""Test accuracy by which samples share a batch and by the statistics of the test function."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.drawing.draw import sized
from analysis.drawing.panel import Curve, Over, Panel, curve, panel
from analysis.drawing.settings import drawn_settings
from analysis.drawing.sheet import Column, Sheet
from analysis.measures import final
from analysis.runs import Runs
from analysis.select import NORM, Arm, Setting, plain
from analysis.studies.irpan2017.arms import JOINT, MIXED, ORDER, OWN, SEPARATE
from analysis.usable import ended

TITLE = "Two domains: accuracy by the statistics of the test function"
CAPTION = (
    "Test accuracy at the end, of both domains and of each, by running statistics (1), by those of a mixed population "
    "(2), of each sample's own domain (3) and of the mixed test batch (4), as far as they were evaluated; median over "
    "seeds (thin: each seed)."
)
EXPECTED = (
    "Halves that are normalised apart (separate) lose by running statistics (PB1), a population brings part of it back "
    "and each domain's own nearly all (PB4); mixed batches (joint) lose by those (PB5)."
)
GROUPED = "data.grouped_by"
SOURCES = ("running", "population", "domain", "batch")
OVER = Over("statistics", "1 running, 2 population, 3 domain, 4 batch")
KNOWN = (JOINT, SEPARATE, OWN)
SHOWN = {"none", "batch", *(arm.name.split()[0] for arm in KNOWN)}
"""Without those of other orders and normalisations, which `accuracy_by_order` shows."""


def arms(runs: Runs) -> list[Arm]:
    """The arms of the claims, and one for every other normalisation and order of batches; mixed ones have no name."""
    found: dict[tuple[str, str, str], Arm] = {}
    for run in runs.each.index:
        values = {key: runs.value(run, key) for key in (NORM, ORDER, GROUPED)}
        told = values[NORM] if plain(values[ORDER]) in (MIXED, "none") else f"{values[NORM]}, {plain(values[ORDER])}"
        known = next((arm.name for arm in KNOWN if arm.holds(runs, run)), told)
        norm, order, grouped = map(plain, values.values())
        found.setdefault((norm, order, grouped), Arm.of(known, values))
    return list(found.values())


def compute(runs: Runs) -> Sheet:
    """Every setting that is evaluated by statistics of each domain's own."""
    batches = sorted(set(map(str, runs.table["batch"].unique()))) if len(runs.table) else []
    domains = [batch for batch in batches if batch.startswith("test_") and "," not in batch]
    own = runs.recording("accuracy", "test, domain")
    every = arms(runs)
    found = drawn_settings(
        runs,
        [arm.name for arm in every if "," not in arm.name and arm.name.split()[0] in SHOWN],
        arms=every,
        where=lambda setting: bool(own & set(setting.runs.each.index)),
    )
    columns = []
    for setting in found.drawn:
        there = [d for d in domains if runs.recording("accuracy", d) & set(setting.runs.each.index)]
        columns.append(Column(setting, tuple(_panel(setting, batch) for batch in ("test", *there))))
    return found.sheet(columns, "no test accuracy by statistics\nof each domain in these runs")


def _panel(setting: Setting, batch: str) -> Panel:
    curves: list[Curve] = []
    for arm in setting.names:
        own = ended(setting.runs.only(setting.of[arm]))
        parts = []
        for place, source in enumerate(SOURCES, 1):
            numbers = final("accuracy", batch, statistics=source).of(own).dropna()
            parts.append(pd.DataFrame({"run": numbers.index, "step": place, "value": numbers.to_numpy()}))
        frame = pd.concat(parts)
        if len(frame):
            curves.append(curve(arm, frame, setting, over=OVER))
    name = "test accuracy" if batch == "test" else f"test accuracy, {batch.removeprefix('test_').replace('_', ' ')}"
    return panel(name, setting, scale="accuracy", over=OVER, curves=tuple(curves))


def draw(data: Sheet, figure: Figure) -> None:
    """One column per setting on an empty figure with constrained layout, whose size is set."""
    sized(data, figure)
