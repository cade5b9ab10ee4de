"""Ranks, cosines and shapes against plain loops over pairs of samples, and in closed form."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from experiments.data.batches import DataSpec
from experiments.models import build_model
from probes import Objective, ProbeError, Representations
from probes.reductions import Geometry, Shape
from probes.reductions.representations import MEASURES
from tests import slow_twins as twin
from tests.test_probes import CROSS_ENTROPY, build
from tests.test_probes_values import by_unit, one_step, taps_by_hooks

DIGITS = DataSpec((1, 8, 8), 3, "classification")
THRESHOLDS = (-0.2, 0.0, 0.3)


def by_pairs(samples):
    """The measures of a list of vectors, pair by pair."""
    n, h = len(samples), torch.stack(list(samples)).T  # a column each
    centred = h - h.mean(1, keepdim=True)

    def h_rank(m):
        return float(torch.trace(m @ m.T) ** 2 / torch.linalg.matrix_norm(m @ m.T) ** 2)

    def stable_rank(m):
        return float(torch.linalg.matrix_norm(m) ** 2 / torch.linalg.matrix_norm(m, 2) ** 2)

    total = torch.linalg.matrix_norm(h) ** 2
    energies = [float(v @ v) for v in samples]
    largest = energies.index(max(energies))
    pairs = [(i, j) for i, j in itertools.combinations(range(n), 2) if energies[i] > 0 and energies[j] > 0]
    cosine = {(i, j): float(samples[i] @ samples[j]) / math.sqrt(energies[i] * energies[j]) for i, j in pairs}
    rest = [value for pair, value in cosine.items() if largest not in pair]
    return [
        h_rank(h), h_rank(centred), stable_rank(h),
        float(torch.linalg.matrix_norm(h.T @ h / total - torch.eye(n, dtype=h.dtype) / n)),
        sum(cosine.values()) / len(cosine), sum(rest) / len(rest), max(energies) / sum(energies),
        sum(float(value) ** 2 for v in samples for value in v) / sum(len(v) for v in samples),
        *(sum(value > level for value in cosine.values()) / len(cosine) for level in THRESHOLDS),
    ]  # fmt: skip


def drawn(*shape, offset=0.5):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + offset


@pytest.mark.parametrize("shape", [(7, 5), (4, 9), (5, 3, 2, 2)])
@pytest.mark.parametrize("samples", [None, 4])
def test_geometry_is_that_of_all_pairs(shape, samples):
    values = drawn(*shape)
    values[1] = 0  # a sample that every unit is dead for
    found = Geometry("tap", samples, THRESHOLDS).reduce(values)
    assert found.tolist() == pytest.approx(by_pairs(values[:samples].flatten(1)), rel=1e-10)


@pytest.mark.parametrize("pieces", [1, 2**19])
def test_a_large_tap_is_taken_in_pieces(pieces, monkeypatch):
    monkeypatch.setattr("probes.reductions.representations.PIECE", pieces)
    values = drawn(6, 3, 4, 4)
    assert Geometry("tap", None, THRESHOLDS).reduce(values).tolist() == pytest.approx(by_pairs(values.flatten(1)))
    expected = Shape("tap").reduce(values)
    monkeypatch.undo()
    torch.testing.assert_close(expected, Shape("tap").reduce(values))


def test_closed_forms():
    def of(values):
        return dict(zip(MEASURES, Geometry("tap", None, ()).reduce(values).tolist(), strict=True))

    orthogonal = of(3 * torch.eye(6, 8, dtype=torch.float64))
    assert (orthogonal["h_rank"], orthogonal["stable_rank"]) == pytest.approx((6, 6))
    assert (orthogonal["orthogonality_gap"], orthogonal["cosine_mean"]) == pytest.approx((0, 0), abs=1e-12)
    # a simplex: centring takes one dimension of six
    assert orthogonal["h_rank_centred"] == pytest.approx(5)
    line = of(torch.arange(1.0, 5, dtype=torch.float64)[:, None] * torch.ones(5, dtype=torch.float64))
    assert (line["h_rank"], line["stable_rank"], line["cosine_mean"]) == pytest.approx((1, 1, 1))
    assert line["orthogonality_gap"] == pytest.approx(math.sqrt(1 - 1 / 4))  # sum_ij (G_ij / tr G)^2 is 1
    assert line["largest_sample_share"] == pytest.approx(16 / 30)
    equal = of(torch.ones(4, 5, dtype=torch.float64))
    assert equal["orthogonality_gap"] == pytest.approx(math.sqrt(1 - 1 / 4))


def test_nearly_equal_samples_keep_what_tells_them_apart_in_single_precision():
    """Deep plain nets: the samples' cosine is 1 - 1e-8, and the differences are orthogonal."""
    values = (torch.ones(6, 32) + 1e-3 * torch.eye(6, 32)).float()
    found = dict(zip(MEASURES, Geometry("tap", None, ()).reduce(values).tolist(), strict=True))
    assert found["h_rank_centred"] == pytest.approx(5, rel=1e-2)
    assert found["h_rank"] == pytest.approx(1, rel=1e-6)


