"""The suite against a script that shares nothing with it: what each domain's own statistics bring back."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

import experiments
from tests.independent.two_domains import HALF, STEPS, WIDTH, recovery

SEEDS = range(6)


def of_the_suite(folder: Path, seed: int, *chosen: str) -> dict[str, Any]:
    """The last numbers of a run of experiment=irpan2017/many_seeds."""
    config = experiments.compose(["experiment=irpan2017/many_seeds", f"seed={seed}", f"runs_dir={folder}", *chosen])
    assert (config.steps, config.optim.batch_size, list(config.model.widths)) == (STEPS, 2 * HALF, [WIDTH, WIDTH])
    path = experiments.run(config).path
    final: dict[str, Any] = json.loads((path / "status.json").read_text())["final"]
    return final


@pytest.mark.long
def test_own_statistics_bring_back_as_much_in_the_suite_as_in_a_script_of_its_own(tmp_path: Path) -> None:
    """Other images are in the test set, blocks in another order and other draws: shares recovered agree within 0.1."""
    shares = []
    for seed in SEEDS:
        joint = of_the_suite(tmp_path, seed, "arm=joint")
        separate = of_the_suite(tmp_path, seed, "arm=separate")
        shared = separate["test_accuracy"]
        assert shared < joint["test_accuracy"] - 0.05
        shares.append((separate["test_accuracy_domain"] - shared) / (joint["test_accuracy"] - shared))
    script = [(own - shared) / (joint - shared) for joint, shared, own in recovery(SEEDS)]
    for found in (shares, script):
        assert min(found) > 0.8
    assert statistics.median(shares) == pytest.approx(statistics.median(script), abs=0.1)
