"""Where batch normalisation stands, and which part of it: the last layer of this paper is the network's output."""

from __future__ import annotations

from typing import Any

from analysis.runs import Runs
from analysis.select import NORM, Arm, plain

AT = "model.norm_at"


def _at(name: str, place: str | None, **options: Any) -> Arm:
    parts = {"norm.center": True, "norm.scale": True} | {f"norm.{key}": value for key, value in options.items()}
    return Arm.of(name, {"norm": "batch", AT: place, **parts})


NONE = Arm.of("none", {"norm": "none", AT: None})
HIDDEN = _at("all hidden", None)
LAST_HIDDEN = _at("last hidden", "last_hidden")
ALL_BUT_LAST = _at("all hidden but the last", "all_but_last")
FIRST_HIDDEN = _at("first hidden", "fc1")
OUTPUT = _at("output", "output")
ALL = _at("all and output", "all")
OUTPUT_CENTRING = _at("output, centring only", "output", scale=False)
OUTPUT_SCALING = _at("output, scaling only", "output", center=False)
HIDDEN_CENTRING = _at("all hidden, centring only", None, scale=False)
ARMS = (NONE, HIDDEN, LAST_HIDDEN, ALL_BUT_LAST, FIRST_HIDDEN, OUTPUT, ALL)
PARTS = (OUTPUT_CENTRING, OUTPUT_SCALING, HIDDEN_CENTRING)


def placed(runs: Runs) -> list[Arm]:
    """The arms above, and one for each other normalisation and placement that was run."""
    known = [*ARMS, *PARTS]
    taken = {run for arm in known for run in arm.runs(runs)}
    others: dict[str, Arm] = {}
    for run in runs.each.index:
        if run not in taken:
            norm, place = runs.label_of(run), runs.value(run, AT)
            name = norm if place is None else f"{norm} ({plain(place)})"
            others.setdefault(name, Arm.of(name, {NORM: norm, AT: place}))
    return [*known, *others.values()]