def test_a_signal_that_vanishes_or_overflows():
    small = Geometry("tap", None, ()).reduce(drawn(5, 4).float() * 1e-16)
    *shapes, second_moment = by_pairs(drawn(5, 4))[: len(MEASURES)]
    assert small.tolist() == pytest.approx([*shapes, second_moment * 1e-32], rel=1e-3, abs=0)
    for broken in (math.inf, math.nan):
        values = drawn(5, 4)
        values[2, 1] = broken
        assert Geometry("tap", None, ()).reduce(values)[:3].isnan().all()


def test_skew_and_kurtosis_of_units_that_vary():
    values = drawn(50, 3)
    values[:, 1] = 0.7
    values[:, 2] = values[:, 2].exp()

    def plain(x):
        z = (x - x.mean()) / x.std(correction=0)
        return torch.stack([(z**3).mean().abs(), ((z**4).mean() - 3).abs()])

    expected = (plain(values[:, 0]) + plain(values[:, 2])) / 2
    torch.testing.assert_close(Shape("tap").reduce(values), expected)
    torch.testing.assert_close(Shape("tap").reduce(values.float()), expected, rtol=1e-4, atol=1e-5)
    (together,) = Shape.together([Shape("tap")], values.T.contiguous(), [range(3)])
    torch.testing.assert_close(together, expected)
    assert Shape("tap").reduce(torch.ones(5, 2)).isnan().all()


@pytest.mark.parametrize("norm", ["batch", "none", "group"])
@pytest.mark.parametrize("reuse", [True, False])
def test_representations_are_those_that_hooks_see(norm, reuse):
    network = twin.conv_net(norm).double()
    batch, fixed = ((b[0].double(), b[1]) for b in (twin.image_batch(), twin.image_batch(11, seed=9)))
    if norm == "batch":
        with torch.no_grad():
            for block in twin.BLOCKS[:3]:
                network.get_submodule(f"{block}.norm").weight.uniform_(-2, 2)
                network.get_submodule(f"{block}.norm").bias.normal_()
    probe = Representations(
        batches=("train", "fixed"), places=("before_normalisation", "output"), samples=6, thresholds=THRESHOLDS
    )
    engine, values = one_step(
        network, {"r": probe}, batch=batch, batches={"fixed": fixed}, reuse_training_pass=reuse, lr=0.0
    )
    found, fields = values["r"], engine.fields()["r"]
    norms = {b: f"{b}.norm" for b in twin.BLOCKS[:3]} if norm != "none" else {}
    before = {b: f"{b}.layer" for b in twin.BLOCKS}
    output = {**{b: f"{b}.activation" for b in twin.BLOCKS[:3]}, "head": "head.layer"}
    for name, data in (("train", batch), ("fixed", fixed)):
        taps = taps_by_hooks(network, data, [*norms.values(), *before.values(), *output.values()])
        for place, of in (("before_normalisation", before), ("output", output)):
            for i, block in enumerate(twin.BLOCKS):
                expected = by_pairs(taps[of[block]][:6].flatten(1))
                mine = [found[f"{metric}_{place}.{name}"][i].item() for metric in MEASURES]
                mine += found[f"cosine_share_above_{place}.{name}"][i].tolist()
                assert mine == pytest.approx(expected, rel=1e-8), (name, place, block)
        planes = ["head"] if norm == "group" else list(twin.BLOCKS)
        assert fields[f"hyperplane_distance.{name}"]["layer"] == planes
        for block, mine in zip(planes, found[f"hyperplane_distance.{name}"], strict=True):
            w = network.get_submodule(before[block]).weight.detach().flatten(1).norm(dim=1)
            z = by_unit(taps[before[block]])
            if block in norms:  # gamma (z - mean) / sigma + beta = 0 is at z = mean - beta sigma / gamma
                module = network.get_submodule(norms[block])
                sigma = (z.var(1, correction=0) + module.eps).sqrt()
                z = z - (z.mean(1) - module.bias.detach() * sigma / module.weight.detach())[:, None]
            torch.testing.assert_close(mine, (z.abs().mean(1) / w).mean())
        predicted = taps["head.layer"].argmax(1).tolist()
        share = max(predicted.count(k) for k in range(3)) / len(predicted)
        assert found[f"most_predicted_share.{name}"].item() == pytest.approx(share)


