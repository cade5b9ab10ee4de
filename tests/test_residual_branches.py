"""The study of residual branches: its records against the formulas, its measures against plain loops."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

import experiments
from analysis.across import grid_of
from analysis.runs import Runs
from analysis.select import known_and_norms
from analysis.standard import LOSS
from analysis.studies.desmith2020 import claims, own_measures
from analysis.studies.desmith2020.figures import rates_by_branch, residual_stream
from experiments.data import load_data
from experiments.models import build_model
from tests.made_table import BASE, made, row
from tests.pages import ROOT
from tests.runs import checkpoint

RATE = claims.RATE

# ----------------------------------------------------------------------------------------------------------- the stream


@pytest.mark.parametrize("arm", ["none", "batch"])
def test_what_is_recorded_is_the_mean_square_of_each_sum(arm: str, tmp_path: Path) -> None:
    """Computed once more from the stored weights, block by block."""
    chosen = ["experiment=desmith2020/initialisation", f"arm={arm}", f"runs_dir={tmp_path}", "model.blocks=12"]
    path = Path(experiments.run(experiments.compose([*chosen, "probes.dtype=float64"])).path)
    state = {name: value.double() for name, value in checkpoint(path)["network"].items()}
    inputs = load_data({"name": "digits", "standardise": True}, 0, 256, "cpu").batch(0).inputs
    x = inputs.flatten(1).double() @ state["stem.layer.weight"].T
    assert float(x.var()) == pytest.approx(1, rel=0.2)  # the stem counts as one block
    expected = []
    for block in range(1, 13):
        h = x
        if arm == "batch":
            h = (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt()
        x = x + h.clamp(min=0) @ state[f"block{block}.branch.layer1.layer.weight"].T
        expected.append(float(sum(float(value) ** 2 for value in x.flatten()) / x.numel()))
    (found,) = own_measures.stream(Runs.load(path)).values()
    assert found.tolist() == pytest.approx(expected, rel=1e-9)


def streams(of: dict[str, list[float]], **more: Any) -> list[dict[str, Any]]:
    return [
        row(run, 0, "second_moment_stream", value, layer=f"block{block}.branch.layer1", **more)
        for run, values in of.items()
        for block, value in enumerate(values, 1)
    ]


def slope(x: list[float], y: list[float]) -> float:
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    above = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return above / sum((a - mean_x) ** 2 for a in x)


@pytest.mark.parametrize("seed", range(3))
def test_growth_and_exponent_are_slopes_over_all_blocks(seed: int) -> None:
    draw = random.Random(seed)
    values = [math.exp(draw.gauss(0, 1)) for _ in range(23)]
    rows = [*streams({"a": values}), row("a", 5, "second_moment_stream", 99.0, layer="block1.branch.layer1")]
    runs, logs = made(rows, {"a": BASE}), [math.log(value) for value in values]
    blocks = [float(block) for block in range(1, 24)]
    assert own_measures.growth().of(runs)["a"] == pytest.approx(slope(blocks, logs))
    powers = [math.log(block + 1) for block in blocks]
    assert own_measures.exponent().of(runs)["a"] == pytest.approx(slope(powers, logs))


def test_closed_forms_of_growth_and_exponent() -> None:
    doubling, linear = [2.0**block for block in range(1, 61)], [block + 1.0 for block in range(1, 61)]
    runs = made(streams({"a": doubling, "b": linear}), dict.fromkeys("ab", BASE), {"b": {"seed": 1}})
    assert own_measures.growth().of(runs)["a"] == pytest.approx(math.log(2))
    assert own_measures.exponent().of(runs)["b"] == pytest.approx(1)


@pytest.mark.parametrize("values", [[1.0] * 9, [*[1.0] * 12, math.inf], [*[1.0] * 12, math.nan], [0.0] * 12])
def test_few_blocks_and_what_overflows_have_no_slope(values: list[float]) -> None:
    runs = made(streams({"a": values}), {"a": BASE})
    assert math.isnan(own_measures.growth().of(runs)["a"])
    assert math.isnan(own_measures.exponent().of(runs)["a"])


# ------------------------------------------------------------------------------------------------------ over the rates


@pytest.mark.parametrize("broken", [None, "data_loss", "second_moment_stream", "gradient_norm"])
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_it_starts_without_overflow_where_all_that_is_recorded_at_step_0_is_finite(broken: Any, value: float) -> None:
    metrics = ("data_loss", "second_moment_stream", "gradient_norm")
    rows = [row("a", 0, m, 1.0, layer=layer) for m in metrics for layer in ("block1", "block2")]
    rows += [row("a", 1, m, value) for m in metrics]  # after the first update it may overflow
    if broken:
        rows.append(row("a", 0, broken, value, layer="block3"))
    runs = made(rows, {"a": BASE}, {"a": {"state": "diverged", "diverged_at": 1.0}})
    assert own_measures.starts_finite().of(runs)["a"] == (0.0 if broken else 1.0)


def test_what_is_not_recorded_at_step_0_is_not_known_to_be_finite() -> None:
    runs = made([row("a", 0, "data_loss", 1.0), row("a", 0, "gradient_norm", 1.0)], {"a": BASE})
    assert math.isnan(own_measures.starts_finite().of(runs)["a"])


LOSSES = {
    0: (0.4, 0.51, 3.0),
    1: (0.6, 0.7, math.inf),
    2: (0.1, 0.2, 0.49),
    3: (0.1, 0.2, None),
    4: (0.1, 0.2, math.nan),
}
RATES = (0.01, 0.1, 1.0)


def over_rates() -> Runs:
    """Seeds over three rates; infinite: diverged; None: not run; NaN: run, and nothing recorded."""
    rows, trained, facts = [], {}, {}
    for seed, losses in LOSSES.items():
        for rate, loss in zip(RATES, losses, strict=True):
            if loss is None:
                continue
            run = f"{seed}-{rate}"
            trained[run] = {**BASE, RATE: rate}
            facts[run] = {"seed": seed}
            if math.isinf(loss):
                facts[run] |= {"state": "diverged", "diverged_at": 3.0}
            steps = range(0, 0 if math.isnan(loss) else 120, 4)
            rows += [row(run, step, "data_loss", 9.0 if step < 108 else loss) for step in steps]
    return made(rows, trained, facts)


def test_rates_that_train_are_counted_and_a_seed_that_lacks_one_is_not() -> None:
    runs = over_rates()
    found = own_measures.rates_that_train(LOSS, RATE, 0.5).by_seed(runs, grid_of(runs, (RATE,)))
    assert found["number"].tolist() == pytest.approx([1, 0, 3, math.nan, math.nan], nan_ok=True)
    assert found["low"].equals(found["number"])
    assert found["high"].equals(found["number"])


def test_at_every_rate_is_the_least() -> None:
    runs = over_rates()
    found = own_measures.at_every(LOSS, RATE).by_seed(runs, grid_of(runs, (RATE,)))
    assert found["number"].tolist() == pytest.approx([0.4, 0.6, 0.1, math.nan, math.nan], nan_ok=True)


# ---------------------------------------------------------------------------------------------------- arms and figures


def test_the_experiments_run_the_arms_of_the_claims() -> None:
    wanted = {"undone": claims.UNDONE, "batch": claims.BATCH, "none": claims.NONE}
    wanted |= {"skipinit_0": claims.SKIPINIT, "skipinit_root": claims.SKIPINIT_ROOT}
    seen = set()
    for name in ("initialisation", "deep", "undone"):
        file = yaml.safe_load((ROOT / "conf" / "experiment" / "desmith2020" / f"{name}.yaml").read_text())
        for arm, overrides in file["hydra"]["sweeper"]["arms"].items():
            told = {"model.branch": "plain", **dict(text.split("=", 1) for text in overrides)}
            where = {key: f"{value:g}" if isinstance(value, float) else str(value) for key, value in wanted[arm].where}
            assert where == told
            seen.add(arm)
        rates = str(file["hydra"]["sweeper"]["params"].get(RATE, claims.EQUAL_RATE)).split(",")
        assert f"{claims.EQUAL_RATE:g}" in rates
    assert seen == set(wanted)
    assert dict(claims.SKIPINIT_ROOT.where)["model.alpha"] == claims.MANY**-0.5


def test_the_stream_is_drawn_once_for_a_seed_whatever_its_rates() -> None:
    values = {"none": [2.0**block for block in range(1, 13)], "batch": [1.0 + block for block in range(1, 13)]}
    trained, facts, of = {}, {}, {}
    for arm in ("none", "batch"):
        for rate in RATES:
            run = f"{arm}-{rate}"
            trained[run] = {**BASE, "norm": arm, "model.branch": "plain", RATE: rate}
            facts[run], of[run] = {"seed": 0}, values[arm]
    (column,) = residual_stream.compute(made(streams(of), trained, facts)).columns
    drawn = {curve.norm: (curve.steps.tolist(), curve.each.tolist()) for curve in column.panels[0].curves}
    assert drawn == {arm: ([*range(1, 13)], [own]) for arm, own in values.items()}
    short = {run: own[:9] for run, own in of.items()}
    assert not residual_stream.compute(made(streams(short), trained, facts)).columns


def test_rates_are_drawn_by_branch_and_what_diverged_is_not() -> None:
    rows, trained, facts = [], {}, {}
    for arm in (claims.BATCH, claims.UNDONE):
        for rate in RATES:
            run = f"{arm.name}-{rate}"
            trained[run] = {**BASE, **dict(arm.where), "model": "residual_mlp", RATE: rate}
            facts[run] = {"seed": 0}
            if (arm, rate) == (claims.UNDONE, 1.0):
                facts[run] |= {"state": "diverged", "diverged_at": 3.0}
            rows += [row(run, step, "data_loss", rate * (2 if arm is claims.UNDONE else 1)) for step in range(120)]
    (column,) = rates_by_branch.compute(made(rows, trained, facts)).columns
    (panel,) = column.panels
    drawn = {curve.norm: (curve.steps.tolist(), curve.median.tolist()) for curve in panel.curves}
    assert drawn["batch"] == ([*RATES], pytest.approx([*RATES]))
    assert drawn[claims.UNDONE.name][1][:2] == pytest.approx([0.02, 0.2])
    assert not any(math.isfinite(value) for value in drawn[claims.UNDONE.name][1][2:])
    assert panel.levels[0][1] == claims.TRAINS
    other = {run: {**own, "model": "mlp"} for run, own in trained.items()}
    assert not rates_by_branch.compute(made(rows, other, facts)).columns


def shares_of_branches(branch: str) -> dict[int, float]:
    """By block: mean square of what its branch puts out over that of what leaves the block."""
    options = {"name": "residual_mlp", "blocks": 40, "branch": branch, "initialisation": "he"}
    data = load_data({"name": "digits", "standardise": True}, 0, 256, "cpu")
    network = build_model(options, {"name": "batch"}, data.spec, 0).train()
    squares: dict[tuple[int, str], float] = {}
    for block in (5, 40):
        for part in ("", ".branch"):
            network.get_submodule(f"block{block}{part}").register_forward_hook(
                lambda m, x, y, key=(block, part): squares.update({key: float(y.detach().square().mean())})
            )
    network(data.batch(0).inputs)
    return {block: squares[block, ".branch"] / squares[block, ""] for block in (5, 40)}


def test_undone_branches_are_a_half_of_the_stream_and_plain_ones_ever_less() -> None:
    undone, plain = shares_of_branches("undone"), shares_of_branches("plain")
    assert undone == pytest.approx({5: 0.5, 40: 0.5}, abs=0.1)
    assert plain == pytest.approx({5: 1 / 6, 40: 1 / 41}, rel=0.3)


def test_a_network_without_branches_that_comes_first_leaves_the_arms_their_names() -> None:
    trained: dict[str, Any] = {"a": {**BASE, "model": "mlp"}, "z": {**BASE, "model": "mlp", "norm": "layer"}}
    trained |= {"b": {**BASE, **dict(claims.BATCH.where), "model": "residual_mlp", "model.alpha": 0.0}}
    arms = known_and_norms(made([row("a", 0, "m", 1.0)], trained), claims.ARMS)
    assert claims.BATCH in arms
    found = {arm.name: arm.runs(made([row("a", 0, "m", 1.0)], trained)) for arm in arms}
    assert found == {"batch branch=none alpha=none": ["a"], "layer": ["z"], "batch": ["b"]}
