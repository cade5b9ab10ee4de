"""The study of population normalisation: whose arms are whose, and what its figure draws."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from analysis.runs import Runs
from analysis.select import plain
from analysis.studies.luo2019.arms import ARMS, BATCHES, DECAYED, STRENGTH
from analysis.studies.luo2019.figures import whose_statistics
from tests.made_table import BASE, made, row
from tests.pages import ROOT

RATES = (0.1, 1.0)
DEFAULTS = {"norm.statistics": "batch", "norm.detach": "none"}


def runs() -> Runs:
    """Each arm at two rates, batches of 8 and two seeds; another normalisation beside."""
    rows: list[dict[str, Any]] = []
    trained, facts, defaults = {}, {}, {}
    whose = [(arm.name, dict(arm.where)) for arm in ARMS if arm not in list(DECAYED.values())[1:]]
    for place, (name, where) in enumerate([*whose, ("mine", {"norm": "mine", "optim.groups": "[]"})]):
        for rate in RATES:
            for seed in range(2):
                run = f"{name}-{rate}-{seed}"
                trained[run] = {**BASE, **where, "optim.lr": rate, "optim.batch_size": 8}
                facts[run], defaults[run] = {"seed": seed}, DEFAULTS
                for metric in ("accuracy", "data_loss"):
                    value = 0.1 * place + 0.01 * seed + 0.001 * rate
                    rows.append(row(run, 20, metric, value, batch="test, whole_set", point="population statistics"))
                    rows.append(row(run, 20, metric, 0.5, batch="test"))
    return made(rows, trained, facts, defaults)


def test_the_figure_draws_each_arm_over_the_rates_under_its_name() -> None:
    (column,) = whose_statistics.compute(runs()).columns
    names = ["batch", "population", "population, no gradient", f"population, gamma decay {STRENGTH / 8:g}"]
    for panel in column.panels[:2]:
        assert {curve.norm for curve in panel.curves} == {*names, "mine"}
        for curve in panel.curves:
            place = [*names, "mine"].index(curve.norm)
            assert curve.steps.tolist() == list(RATES)
            expected = [[0.1 * place + 0.01 * seed + 0.001 * rate for rate in RATES] for seed in range(2)]
            assert curve.each.tolist() == [pytest.approx(one) for one in expected], "by the whole set, not the running"
    assert column.panels[2].missing, "no training loss is recorded in these"


def test_the_experiment_runs_the_arms_of_the_claims() -> None:
    """One constant over the size of batches, in every arm that decays."""
    file = yaml.safe_load((ROOT / "conf" / "experiment" / "luo2019" / "population.yaml").read_text())
    arms = file["hydra"]["sweeper"]["arms"]
    for m in BATCHES:
        overrides = dict(text.split("=", 1) for text in arms[f"decayed_{m}"])
        assert int(overrides["optim.batch_size"]) == m
        (group,) = yaml.safe_load(overrides["optim.groups"])
        assert group == {"match": "gamma", "decay": STRENGTH / m}
        assert dict(DECAYED[m].where)["optim.groups"] == plain([group])
