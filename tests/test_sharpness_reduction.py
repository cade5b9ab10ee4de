"""The study of the spherical sharpness: its records against another library, its measures against plain loops."""

from __future__ import annotations

import math
import random
import statistics
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from scipy.sparse.linalg import eigsh
from torch import Tensor, nn

import experiments
from analysis.runs import Runs
from analysis.studies.lyu2022 import claims, own_measures
from analysis.studies.lyu2022.figures import spherical_sharpness
from experiments.data import load_data
from tests.made_table import BASE, made, row
from tests.pages import ROOT
from tests.runs import checkpoint

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what that library uses of torch
    from curvlinops import HessianLinearOperator

KEPT = (2, 5, 9)
SAMPLES, DECAY, RATE = 60, 0.01, 0.3

# ------------------------------------------------------------------------------------------ what the experiment records


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net of 64-12-8-10 of the experiment, its eigenvalues as exactly as they can be had."""
    chosen = ["experiment=lyu2022/great_decay", f"runs_dir={tmp_path_factory.mktemp('lyu')}", "model.widths=[12,8]"]
    chosen += ["steps=10", f"data.subset={SAMPLES}", f"probes.at={list(KEPT)}", f"checkpoint.keep={list(KEPT)}"]
    chosen += ["probes.dtype=float64", "probes.use.spectrum.tolerance=1e-8", "probes.use.spectrum.products=900"]
    chosen += ["probes.fixed_batch=32", f"optim.weight_decay={DECAY}", f"optim.lr={RATE}"]
    return Path(experiments.run(experiments.compose(chosen)).path)


def kept(path: Path, step: int) -> dict[str, Tensor]:
    state = torch.load(path / "kept" / f"step-{step:08d}.pt", weights_only=True)["network"]
    return {name: value.double() for name, value in state.items()}


class Written(nn.Module):
    """The network by its formulas, of its two trained weights; eps as the experiment has it."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        self.first, self.second = (nn.Parameter(state[f"fc{i}.layer.weight"]) for i in (1, 2))
        self.out, self.bias = state["head.layer.weight"], state.get("head.layer.bias", torch.zeros(10).double())

    def forward(self, x: Tensor) -> Tensor:
        for weight in (self.first, self.second):
            z = x @ weight.T
            x = ((z - z.mean(0)) / (z.var(0, correction=0) + 1e-12).sqrt()).relu()
        return x @ self.out.T + self.bias


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
def test_three_probed_steps_are_another_librarys(path: Path) -> None:
    """lambda_1 of the loss by the other library; of the total loss it is greater by the decay."""
    batch = load_data({"name": "digits", "standardise": True, "subset": SAMPLES}, 0, None, "cpu").batch(0)
    x, y = batch.inputs.flatten(1).double(), batch.targets
    runs = Runs.load(path)
    recorded = {
        metric: runs.records(metric, "train").groupby("step")["value"].first()
        for metric in (own_measures.SPHERICAL, own_measures.TIMES_RATE)
    }
    for step in KEPT:
        network = Written(kept(path, step))
        chosen = [*network.parameters()]
        operator = HessianLinearOperator(network, nn.CrossEntropyLoss(), chosen, [(x, y)], check_deterministic=False)
        start = np.random.default_rng(0).standard_normal(sum(p.numel() for p in chosen))
        (largest,) = eigsh(operator.to_scipy(), k=1, which="LA", tol=1e-10, v0=start)[0] + DECAY
        squared = sum(float(p.detach().square().sum()) for p in chosen)
        assert recorded[own_measures.SPHERICAL][step] == pytest.approx(squared * largest, rel=1e-6)
        assert recorded[own_measures.TIMES_RATE][step] == pytest.approx(RATE * largest, rel=1e-6)
        # so that the one is 2 over the effective rate just where the other is 2
        assert recorded[own_measures.SPHERICAL][step] * RATE / squared == pytest.approx(
            recorded[own_measures.TIMES_RATE][step], rel=1e-6
        )
    assert len({float(value) for value in recorded[own_measures.SPHERICAL]}) == len(KEPT)


def test_every_trained_weight_is_scale_invariant_and_the_output_stands(path: Path) -> None:
    state, start = checkpoint(path)["network"], kept(path, KEPT[0])
    x = load_data({"name": "digits", "standardise": True, "subset": SAMPLES}, 0, None, "cpu").batch(0)
    x = x.inputs.flatten(1).double()
    network, longer = Written(start), Written({**start, "fc1.layer.weight": 3 * start["fc1.layer.weight"]})
    torch.testing.assert_close(network(x), longer(x))
    torch.testing.assert_close(state["head.layer.weight"].double(), start["head.layer.weight"])
    assert float(state["head.layer.weight"].norm()) == pytest.approx(10, rel=1e-5)
    assert not torch.equal(state["fc1.layer.weight"].double(), start["fc1.layer.weight"])


# ------------------------------------------------------------------------------------------------------------- measures


def lines(seed: int) -> tuple[list[dict[str, Any]], dict[str, dict[int, float]]]:
    """Rows of a run of 120 steps: loss at every second step, which settles; the rest at every third."""
    draw = random.Random(seed)
    of: dict[str, dict[int, float]] = {
        "data_loss": {s: 1.0 + 2 * math.exp(-s / 8) + 0.03 * draw.random() for s in range(0, 120, 2)},
        own_measures.SPHERICAL: {s: math.exp(draw.gauss(2, 0.5)) for s in range(0, 120, 3)},
        own_measures.TIMES_RATE: {s: 3 * draw.random() for s in range(0, 120, 3)},
    }
    rows = [row("a", step, metric, value) for metric, line in of.items() for step, value in line.items()]
    draw.shuffle(rows)
    return rows, of


