"""Label noise: how many labels, which, and what they become."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import experiments
from experiments.configuration import plain_config
from experiments.data import Data, Options, load_data
from experiments.data.labels import with_noise
from experiments.errors import WrongInput
from experiments.runs.identity import identity_of
from tests.runs import small

TARGETS = torch.arange(4000) % 4


def labels_of(data: Data) -> torch.Tensor:
    return data.batch(0).targets


def digits(noise: float, seed: int = 0, **options: Any) -> Data:
    return load_data({"name": "digits", "label_noise": noise, **options}, seed, None)


@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.5, 1.0])
def test_the_share_that_was_asked_for_is_wrong(fraction: float) -> None:
    before = TARGETS.clone()
    noisy = with_noise(TARGETS, fraction, 4, 7)
    assert torch.equal(TARGETS, before), "the data themselves stay"
    assert int((noisy != TARGETS).sum()) == round(fraction * 4000), "none is replaced by itself"
    assert set(noisy.tolist()) == {0, 1, 2, 3}
    clean, wrong = digits(0.0), digits(fraction)
    assert int((labels_of(clean) != labels_of(wrong)).sum()) == round(fraction * 1437)
    assert torch.equal(clean.batch(0).inputs, wrong.batch(0).inputs)
    assert torch.equal(next(clean.test_batches(360)).targets, next(wrong.test_batches(360)).targets)


def test_every_other_class_is_equally_likely_and_so_is_every_sample() -> None:
    pairs = torch.zeros(4, 4)
    chosen = torch.zeros(4000)
    for seed in range(20):
        noisy = with_noise(TARGETS, 0.25, 4, seed)
        wrong = noisy != TARGETS
        pairs.index_put_((TARGETS[wrong], noisy[wrong]), torch.ones(1), accumulate=True)
        chosen += wrong
    expected = 20 * 1000 / 12
    assert (pairs.diag() == 0).all()
    others = pairs[~torch.eye(4, dtype=torch.bool)]
    assert ((others - expected).square() / expected).sum() < 32  # chi squared of 8 to 11 degrees of freedom
    assert chosen.mean() == 5
    assert chosen.var() == pytest.approx(20 * 0.25 * 0.75, rel=0.15)  # binomial


def test_it_is_of_the_seed_and_a_larger_share_has_the_wrong_labels_of_a_smaller() -> None:
    small_share, large = (with_noise(TARGETS, fraction, 4, 1) for fraction in (0.1, 0.3))
    wrong = small_share != TARGETS
    assert torch.equal(large[wrong], small_share[wrong])
    assert torch.equal(small_share, with_noise(TARGETS, 0.1, 4, 1))
    assert not torch.equal(small_share, with_noise(TARGETS, 0.1, 4, 2))


def test_batches_and_their_order_go_by_the_labels_that_are_trained_on() -> None:
    arrays = load_data({"name": "digits", "label_noise": 0.5, "subset": 400}, 3, None)
    options = Options(order="alternating", label_noise=0.5, subset=400)
    data = load_data({"name": "digits", **{k: getattr(options, k) for k in ("order", "label_noise", "subset")}}, 3, 10)
    noisy = {tuple(x.flatten().tolist()): int(y) for x, y in zip(*_of(arrays), strict=True)}
    for step in range(30):
        batch = data.batch(step)
        assert batch.targets.tolist() == [step % 10] * 10
        assert [noisy[tuple(x.flatten().tolist())] for x in batch.inputs] == batch.targets.tolist()
    fixed = data.fixed_batch(50)
    assert [noisy[tuple(x.flatten().tolist())] for x in fixed.inputs] == fixed.targets.tolist()


def _of(data: Data) -> tuple[torch.Tensor, torch.Tensor]:
    return data.batch(0).inputs, data.batch(0).targets


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"label_noise": 1.2}, "data.label_noise=1.2: must be a number from 0 to 1"),
        ({"label_noise": -0.1}, "data.label_noise=-0.1: must be a number from 0 to 1"),
        ({"label_noise": float("nan")}, "data.label_noise=nan: must be a number from 0 to 1"),
        ({"label_noise": "much"}, "data.label_noise=much: must be a number, not str"),
        ({"name": "gaussian", "label_noise": 0.1}, "data.label_noise=0.1: needs labels of at least two classes, and"),
    ],
)
def test_what_cannot_be_is_one_line(options: dict[str, Any], line: str) -> None:
    with pytest.raises(WrongInput) as told:
        load_data({"name": "digits", **options}, 0, 6)
    assert str(told.value).startswith(line)
    assert "\n" not in str(told.value)


def test_one_class_alone_has_no_other() -> None:
    with pytest.raises(WrongInput, match="these data have one class"):
        with_noise(torch.zeros(5, dtype=torch.int64), 0.1, 1, 0)


def test_a_run_learns_the_wrong_labels_and_only_then_is_another(tmp_path: Path) -> None:
    def training(*overrides: str) -> dict[str, Any]:
        return identity_of(plain_config(small(tmp_path, *overrides)), "").training

    assert training("data.label_noise=0") == training()
    assert training("data.label_noise=0.5")["data"]["label_noise"] == 0.5
    clean, noisy = (experiments.run(small(tmp_path, f"data.label_noise={share}", "steps=2")) for share in (0, 0.5))
    assert clean.path != noisy.path
