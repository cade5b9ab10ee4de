"""Weights multiplied, against the same done by hand; closed forms with and without a normalisation."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from probes import Objective, ProbeError, Scaling
from tests.test_probes import CROSS_ENTROPY, build, sgd, train_step
from tests.test_probes_biases import data

FACTORS = (0.1, 3.0)


def network_of(*, eps: float) -> nn.Module:
    torch.manual_seed(0)
    first = (nn.Linear(6, 5), nn.BatchNorm1d(5, eps=eps), nn.Sigmoid())
    return nn.Sequential(*first, nn.Linear(5, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 3)).double()


def measured(network: nn.Module, **options: object) -> dict[str, list[list[float]]]:
    probe = Scaling(**{"factors": FACTORS, **options})  # type: ignore[arg-type]
    engine = build(network, Objective(CROSS_ENTROPY), {"s": probe}, example=data(), learning_rate=0.1)
    with engine.around(0, data()) as forward:
        train_step(forward, network, engine.objective, sgd(network, 0.1), data(), 7, 0)
    ((_, _, found),) = engine.records
    return {key: value.tolist() for key, value in found.items()}


def by_hand(network: nn.Module, place: int, factor: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs of the normalisation behind a layer, and the gradient of its weights, at a times its weights."""
    one = copy.deepcopy(network)
    with torch.no_grad():
        one[place].weight.mul_(factor)  # type: ignore[index, union-attr]
    x, y = data()
    outputs = one[: place + 2](x)  # type: ignore[index]
    loss = CROSS_ENTROPY(one[place + 2 :](outputs), y)  # type: ignore[index]
    return outputs.detach(), torch.autograd.grad(loss, one[place].weight)[0]  # type: ignore[index, union-attr, arg-type]


def test_errors_are_those_of_weights_multiplied_by_hand() -> None:
    network = network_of(eps=0.1)  # large, so that there is something to measure
    expected: dict[str, list[list[float]]] = {"scaling_output_error": [], "scaling_gradient_error": []}
    for place in (0, 3):
        y, g = by_hand(network, place, 1.0)
        outputs, gradients = zip(*(by_hand(network, place, a) for a in FACTORS), strict=True)
        expected["scaling_output_error"].append([((one - y).norm() / y.norm()).item() for one in outputs])
        expected["scaling_gradient_error"].append(
            [((a * one - g).norm() / g.norm()).item() for a, one in zip(FACTORS, gradients, strict=True)]
        )
    found = measured(network)
    for key, rows in expected.items():
        assert min(min(row) for row in rows) > 1e-3
        for ours, theirs in zip(found[key], rows, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-9)


def test_with_a_small_eps_scale_does_not_matter_and_a_bias_that_stays_does() -> None:
    found = measured(network_of(eps=1e-14))
    assert max(found["scaling_output_error"][0] + found["scaling_gradient_error"][0]) < 1e-9
    assert min(found["scaling_output_error"][1]) > 1e-3  # layer normalisation, whose bias is not scaled along


class NormalisedFirst(nn.Module):
    """A pre-activation block behind a normalised layer: two of the three normalisations stand before the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = (nn.Linear(6, width) for width in (6, 6, 3))
        self.n0, self.n1, self.n2 = (nn.BatchNorm1d(6) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.n0(self.a(x))
        x = x + self.b(torch.relu(self.n1(x)))
        out: torch.Tensor = self.head(torch.relu(self.n2(x)))
        return out


def test_a_normalisation_before_the_weights_is_none_that_follows_them() -> None:
    torch.manual_seed(0)
    network = NormalisedFirst().double()
    fields = build(network, None, {"s": Scaling()}, example=data()).fields()["s"]
    assert fields["scaling_output_error"]["layer"] == ["a"]
    with pytest.raises(ProbeError, match="scaling: layer 'head' has no trained weights that a normalisation follows"):
        build(network, None, {"s": Scaling(layers=("head",))}, example=data())


@pytest.mark.parametrize("factors", [(), (0.0, 1.0), (-1.0, 1.0), (2.0, 1.0), (1.0, float("inf")), (float("nan"),)])
def test_what_is_no_factor_is_refused(factors: tuple[float, ...]) -> None:
    with pytest.raises(ProbeError, match=r"scaling factors=\[.*\]: must be ascending, above 0, at least one"):
        Scaling(factors=factors)


def test_what_cannot_be_asked_is_refused() -> None:
    network = network_of(eps=1e-5)
    with pytest.raises(ProbeError, match="scaling: layer '6' has no trained weights that a normalisation follows"):
        build(network, None, {"s": Scaling(layers=("6",))}, example=data())
    assert build(network, None, {"s": Scaling()}, example=data()).fields()["s"]["scaling_output_error"]["layer"] == [
        "0",
        "3",
    ]