@pytest.mark.parametrize("seed", range(4))
def test_what_is_left_is_the_late_median_over_the_greatest_at_one_loss(seed: int) -> None:
    rows, of = lines(seed)
    losses = of["data_loss"]
    end = statistics.median(value for step, value in losses.items() if step >= 0.9 * max(losses))
    start = 0
    for step in sorted(losses):
        if losses[step] > 1.1 * end or losses[step] < end / 1.1:
            start = step + 2
    assert 0 < start < 60
    sharp = of[own_measures.SPHERICAL]
    late = statistics.median(value for step, value in sharp.items() if step >= 80)
    expected = late / max(value for step, value in sharp.items() if step >= start)
    runs = made(rows, {"a": BASE})
    assert own_measures.fall().of(runs)["a"] == pytest.approx(expected)
    assert own_measures.late(own_measures.SPHERICAL, "x").of(runs)["a"] == pytest.approx(late)
    own = [value for step, value in losses.items() if step >= 80]
    assert own_measures.swing().of(runs)["a"] == pytest.approx(max(own) / min(own))


def test_a_fall_of_the_sharpness_with_the_loss_is_none_at_one_loss() -> None:
    """The sharpness is a thousandth in the end, but all of that came before the loss was where it ends."""
    loss = [10.0 if step < 40 else 1.0 for step in range(120)]
    rows = [row("a", step, "data_loss", value) for step, value in enumerate(loss)]
    rows += [row("a", step, own_measures.SPHERICAL, value) for step, value in enumerate(loss)]
    assert own_measures.fall().of(made(rows, {"a": BASE}))["a"] == pytest.approx(1)


def test_a_loss_that_jumps_late_leaves_no_stretch_to_judge() -> None:
    rows = [row("a", step, "data_loss", 5.0 if step == 100 else 1.0) for step in range(120)]
    rows += [row("a", step, own_measures.SPHERICAL, 1.0) for step in range(120)]
    runs = made(rows, {"a": BASE})
    assert math.isnan(own_measures.fall().of(runs).get("a", math.nan))
    assert own_measures.swing().of(runs)["a"] == pytest.approx(5)


def test_the_edge_is_reached_from_below() -> None:
    of = {"from above": [5.0, 3.0, 1.0, 1.5], "to it": [5.0, 1.0, 1.95, 1.0], "never below": [5.0, 3.0, 2.0, 2.0]}
    rows = [row(run, s, own_measures.TIMES_RATE, value) for run, line in of.items() for s, value in enumerate(line)]
    rows += [row("diverged", s, own_measures.TIMES_RATE, 3.0 * s) for s in range(3)]
    facts = {run: {"seed": i} for i, run in enumerate([*of, "diverged"])}
    facts["diverged"] |= {"state": "diverged", "diverged_at": 3.0}
    found = own_measures.reached(1.9).of(made(rows, dict.fromkeys(facts, BASE), facts))
    assert found["from above"] == 1.5
    assert found["to it"] == 1.95
    assert math.isnan(found["never below"])
    assert found["diverged"] == -math.inf


# ------------------------------------------------------------------------------------------------- arms and the figure


@pytest.mark.parametrize(("name", "arms"), [("sharpness", ("DECAYED", "NONE")), ("great_decay", ("MORE", "NONE"))])
def test_the_experiments_run_the_arms_and_settings_of_the_claims(name: str, arms: tuple[str, ...]) -> None:
    file = yaml.safe_load((ROOT / "conf" / "experiment" / "lyu2022" / f"{name}.yaml").read_text())
    decays = [float(text) for text in str(file["hydra"]["sweeper"]["params"]["optim.weight_decay"]).split(",")]
    assert decays == [dict(getattr(claims, arm).where)["optim.weight_decay"] for arm in arms]
    asked = [claim for claim in claims.CLAIMS if claim.experiment == f"lyu2022/{name}"]
    assert asked
    config = experiments.compose([f"experiment=lyu2022/{name}"])
    for claim in asked:
        assert claim.about["optim.lr"] == config.optim.lr
        assert claim.about["model.fixed_output"] == config.model.fixed_output
    for arm in arms:
        where = dict(getattr(claims, arm).where)
        assert (where["norm.affine"], where["norm.eps"]) == (config.norm.affine, config.norm.eps)


def test_the_figure_draws_both_arms() -> None:
    rows, trained, facts = [], {}, {}
    for place, arm in enumerate((claims.DECAYED, claims.NONE)):
        for seed in range(2):
            run = f"{place}-{seed}"
            trained[run], facts[run] = {**BASE, **dict(arm.where)}, {"seed": seed}
            for step in range(0, 30, 10):
                rows.append(row(run, step, "data_loss", 1.0, probe="training"))
                rows.append(row(run, step, own_measures.SPHERICAL, 10.0 + place + step))
                rows.append(row(run, step, own_measures.TIMES_RATE, 1.0 + place))
    (column,) = spherical_sharpness.compute(made(rows, trained, facts)).columns
    sharp, edge, loss = column.panels
    drawn = {curve.norm: curve.median.tolist() for curve in sharp.curves}
    assert drawn == {claims.DECAYED.name: [10, 20, 30], claims.NONE.name: [11, 21, 31]}
    assert {curve.norm: curve.median[0] for curve in edge.curves} == {claims.DECAYED.name: 1, claims.NONE.name: 2}
    assert edge.levels == (spherical_sharpness.STABLE,)
    assert loss.context
