"""Hyperplanes between samples: the measures against loops, and what the figure draws of which layers."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import pytest

from analysis.ledger import judge
from analysis.select import Ambiguous
from analysis.studies.balestriero2022.claims import BATCH, CENTRING, CLAIMS, LAYER, NONE, OWN
from analysis.studies.balestriero2022.figures import hyperplanes as figure
from analysis.studies.balestriero2022.own_measures import beyond_first
from tests.made_table import BASE, made, row

NETWORK = {"model": "mlp", "model.initialisation": "he", "model.activation": "relu", "steps": 0}
NAMES = [f"fc{i + 1}" for i in range(11)]
"""Of which fc10 and fc11 come before fc2 in the alphabet."""


def line(run: str, metric: str, values: list[float], batch: str = "segments") -> list[dict[str, Any]]:
    return [row(run, 0, metric, v, layer=name, batch=batch) for name, v in zip(NAMES, values, strict=False)]


def test_the_first_layer_does_not_count_and_the_start_alone_does() -> None:
    draw = random.Random(0)
    values = {run: [draw.random() for _ in range(count)] for run, count in (("a", 11), ("b", 2), ("c", 1))}
    rows = [one for run, own in values.items() for one in line(run, "m", own)]
    rows += line("a", "m", [9.0] * 11, batch="train")
    rows += [{**one, "step": 5, "value": 7.0} for one in line("a", "m", values["a"])]
    found = beyond_first("m", "m").of(
        made(rows, dict.fromkeys("abc", BASE), {r: {"seed": i} for i, r in enumerate("abc")})
    )
    expected = {run: sum(own[1:]) / (len(own) - 1) if len(own) > 1 else math.nan for run, own in values.items()}
    assert found.to_dict() == pytest.approx(expected, nan_ok=True)


def test_segments_of_two_numbers_of_points_are_not_taken_for_more_layers() -> None:
    rows = [one for _ in range(2) for one in line("a", "m", [1.0, 2.0])]
    with pytest.raises(Ambiguous, match="two probes of a run recorded m of one layer"):
        beyond_first("m", "m").of(made(rows, {"a": BASE}, {"a": {"seed": 0}}))


def runs_of(changes: dict[Any, float], **keys: Any) -> Any:
    """Six seeds of each arm, of so many sign changes in each layer but the first."""
    rows, ran, facts, defaults = [], {}, {}, {}
    for (arm, count), seed in itertools.product(changes.items(), range(6)):
        run, where = f"{arm.name}-{seed}", dict(arm.where)
        ran[run] = {**{k: v for k, v in BASE.items() if not k.startswith("norm.")}, **NETWORK, **keys, **where}
        defaults[run] = {}
        if where["norm"] == "batch":
            defaults[run] = {"norm.statistics": "batch", "norm.scale": True}
            ran[run] = {**defaults[run], **ran[run]}
        facts[run] = {"seed": seed}
        rows += line(run, "sign_changes", [100.0, *[count * (1 + 1e-4 * seed)] * 3])
        rows += line(run, "constant_sign_share", [0.0, *[0.2 if count < 1 else 0.0] * 3])
        rows += line(run, "hyperplane_distance", [0.5] * 5 if arm in (NONE, OWN) else [0.7], batch="train")
    return made(rows, ran, facts, defaults)


SEEN = {NONE: 0.5, LAYER: 0.5, BATCH: 1.0, CENTRING: 1.0, OWN: 1.0}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, {"HP1": "supported", "HP2": "supported", "HP3": "supported", "HP4": "supported"}),
        ({BATCH: 0.55}, {"HP1": "no difference", "HP3": "contradicted", "HP4": "no difference"}),
        ({LAYER: 0.7}, {"HP2": "contradicted", "HP1": "supported"}),
        ({CENTRING: 0.7}, {"HP3": "contradicted"}),
    ],
)
def test_every_arm_is_compared_with_the_one_that_it_is_meant_for(changed: Any, words: dict[str, str]) -> None:
    verdicts = {v.claim.name: v.told for v in judge(runs_of({**SEEN, **changed}), CLAIMS)}
    assert {name: verdicts[name] for name in words} == words
    assert verdicts["HP5"] == "not run"


def test_tanh_is_a_claim_of_its_own() -> None:
    verdicts = {v.claim.name: v.told for v in judge(runs_of(SEEN, **{"model.activation": "tanh"}), CLAIMS)}
    assert verdicts["HP5"] == "contradicted"
    assert {verdicts[name] for name in ("HP1", "HP2", "HP3", "HP4")} == {"not run"}


def test_the_figure_draws_hidden_layers_and_no_distance_of_the_last_alone() -> None:
    (column,) = figure.compute(runs_of(SEEN)).columns
    drawn = [{curve.norm: curve.median.tolist() for curve in panel.curves} for panel in column.panels]
    assert set(drawn[0]) == {arm.name for arm in SEEN}
    assert drawn[0]["batch"] == pytest.approx([100.0, 1.0, 1.0, 1.0], rel=1e-3)
    assert drawn[1]["none"] == [0.0, 0.2, 0.2, 0.2]
    assert drawn[2] == {NONE.name: [0.5] * 4, OWN.name: [0.5] * 4}
