"""The study of the Hessian's outliers: what its experiment records against dense Hessians and another library, and its
measures against loops in plain Python."""

from __future__ import annotations

import itertools
import math
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from scipy.sparse.linalg import eigsh
from torch import Tensor, nn
from torch.nn import functional

import experiments
from analysis.runs import Runs
from analysis.studies.ghorbani2019 import claims, own_measures
from analysis.studies.ghorbani2019.figures import hessian_outliers
from experiments.data import load_data
from tests import measure_twins as twins
from tests.made_table import BASE, made, row
from tests.pages import ROOT
from tests.runs import checkpoint

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what that library uses of torch
    from curvlinops import HessianLinearOperator

EXPERIMENT = "ghorbani2019/outliers"
KEPT = (2, 5, 9)
SAMPLES, FIXED = 200, 96
RANK = 10
EPS = 1e-5

# --------------------------------------------------------------------------------- eigenvalues of the experiment's runs


def trained(folder: Path, arm: str) -> Path:
    """A net of 64-30-10 of the experiment, its eigenvalues as exactly as they can be had."""
    chosen = [f"experiment={EXPERIMENT}", f"arm={arm}", f"runs_dir={folder}", "model.widths=[30]", "steps=10"]
    chosen += [f"data.subset={SAMPLES}", f"probes.fixed_batch={FIXED}"]
    chosen += ["optim.lr=0.3", f"probes.at={list(KEPT)}", f"checkpoint.keep={list(KEPT)}", "probes.dtype=float64"]
    probes = ["spectrum", *(["held"] if arm == "batch" else [])]
    chosen += [f"probes.use.{one}.{option}" for one in probes for option in ("tolerance=1e-7", "products=1500")]
    return Path(experiments.run(experiments.compose(chosen)).path)


def batches() -> tuple[Tensor, Tensor, Tensor]:
    """The fixed batch of seed 0, and all training inputs, in float64."""
    data = load_data({"name": "digits", "standardise": True, "subset": SAMPLES}, 0, 64, "cpu")
    fixed = data.fixed_batch(FIXED)
    return fixed.inputs.flatten(1).double(), fixed.targets, data.training_inputs().flatten(1).double()


def output(p: dict[str, Tensor], x: Tensor, statistics: tuple[Tensor, Tensor] | str) -> Tensor:
    """By the formulas; `statistics`: (mean, variance) of the hidden layer, or "none"."""
    z = x @ p["fc1.layer.weight"].T + p["fc1.layer.bias"]
    if not isinstance(statistics, str):
        z = (z - statistics[0]) / (statistics[1] + EPS).sqrt() * p["fc1.norm.weight"] + p["fc1.norm.bias"]
    return z.relu() @ p["head.layer.weight"].T + p["head.layer.bias"]


