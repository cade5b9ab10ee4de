"""Weight decay and norms: which weights decay, whose norms are mimicked, what decides, and what the figure draws."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import experiments
from analysis.ledger import judge
from analysis.studies.hoffer2018 import claims
from analysis.studies.hoffer2018.figures import decay_and_norms as figure
from experiments.building import build_training
from experiments.configuration import plain_config
from experiments.data import load_data
from experiments.errors import WrongInput
from experiments.runs.records import ProbeRecorder
from experiments.train import Training, train_step
from tests.made_table import BASE, made, row

QUICK = ["steps=30", "model.widths=[12,12]", "data.subset=64", "data.test_subset=20", "optim.batch_size=16"]
QUICK += [
    "data.label_noise=0",
    "seed=3",
    "evaluation.every=10",
    "probes.every=1",
    "norm.eps=1e-12",
    "probes.fixed_batch=20",
]
HIDDEN = ["fc1.layer.weight", "fc2.layer.weight"]
DECAY = 0.005

# ---------------------------------------------------------------------------------------------------- the experiments


def composed(experiment: str, arm: str, folder: Path, *more: str) -> Any:
    chosen = [f"experiment=hoffer2018/{experiment}", f"arm={arm}", f"runs_dir={folder}", *QUICK, *more]
    return experiments.compose(chosen)


def training(arm: str) -> Training:
    config = plain_config(composed("decay", arm, Path("none")))
    data = load_data(config["data"], config["seed"], config["optim"]["batch_size"], torch.device("cpu"))
    return build_training(config, data, torch.device("cpu"), ProbeRecorder())


@pytest.mark.parametrize(("arm", "decays"), [("on", [*HIDDEN, "head.layer.weight"]), ("off", ["head.layer.weight"])])
def test_by_arm_the_normalised_weights_decay_and_the_last_ones_do_in_each(arm: str, decays: list[str]) -> None:
    run = training(arm)
    batch = run.data.batch(0)
    start = {name: p.detach().clone() for name, p in run.network.named_parameters()}
    loss = torch.nn.functional.cross_entropy(run.network(batch.inputs), batch.targets)
    slopes = dict(zip(start, torch.autograd.grad(loss, list(run.network.parameters())), strict=True))
    train_step(run, run.network, batch)
    for name, parameter in run.network.named_parameters():
        decay = DECAY * start[name] if name in decays else 0.0
        torch.testing.assert_close(parameter.detach(), start[name] - 0.1 * (slopes[name] + decay), rtol=0, atol=2e-7)
        assert float((0.1 * DECAY * start[name]).abs().max()) > 2e-6 or name not in HIDDEN  # which would be seen


def norms(folder: Path, weight: str) -> np.ndarray:
    """(steps, channels)"""
    with np.load(folder / "arrays.npz") as arrays:
        return np.asarray(arrays[f"dynamics/channel_norms.{weight}/values"])


def last(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = torch.load(folder / "checkpoint.pt", weights_only=True)["network"]
    return found


def test_in_the_order_of_the_study_each_arm_has_the_norms_or_the_rates_of_the_run_of_its_seed(tmp_path: Path) -> None:
    """A decay large enough to be seen within a few steps, by which an arm can be told from one that does nothing."""
    much = ("optim.weight_decay=0.1", "steps=60")
    own = {}
    for experiment, arm in (("decay", "on"), ("decay", "off"), ("mimicry", "corrected"), ("mimicry", "schedule")):
        own[arm] = experiments.run(composed(experiment, arm, tmp_path, *much)).path
    for weight in HIDDEN:
        there = norms(own["on"], weight)
        np.testing.assert_allclose(norms(own["schedule"], weight), there, rtol=1e-5)
        assert (norms(own["off"], weight)[-1] > 1.5 * there[-1]).all()
        assert (norms(own["corrected"], weight)[-1] > 1.5 * there[-1]).all()
    ends = {arm: last(path) for arm, path in own.items()}

    def apart(arm: str) -> float:
        """Root mean square, over the rows of the hidden weights, of the angle to that of the run with decay."""
        pairs = [(ends[arm][name], ends["on"][name]) for name in HIDDEN]
        cosines = torch.cat([torch.nn.functional.cosine_similarity(one, other, dim=1) for one, other in pairs])
        return float(cosines.clamp(-1, 1).arccos().square().mean().sqrt())

    assert apart("corrected") < 0.5 * apart("off")
    assert apart("schedule") < 0.5 * apart("off")


def test_without_the_run_of_its_seed_an_arm_is_refused_in_one_line(tmp_path: Path) -> None:
    experiments.run(composed("decay", "on", tmp_path, "seed=4"))
    with pytest.raises(WrongInput, match=r"^optim.norms_file=.*hoffer2018-on-demo-noise0-seed3/arrays.npz: cannot be"):
        experiments.run(composed("mimicry", "corrected", tmp_path))


# ------------------------------------------------------------------------------------------------------------- verdicts

LOSSES = {claims.ON: 0.3, claims.OFF: 0.4, claims.CORRECTED: 0.34, claims.SCHEDULE: 0.36}


def runs_of(losses: Any, accuracy: Any = None, sizes: Any = None) -> Any:
    """Six seeds of each arm, with some noise of the seeds that all arms share, and some of their own."""
    trained, facts, rows = {}, {}, []
    for (place, (arm, loss)), seed in itertools.product(enumerate(losses.items()), range(6)):
        run = f"{arm.name}-{seed}"
        trained[run] = {**BASE, "optim.weight_decay": DECAY, **dict(arm.where)}
        facts[run] = {"seed": seed}
        shared, alone = 1 + 0.02 * seed, 1 + 0.002 * ((seed + place) % 3)
        for step in range(0, 120, 5):
            rows.append(row(run, step, "data_loss", loss * shared * alone, batch="test", probe="training"))
            right = (accuracy or {}).get(arm, 0.9) + 0.001 * ((seed + place) % 2)
            rows.append(row(run, step, "accuracy", right, batch="test", probe="training"))
            rows += [row(run, step, "weight_norm", (sizes or {}).get(arm, 2.0) * alone, layer=x) for x in ("a", "b")]
    return made(rows, trained, facts)


def words(runs: Any) -> dict[str, str]:
    return {verdict.claim.name: verdict.word for verdict in judge(runs, claims.CLAIMS)}


def test_more_than_half_of_the_gain_must_be_there_and_only_where_there_is_one() -> None:
    sizes = {claims.ON: 1.0, claims.CORRECTED: 2.0}
    said = words(runs_of(LOSSES, sizes=sizes))
    assert said == {
        "HO1": "supported",
        "HO2": "supported",
        "HO3": "supported",
        "HO4": "contradicted",
        "HO5": "supported",
    }
    said = words(runs_of({**LOSSES, claims.OFF: 0.301}, sizes=sizes))
    assert said["HO1"] == "no difference"
    assert {said[name] for name in ("HO2", "HO3", "HO4")} == {"undecided"}


def test_half_a_point_to_either_side_is_as_good() -> None:
    for points, word in (
        (0.003, "supported"),
        (-0.003, "supported"),
        (0.009, "contradicted"),
        (-0.009, "contradicted"),
    ):
        assert words(runs_of(LOSSES, {claims.CORRECTED: 0.9 + points}))["HO2"] == word


# ----------------------------------------------------------------------------------------------------------- the figure


def test_the_figure_draws_the_median_layer_of_each_arm() -> None:
    sizes = {arm: 1.0 + place for place, arm in enumerate(claims.ARMS)}
    (column,) = figure.compute(runs_of(LOSSES, sizes=sizes)).columns
    loss, _, size = column.panels
    for panel, expected in ((loss, LOSSES), (size, sizes)):
        drawn = {curve.norm: float(curve.median[-1]) for curve in panel.curves}
        assert drawn == {arm.name: pytest.approx(value, rel=0.08) for arm, value in expected.items()}
