"""What the script by hand says, and that its gradients are right: its numbers are those of the studies."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.independent import by_hand, output_scaling


@pytest.mark.parametrize(("normalised", "tanh", "squared"), [*itertools.product((False, True), repeat=3)])
def test_the_gradients_are_those_of_differences(normalised: bool, tanh: bool, squared: bool) -> None:
    draw = np.random.default_rng(0)
    x, y = draw.standard_normal((12, 5)), np.eye(3)[draw.integers(0, 3, 12)]
    theta = [part + 0.1 * draw.standard_normal(part.shape) for part in by_hand.initial([5, 4, 4, 3], normalised, draw)]
    _, gradient = by_hand.loss_and_gradient(theta, x, y, normalised, tanh, squared)
    for i, part in enumerate(theta):
        for place in [tuple(draw.integers(0, size) for size in part.shape) for _ in range(4)]:
            ends = []
            for sign in (1, -1):
                moved = [one.copy() for one in theta]
                moved[i][place] += sign * 1e-6
                ends.append(by_hand.loss_and_gradient(moved, x, y, normalised, tanh, squared)[0])
            assert gradient[i][place] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-9)


@pytest.mark.long
@pytest.mark.parametrize("normalised", [False, True])
def test_full_batch_descent_settles_at_the_edge(normalised: bool) -> None:
    """cohen2021, CO2: 2.03 in both networks."""
    assert 1.9 < by_hand.at_the_edge(normalised, rate=0.2, seed=0) < 2.2


@pytest.mark.long
def test_the_order_of_the_data_matters_with_batch_normalisation_alone() -> None:
    """wu2023, W1 and W2: 12 times, and 0.99 times."""
    ratios = {
        normalised: by_hand.final_loss(normalised, True, seed=0) / by_hand.final_loss(normalised, False, seed=0)
        for normalised in (False, True)
    }
    assert ratios[True] > 1.5
    assert 1 / 1.25 < ratios[False] < 1.25


@pytest.mark.long
def test_scaling_the_output_by_its_deviation_raises_the_sharpness_and_centring_lowers_it() -> None:
    """karakida2019, KA1."""
    none, centring, deviation, root = (
        output_scaling.largest(kind, depth=3, seed=0)
        for kind in ("none", "centring", "by deviation", "by root mean square")
    )
    assert centring < 0.5 * none
    assert root < none < deviation