def test_an_activation_before_the_normalisation_leaves_no_hyperplane():
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.BatchNorm1d(4), nn.Linear(4, 2))
    batch = (torch.randn(6, 3), torch.randint(2, (6,)))
    fields = build(network, Objective(CROSS_ENTROPY), {"r": Representations()}, example=batch).fields()["r"]
    assert fields["hyperplane_distance.train"]["layer"] == ["3"]
    assert fields["h_rank_output.train"]["layer"] == ["0", "3"]


def test_no_pass_is_added():
    engine = build(twin.conv_net(), None, {"r": Representations()}, reuse_training_pass=True)
    assert engine.plan.passes == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"places": ("inside",)}, "must be of before_normalisation"),
        ({"samples": 2}, "samples=2: must be at least 3"),
        ({"thresholds": (0.5, 0.1)}, "ascending"),
        ({"thresholds": (0.5, 1.0)}, "between -1 and 1"),
        ({"batches": ()}, "at least one"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ProbeError, match=message):
        Representations(**options)


@pytest.mark.parametrize("branch", ["plain", "skipinit", "undone"])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_the_stream_is_what_leaves_each_residual_block(norm, branch):
    options = {"name": "residual_mlp", "width": 6, "blocks": 3, "layers_per_block": 2, "branch": branch, "alpha": 0.3}
    network = build_model(options, {"name": norm}, DIGITS, 1).double()
    batch = (drawn(9, 1, 8, 8), torch.arange(9) % 3)
    sums = {}
    handles = [
        network.get_submodule(f"block{i}").register_forward_hook(lambda m, x, y, i=i: sums.update({i: y.detach()}))
        for i in (1, 2, 3)
    ]
    network.train()(batch[0])
    for handle in handles:
        handle.remove()
    probe = Representations(places=("stream", "output"), samples=None, thresholds=THRESHOLDS)
    engine, values = one_step(network, {"r": probe}, batch=batch, lr=0.0)
    found, fields = values["r"], engine.fields()["r"]
    names = [f"block{i}.branch.layer2" for i in (1, 2, 3)]
    assert fields["second_moment_stream.train"]["layer"] == names
    assert fields["second_moment_stream.train"]["unit"] == "activation^2"
    for i in (1, 2, 3):
        mine = [found[f"{metric}_stream.train"][i - 1].item() for metric in MEASURES]
        mine += found["cosine_share_above_stream.train"][i - 1].tolist()
        assert mine == pytest.approx(by_pairs(sums[i]), rel=1e-8), i
    some = Representations(places=("stream",), layers=(names[1], "block3.branch.layer1"))
    fields = build(network, Objective(CROSS_ENTROPY), {"r": some}, example=batch).fields()["r"]
    assert (
        fields["second_moment_stream.train"]["layer"] == names[1:2]
    )  # with the last layer of no block there is no sum


class Functional(nn.Module):
    """Its activation is a function, of one layer's output alone."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.two(torch.relu(self.one(x)) * 0.5)


@pytest.mark.parametrize("make", [lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), Functional])
def test_a_network_without_sums_has_no_stream(make):
    batch = (torch.randn(6, 3), torch.randint(2, (6,)))
    probe = Representations(places=("stream", "output"))
    fields = build(make(), Objective(CROSS_ENTROPY), {"r": probe}, example=batch).fields()["r"]
    assert not [key for key in fields if "stream" in key]
    assert "second_moment_output.train" in fields
