"""Numbers of layers over depth: each where it belongs."""

from __future__ import annotations

import numpy as np

from analysis.drawing.over_layers import over_layers
from analysis.drawing.panel import Over
from analysis.select import settings
from tests.made_table import BASE, made, row


def test_layers_are_counted_from_one_and_runs_under_way_are_left_out() -> None:
    facts = {"a": {"seed": 0}, "b": {"seed": 1}, "c": {"seed": 2, "state": "running"}}
    runs = made([row(run, 0, "m", 1.0) for run in facts], dict.fromkeys(facts, BASE), facts)
    (setting,) = settings(runs)
    values = {"a": np.array([1.0, 3.0, 5.0]), "b": np.array([3.0, 5.0, 9.0]), "c": np.array([9.0, 9.0, 9.0])}
    (drawn,) = over_layers(setting, "m", values, "linear", Over("layer", "layer")).curves
    assert drawn.steps.tolist() == [1, 2, 3]
    assert drawn.median.tolist() == [2.0, 4.0, 7.0]
