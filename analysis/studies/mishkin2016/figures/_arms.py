"""The arms of figures about the place of a normalisation."""

from __future__ import annotations

from analysis.runs import Runs
from analysis.select import NORM, Arm, plain

PLACE = "model.placement"


def arms(runs: Runs) -> list[Arm]:
    """Every normalisation in every place."""
    found: dict[str, Arm] = {}
    for run in runs.each.index:
        norm, place = runs.label_of(run), runs.value(run, PLACE)
        name = norm if place is None else f"{norm} ({plain(place)} activation)"
        found.setdefault(name, Arm.of(name, {NORM: norm, PLACE: place}))  # None is a place: no run is of two arms
    return list(found.values())
