"""Segments between samples: against a pass by hand in float64, and what is known of the first layer."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import experiments
from analysis.runs import Runs
from experiments.building import build_training
from experiments.configuration import plain_config
from experiments.data import load_data
from experiments.runs.records import ProbeRecorder
from probes import ProbeError, Segments
from probes.reductions import SignChanges
from tests import slow_twins as twin
from tests.test_probes import assert_equal_states, build, everything, sgd, train_step

POINTS, SAMPLES = 9, 13
SMALL = ["experiment=balestriero2022/segments", "data.subset=64", "data.test_subset=20", "optim.batch_size=32"]
SMALL += ["model.widths=[12]", "model.depth=3", f"probes.fixed_batch={SAMPLES}", f"probes.use.segments.points={POINTS}"]
ARMS = ("none", "batch", "centring", "layer")


def changes_by_hand(values: list[np.ndarray]) -> tuple[float, float]:
    """Of one layer, from its values on each segment, (points, units)."""
    changes, units = [], values[0].shape[1]
    for segment in values:
        for unit in range(units):
            line = [bool(x > 0) for x in segment[:, unit]]
            changes.append(sum(a != b for a, b in itertools.pairwise(line)))
    signs = [{bool(x > 0) for segment in values for x in segment[:, unit]} for unit in range(units)]
    return sum(changes) / len(changes), sum(len(own) == 1 for own in signs) / units


def by_hand(arm: str, chosen: list[str]) -> list[tuple[float, float]]:
    """Layer by layer; statistics of a batch are those of all 64 training samples."""
    config = plain_config(experiments.compose([*chosen, f"arm={arm}", "runs_dir=none"]))
    data = load_data(config["data"], config["seed"], config["optim"]["batch_size"], torch.device("cpu"))
    network = build_training(config, data, torch.device("cpu"), ProbeRecorder()).network
    weights = [w.detach().double().numpy() for w in network.parameters() if w.ndim == 2]
    fixed = data.fixed_batch(SAMPLES).inputs.flatten(1).double().numpy()
    samples = data.fixed_batch(64).inputs.flatten(1).double().numpy()
    pairs = [(fixed[i], fixed[i + 1]) for i in range(0, SAMPLES - 1, 2)]
    lines = [np.array([a + (b - a) * k / (POINTS - 1) for k in range(POINTS)]) for a, b in pairs]
    found = []
    for weight in weights[:-1]:
        z, zs = samples @ weight.T, [line @ weight.T for line in lines]
        if arm in ("batch", "centring"):
            mean = z.mean(0)
            size = np.sqrt(z.var(0) + 1e-5) if arm == "batch" else 1.0
            z, zs = (z - mean) / size, [(line - mean) / size for line in zs]
        if arm == "layer":
            z, *zs = [(v - v.mean(1, keepdims=True)) / np.sqrt(v.var(1, keepdims=True) + 1e-5) for v in (z, *zs)]
        found.append(changes_by_hand(zs))
        samples, lines = np.maximum(z, 0), [np.maximum(line, 0) for line in zs]
    return found


@pytest.mark.parametrize("arm", ARMS)
def test_sign_changes_are_those_of_a_pass_by_hand(arm: str, tmp_path: Path) -> None:
    chosen = [*SMALL, "model.activation=relu", "data.standardise=true", "seed=3"]
    experiments.run(experiments.compose([*chosen, f"arm={arm}", f"runs_dir={tmp_path}"]))
    runs, expected = Runs.load(tmp_path), by_hand(arm, chosen)
    for place, metric in enumerate(("sign_changes", "constant_sign_share")):
        rows = runs.records(metric, "segments")
        assert rows["value"].tolist() == pytest.approx([layer[place] for layer in expected])
    assert len({layer[0] for layer in expected}) == 3, "layers that differ"


def test_a_straight_line_crosses_a_hyperplane_of_the_first_layer_once_if_its_ends_lie_on_two_sides() -> None:
    draw = torch.Generator().manual_seed(0)
    x, w = torch.randn(40, 7, generator=draw), torch.randn(7, 11, generator=draw)
    probe = Segments(points=33)
    ((name, (points, _)),) = probe.made_of(x, torch.zeros(40)).items()
    assert name == probe.batch
    changes, _ = SignChanges("t", 33).reduce(points @ w).tolist()
    ends = (x[::2] @ w > 0) != (x[1::2] @ w > 0)
    assert changes == pytest.approx(ends.double().mean().item())


def test_units_of_one_sign_are_counted_over_all_segments_and_channels_place_by_place() -> None:
    above = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0.0]]) - 0.5  # two segments of two points
    assert SignChanges("t", 2).reduce(above).tolist() == pytest.approx([1 / 6, 2 / 3])
    planes = above.reshape(4, 1, 3, 1)
    assert SignChanges("t", 2).reduce(planes).tolist() == pytest.approx([1 / 6, 2 / 3])
    assert SignChanges("t", 4).reduce(above).tolist() == pytest.approx([1 / 3, 2 / 3])
    dead = torch.tensor([[0.0], [1.0], [0.0], [1.0]])  # 0 is not above 0
    assert SignChanges("t", 2).reduce(dead).tolist() == [1, 0]
    assert SignChanges("t", 2).reduce(-dead).tolist() == [0, 1]


def test_segments_join_neighbours_in_the_batch() -> None:
    x = torch.arange(5.0)[:, None] ** 2
    ((_, (points, targets)),) = Segments(points=5).made_of(x, torch.arange(5)).items()
    assert points[:, 0].tolist() == [0, 0.25, 0.5, 0.75, 1, 4, 5.25, 6.5, 7.75, 9]
    assert targets.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]


@pytest.mark.parametrize("inputs", [torch.zeros(1, 3), torch.zeros(4, 3, dtype=torch.uint8), [torch.zeros(4, 3)]])
def test_what_no_line_can_be_drawn_in_is_refused(inputs: object) -> None:
    with pytest.raises(
        ProbeError,
        match=r"^segments: the fixed batch \(probes.fixed_batch\) must be two samples or more, (not 1|each one)",
    ):
        Segments().made_of(inputs, torch.zeros(4))


def test_it_disturbs_nothing_and_needs_two_points_and_an_activation() -> None:
    states = []
    x, y = twin.image_batch(seed=4)
    for probe in (None, Segments(points=3)):
        network = twin.conv_net("batch", dropout=0.3)
        optimiser = sgd(network, 0.1)
        made = {} if probe is None else probe.made_of(x, y)
        engine = build(network, None, {} if probe is None else {"s": probe}, batches=made)
        with engine.around(0, twin.image_batch()) as forward:
            train_step(forward, network, engine.objective, optimiser, twin.image_batch(), 7, 0)
        states.append(everything(network, optimiser))
    assert_equal_states(*states)
    assert all(0 < value < 3 for value in engine.records[0][2]["sign_changes"].tolist())
    assert not math.isnan(engine.records[0][2]["constant_sign_share"].sum().item())
    with pytest.raises(ProbeError, match="segments points=1: must be at least 2"):
        Segments(points=1)
    linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(x[0].numel(), 3))
    assert build(linear, None, {"s": Segments()}, batches=Segments().made_of(x, y)).fields()["s"] == {}