def moments(p: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    z = x @ p["fc1.layer.weight"].T + p["fc1.layer.bias"]
    return z.mean(0), z.var(0, correction=0)


def loss_by(kind: str, start: dict[str, Tensor], buffers: dict[str, Tensor]) -> Callable[[dict[str, Tensor]], Tensor]:
    """The loss of the fixed batch as a function of the parameters, statistics being what `kind` says."""
    x, y, everything = batches()

    def loss(p: dict[str, Tensor]) -> Tensor:
        statistics: dict[str, Callable[[], Any]] = {
            "none": lambda: "none",
            "batch": lambda: moments(p, x),
            "held": lambda: moments(start, x),
            "population": lambda: moments(p, everything),
            "running": lambda: (buffers["fc1.norm.running_mean"], buffers["fc1.norm.running_var"]),
        }
        return functional.cross_entropy(output(p, x, statistics[kind]()), y)

    return loss


def dense(kind: str, state: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """All eigenvalues, falling, and the gradient's share in the first ten's span, by torch.autograd.functional."""
    buffers = {name: value.double() for name, value in state.items() if "running" in name or "num_" in name}
    start = {name: value.double() for name, value in state.items() if name not in buffers}
    loss = loss_by(kind, start, buffers)
    flat = torch.cat([value.flatten() for value in start.values()])

    def of_vector(vector: Tensor) -> Tensor:
        parts = vector.split([value.numel() for value in start.values()])
        return loss({name: part.view_as(start[name]) for name, part in zip(start, parts, strict=True)})

    h = torch.autograd.functional.hessian(of_vector, flat, vectorize=True)
    gradient = torch.autograd.functional.jacobian(of_vector, flat)
    values, vectors = torch.linalg.eigh(h)
    return values.flip(0), (vectors[:, -RANK:].T @ gradient).square().sum() / gradient.square().sum()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {arm: trained(tmp_path_factory.mktemp(arm), arm) for arm in ("none", "batch", "population", "running")}


def kept(path: Path, step: int) -> dict[str, Tensor]:
    state = torch.load(path / "kept" / f"step-{step:08d}.pt", weights_only=True)["network"]
    return dict(state)


def assert_recorded(path: Path, batch: str, step: int, values: list[float], share: float) -> None:
    """That a run recorded these eigenvalues, falling, their ratio, and the gradient's share in their span."""
    runs = Runs.load(path)
    recorded, shares = runs.records("largest_eigenvalues", batch), runs.records("gradient_share", batch)
    assert sorted(set(recorded["step"])) == list(KEPT)
    own = recorded[recorded["step"] == step].sort_values("x")["value"]
    assert own.tolist() == pytest.approx(values, rel=1e-6)
    assert shares[shares["step"] == step]["value"].tolist() == pytest.approx([share], rel=1e-5)
    ratio = own_measures.ratios(runs, batch).query(f"step == {step}")["value"]
    assert ratio.tolist() == pytest.approx([values[0] / values[RANK - 1]], rel=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["population", "running"])
def test_three_probed_steps_are_the_dense_hessians(kind: str, runs: dict[str, Path]) -> None:
    for step in KEPT:
        values, share = dense(kind, kept(runs[kind], step))
        assert_recorded(runs[kind], "fixed", step, values[:RANK].tolist(), share.item())


class Plain(nn.Module):
    """The formulas above as a module, for a library that takes modules."""

    def __init__(self, state: dict[str, Tensor], kind: str) -> None:
        super().__init__()
        parts = {name: value.double() for name, value in state.items() if "running" not in name and "num_" not in name}
        self.names, self.kind = list(parts), kind
        self.values = nn.ParameterList([nn.Parameter(value) for value in parts.values()])
        self.held = moments(parts, batches()[0])

    def forward(self, x: Tensor) -> Tensor:
        p = dict(zip(self.names, self.values, strict=True))
        return output(p, x, {"none": "none", "batch": moments(p, x), "held": self.held}[self.kind])


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("kind", ["none", "batch", "held"])
def test_three_probed_steps_are_another_librarys(kind: str, runs: dict[str, Path]) -> None:
    path, (x, y, _) = runs["none" if kind == "none" else "batch"], batches()
    for step in KEPT:
        network = Plain(kept(path, step), kind)
        chosen = [*network.parameters()]
        operator = HessianLinearOperator(network, nn.CrossEntropyLoss(), chosen, [(x, y)], check_deterministic=False)
        start = np.random.default_rng(0).standard_normal(sum(p.numel() for p in chosen))
        theirs, vectors = eigsh(operator.to_scipy(), k=RANK, which="LA", tol=1e-9, v0=start)
        gradient = torch.autograd.grad(functional.cross_entropy(network(x), y), chosen)
        g = torch.cat([part.flatten() for part in gradient]).numpy()
        batch = own_measures.HELD if kind == "held" else "fixed"
        share = float(np.sum((vectors.T @ g) ** 2) / np.sum(g**2))
        assert_recorded(path, batch, step, sorted(theirs.tolist(), reverse=True), share)


def test_the_network_that_was_looked_at_is_the_one_that_trained(runs: dict[str, Path]) -> None:
    """The kept weights differ from step to step and end in those of the run."""
    for path in runs.values():
        weights = [kept(path, step)["fc1.layer.weight"] for step in KEPT] + [
            checkpoint(path)["network"]["fc1.layer.weight"]
        ]
        for one, other in itertools.pairwise(weights):
            assert not torch.equal(one, other)


# ------------------------------------------------------------------------------------------------------------- measures

METRICS = ("fixed", own_measures.HELD)


def recorded(seed: int) -> tuple[list[dict[str, Any]], dict[Any, list[float]], dict[Any, float]]:
    """Rows of a run over 40 steps, its eigenvalues by (step, batch), and the gradient's shares by step."""
    draw = random.Random(seed)
    rows, values, shares = [], {}, {}
    for step in range(40):
        rows.append(row("a", step, "data_loss", 2.2 * math.exp(-step / 12), probe="training"))
        if step % 2 and step > 20:
            continue
        shares[step] = draw.random()
        rows.append(row("a", step, "gradient_share", shares[step], batch="fixed"))
        rows.append(row("a", step, "gradient_share", 0.5, batch=own_measures.HELD))
        for batch in METRICS:
            values[step, batch] = sorted((math.exp(draw.gauss(0, 1)) for _ in range(RANK)), reverse=True)
            rows += [
                row("a", step, "largest_eigenvalues", value, batch=batch, x=float(place))
                for place, value in enumerate(values[step, batch], 1)
            ]
    draw.shuffle(rows)
    return rows, values, shares


@pytest.mark.parametrize("batch", METRICS)
@pytest.mark.parametrize("seed", range(3))
def test_outliers_are_the_first_over_the_tenth(seed: int, batch: str) -> None:
    rows, values, shares = recorded(seed)
    runs = made(rows, {"a": {**BASE, "steps": 40}})
    line = {step: own[0] / own[9] for (step, where), own in values.items() if where == batch}
    found = own_measures.outliers("all", batch).of(runs)["a"]
    assert found == pytest.approx(twins.median(twins.at_step(line, step) for step in range(max(line) + 1)))
    found = own_measures.in_span("all").of(runs)["a"]
    assert found == pytest.approx(twins.median(twins.at_step(shares, step) for step in range(max(shares) + 1)))


def test_at_equal_loss_it_is_read_where_the_loss_comes_to_each_level() -> None:
    """The loss falls exponentially, so that a level is reached at a step that is known."""
    rows, values, shares = recorded(0)
    runs = made(rows, {"a": {**BASE, "steps": 40}})
    for window, high, low in ((own_measures.WINDOWS["equal loss"], 0.5, 0.1), (own_measures.EARLY, 2.0, 0.6)):
        count = math.floor(4 * math.log2(high / low) + 1e-9) + 1
        places = [12 * math.log(2.2 / (high * 2 ** (-k / 4))) for k in range(count)]
        line = {step: own[0] / own[9] for (step, where), own in values.items() if where == "fixed"}
        found = own_measures.outliers(window).of(runs)["a"]
        assert found == pytest.approx(twins.median(twins.at_step(line, place) for place in places))
        found = own_measures.in_span(window).of(runs)["a"]
        assert found == pytest.approx(twins.median(twins.at_step(shares, place) for place in places))


def test_a_tenth_eigenvalue_that_is_not_above_0_makes_the_first_stand_out_without_end() -> None:
    rows = [row("a", step, "largest_eigenvalues", 4.0, batch="fixed", x=1.0) for step in range(3)]
    tenth = (2.0, 0.0, -1.0)
    rows += [row("a", step, "largest_eigenvalues", value, batch="fixed", x=10.0) for step, value in enumerate(tenth)]
    found = own_measures.ratios(made(rows, {"a": BASE}), "fixed")
    assert found.sort_values("step")["value"].tolist() == [2.0, math.inf, math.inf]


def test_shares_in_the_span_of_another_number_are_not_those_of_ten() -> None:
    rows = [row(run, step, "gradient_share", 0.3, batch="fixed") for run in "ab" for step in range(9)]
    for run, most in (("a", 5), ("b", 10)):
        rows += [
            row(run, step, "largest_eigenvalues", 1.0, batch="fixed", x=float(k))
            for step in range(9)
            for k in range(1, most + 1)
        ]
    found = own_measures.shares(made(rows, dict.fromkeys("ab", BASE), {"b": {"seed": 1}}))
    assert set(found["run"].astype(str)) == {"b"}


# -------------------------------------------------------------------------------------------------- arms and the figure

ARMS = {
    "none": claims.NONE,
    "batch": claims.BATCH,
    "population": claims.POPULATION,
    "running": claims.RUNNING,
}


def test_the_experiment_runs_the_arms_of_the_claims() -> None:
    file = yaml.safe_load((ROOT / "conf" / "experiment" / f"{EXPERIMENT}.yaml").read_text())
    arms = file["hydra"]["sweeper"]["arms"]
    assert set(arms) == set(ARMS)
    for name, arm in ARMS.items():
        overrides = dict(text.split("=", 1) for text in arms[name] if "=" in text)
        asked = {"norm.statistics": "batch", **overrides} if overrides["norm"] == "batch" else overrides
        assert {key: str(value) for key, value in arm.where} == asked
        assert ("~probes.use.held" in arms[name]) == (name != "batch")  # GH3 is about batch statistics alone


def test_the_figure_draws_each_arm_and_the_held_statistics_of_one() -> None:
    rows, values, shares = recorded(1)
    trained = {name: {**BASE, **dict(arm.where)} for name, arm in ARMS.items()}
    every = [{**one, "run": name} for name in ARMS for one in rows if name == "batch" or one.get("batch") != METRICS[1]]
    (column,) = hessian_outliers.compute(made(every, trained)).columns
    first, held, span, loss = column.panels
    names = {arm.name for arm in ARMS.values()}
    assert {curve.norm for curve in first.curves} == {curve.norm for curve in span.curves} == names
    assert [curve.norm for curve in held.curves] == ["batch"]
    for panel, batch in ((first, METRICS[0]), (held, METRICS[1])):
        for curve in panel.curves:
            expected = [own[0] / own[9] for (step, where), own in values.items() if where == batch]
            assert curve.median.tolist() == pytest.approx(expected)
    for curve in span.curves:
        assert curve.median.tolist() == pytest.approx(list(shares.values()))
    assert loss.context
