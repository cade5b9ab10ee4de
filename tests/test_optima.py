"""Optima of neurons: trained runs against their closed forms, counts against loops, random rays against drawn."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import experiments
from analysis import ledger, select
from analysis.claims import Unanswerable
from analysis.runs import Runs
from analysis.studies.lemma45.claims import BOTH, CLAIMS, NEURON
from analysis.studies.lemma45.figures import optima as figure
from analysis.studies.santurkar2018 import optima
from experiments.data import DATA
from probes.randomness import seeded_generator
from tests.made_table import BASE, COLUMNS
from tests.runs import small

OPTIONS = {"dimension": 2, "outputs": 40, "samples": 20, "test_samples": 5, "condition": 1.0, "mean": 1.0, "noise": 1.0}


def angles(one: np.ndarray, other: np.ndarray) -> list[float]:
    """Between the columns of two matrices, one by one."""
    found = []
    for a, b in zip(one.T, other.T, strict=True):
        found.append(math.acos(max(-1.0, min(1.0, float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))))))
    return found


@pytest.mark.long
def test_trained_neurons_end_at_the_optima_that_the_lemma_speaks_of(tmp_path: Path) -> None:
    """From run folders to shares: W* by least squares without an intercept, v by that of centred inputs."""
    chosen = ["data=least_squares", *(f"data.{key}={value}" for key, value in OPTIONS.items()), "model=linear_neuron"]
    chosen += ["optim=gd", "optim.lr=0.06", "optim.momentum=0.5", "model.initialisation=gaussian", "model.init_std=1"]
    chosen += ["steps=3000", "probes=dynamics", "probes.use.dynamics.units=true", "probes.at=[0,1500,2999]"]
    chosen += ["evaluation.every=3000"]
    for norm in (["norm=none"], ["norm=batch", "norm.affine=false"]):
        experiments.run(small(tmp_path, *chosen, *norm))
    runs = Runs.load(tmp_path)
    arrays = DATA.get("least_squares")(0, **OPTIONS)
    x, y = arrays.inputs_train.double().numpy(), arrays.targets_train.double().numpy()
    plain = np.linalg.lstsq(x, y, rcond=None)[0]
    normalised = np.linalg.lstsq(x - x.mean(0), y - y.mean(0), rcond=None)[0]
    names = {runs.norm_of(run)[0]: run for run in runs.each.index}
    drawn = torch.empty(40, 2).normal_(0, 1, generator=seeded_generator("cpu", 0, "initialisation", "neuron.layer"))
    start = drawn.double().numpy().T
    to_plain, to_ray = angles(start, plain), angles(start, normalised)
    parts = {norm: runs.only([run]) for norm, run in names.items()}
    own = optima.neurons(parts["none"], parts["batch"], names["none"], names["batch"])
    spoken = [i for i, theta in enumerate(to_plain) if theta < math.pi / 2]
    assert own.plain.tolist() == pytest.approx([to_plain[i] for i in spoken], abs=1e-4)
    assert own.normalised.tolist() == pytest.approx([to_ray[i] for i in spoken], abs=1e-3)
    lengths = [float(np.linalg.norm(start[:, i] - plain[:, i])) for i in spoken]
    assert own.distance.tolist() == pytest.approx(lengths, rel=1e-3)
    assert own.start.tolist() == pytest.approx([float(np.linalg.norm(start[:, i])) for i in spoken], rel=1e-6)
    (setting,) = select.settings(runs, [BOTH], free=("norm",), about=NEURON)
    assert not setting.mixed, "what a choice alone has is not to be held alike where the choice is free"
    (share,) = optima.violations().by_seed(setting.own("both"))["number"]
    violated = [to_ray[i] > to_plain[i] + optima.STILL for i in spoken]
    assert share == sum(violated) / len(violated)
    assert 0.05 < share < 0.95
    told = judged(runs)
    assert [word for word, _ in told.values()] == ["undecided"] * 2, "one seed: what it takes is recorded"
    for name in names.values():
        as_older_runs_have_it(tmp_path / name)
    older = Runs.load(tmp_path)
    assert older.recording("unit_norm", "train") == set(names.values())
    assert judged(older) == told


def judged(runs: Runs) -> dict[str, tuple[str, list[tuple[float, ...]]]]:
    """Claim -> its word and its numbers, of those about neither centred inputs nor a bias."""
    asked = [claim for claim in CLAIMS if claim.name in ("L3", "L4")]
    return {v.claim.name: (v.word, [part.outcome.each for part in v.parts]) for v in ledger.judge(runs, asked)}


def as_older_runs_have_it(folder: Path) -> None:
    """The norms by unit under the name of their mean and of the layer, which they had at first."""
    fields = json.loads((folder / "fields.json").read_text())
    own = fields["dynamics"].pop("channel_norms.neuron.layer.weight")
    fields["dynamics"]["unit_norm.neuron"] = {**own, "metric": "unit_norm", "dims": ["unit"]}
    (folder / "fields.json").write_text(json.dumps(fields))
    with np.load(folder / "arrays.npz") as stored:
        arrays = {key.replace("channel_norms.neuron.layer.weight", "unit_norm.neuron"): stored[key] for key in stored}
    assert "dynamics/unit_norm.neuron/values" in arrays
    np.savez(folder / "arrays.npz", **arrays)


Made = Mapping[str, Sequence[Sequence[float]]]


def made(of: Mapping[str, Made], dimension: int = 2) -> Runs:
    """One seed: norm -> metric -> steps -> units."""
    trained = {norm: {**BASE, "model": "linear_neuron", "data.dimension": dimension, "norm": norm} for norm in of}
    rows = [
        {"run": norm, "step": 0, "metric": metric, "layer": "neuron", "value": 0.0, "batch": "train"}
        for norm, metrics in of.items()
        for metric in metrics
    ]
    table = pd.DataFrame(rows).reindex(columns=COLUMNS).astype({"x": float})
    for name in ("run", "probe", "metric", "batch", "point", "layer", "unit"):
        table[name] = table[name].astype("category")
    start = {"state": "finished", "diverged_at": math.nan, "experiment": None, "task": "regression", "seed": 0}
    each = pd.DataFrame([start for _ in of], index=pd.Index(list(of), name="run"))

    def read(metric: str, names: Sequence[str], batch: str, layers: Sequence[str]) -> list[xr.DataArray]:
        return [
            xr.DataArray(np.array(of[n][metric]), dims=("step", "unit"), attrs={"run": n, "layer": "neuron"})
            for n in names
        ]

    return Runs(table, each, trained, read)


PLAIN = [0.3, 1.0, 1.5, 2.0, 0.2, 0.7]
RAY = [0.3004, 1.2, 1.4, 0.1, 0.9, 1.8]  # the first is greater by less than counts
NORM_AT_START = [2.0, 1.0, 0.5, 1.0, 1.0, 1.0]
APART = [1.0, 1.5, 0.2, 1.0, 0.95, 0.8]


def pair(**changed: Any) -> Runs:
    def of(end: Sequence[float], before: Sequence[float] | None = None) -> Made:
        apart = [APART, APART]
        return {
            optima.ANGLE: [before or end, end],
            optima.BY_UNIT[optima.NORMS]: [NORM_AT_START, [9.0] * 6],
            optima.DISTANCE: [[0.0] * 6, apart[1]],
        }

    return made({"none": of(PLAIN), "batch": of(RAY, changed.get("before"))}, changed.get("dimension", 2))


def number(measure: optima.OfNeurons, runs: Runs) -> float:
    (found,) = measure.by_seed(runs)["number"]
    return float(found)


def test_shares_count_neurons_one_by_one() -> None:
    runs = pair()
    spoken = [i for i in range(6) if PLAIN[i] < math.pi / 2]
    assert number(optima.violations(), runs) == sum(RAY[i] > PLAIN[i] + 5e-4 for i in spoken) / len(spoken) == 3 / 5
    assert number(optima.angle(True), runs) == pytest.approx(sum(RAY[i] for i in spoken) / 5)
    assert number(optima.angle(False), runs) == pytest.approx(sum(PLAIN[i] for i in spoken) / 5)
    to_ray = {i: NORM_AT_START[i] * (math.sin(RAY[i]) if RAY[i] < math.pi / 2 else 1) for i in spoken}
    assert number(optima.nearer(), runs) == sum(to_ray[i] <= APART[i] for i in spoken) / 5
    moved = [*RAY[:4], RAY[4] + 6e-4, RAY[5]]
    with pytest.raises(Unanswerable, match="20 % of the neurons still turn"):
        number(optima.violations(), pair(before=moved))
    aside = [*RAY[:3], RAY[3] + 1, *RAY[4:]]  # the lemma does not speak of that one
    assert number(optima.violations(), pair(before=aside)) == 3 / 5


def test_one_probed_step_and_neurons_of_which_the_lemma_says_nothing_have_no_number() -> None:
    def of(end: Sequence[float], steps: int) -> Made:
        return {optima.ANGLE: [end] * steps, optima.NORMS: [NORM_AT_START] * steps, optima.DISTANCE: [APART] * steps}

    with pytest.raises(Unanswerable, match="takes two probed steps or more"):
        number(optima.violations(), made({"none": of(PLAIN, 2), "batch": of(RAY, 1)}))
    with pytest.raises(Unanswerable, match="the lemma speaks to none of the neurons"):
        number(optima.violations(), made({"none": of([1.6] * 6, 2), "batch": of(RAY, 2)}))


@pytest.mark.parametrize("dimension", [2, 3, 10])
def test_random_rays_lie_within_the_bounds_as_often_as_drawn_ones(dimension: int) -> None:
    draw = np.random.default_rng(dimension)
    rays = draw.normal(size=(40000, dimension))
    cosine = rays[:, 0] / np.linalg.norm(rays, axis=1)  # with a start along the first axis
    spoken = [i for i in range(6) if PLAIN[i] < math.pi / 2]
    runs = pair(dimension=dimension)
    lemma = [(np.arccos(cosine) < PLAIN[i]).mean() for i in spoken]
    assert number(optima.random_within(False), runs) == pytest.approx(np.mean(lemma), abs=0.01)
    away = np.where(cosine > 0, np.sqrt(1 - cosine**2), 1.0)
    weak = [(NORM_AT_START[i] * away <= APART[i]).mean() for i in spoken]
    assert number(optima.random_within(True), runs) == pytest.approx(np.mean(weak), abs=0.01)


def test_the_figure_draws_quantiles_of_the_difference() -> None:
    data = figure.compute(pair())
    (column,) = data.columns
    drawn = {curve.norm: curve for curve in column.panels[0].curves}
    differences = sorted(RAY[i] - PLAIN[i] for i in range(6) if PLAIN[i] < math.pi / 2)
    assert drawn["batch"].each[0][[0, 10, 20, 30, 40]].tolist() == pytest.approx(differences)
    assert drawn["none"].each[0].tolist() == [0.0] * len(figure.SHARES)
