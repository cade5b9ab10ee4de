"""What others add: a reduction and a point are one class each, a probe is one file."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

import probes
from experiments import probing
from experiments.discovery import Registry
from probes import After, Before, Hybrid, Need, Objective
from probes.points import Point
from probes.reductions import GradientReduction
from tests import slow_twins as twin
from tests.test_probes import CROSS_ENTROPY, Custom
from tests.test_probes_values import one_step


@dataclass(frozen=True)
class LargestGradient(GradientReduction):
    """(parameters,): largest absolute value of each parameter's gradient."""

    by_parameter = True

    def reduce(self, gradients, reference, values):
        return torch.stack([gradient.abs().max() for gradient in gradients.values()])

    def shape(self, view, names, samples):
        return (len(names),)


@dataclass(frozen=True)
class Between(Point):
    """Some way from theta_t to theta_{t+1}."""

    share: float

    def __str__(self):
        return f"{self.share:g} of the update"

    def move(self, moment):
        moment.walk(moment.update(), -self.share)


@pytest.mark.parametrize("reuse", [True, False])
def test_a_reduction_and_a_point_of_ones_own_are_one_class_each(reuse):
    network, objective = twin.conv_net("batch").double(), Objective(CROSS_ENTROPY, 1e-2)
    batch, other = ((b[0].double(), b[1]) for b in (twin.image_batch(), twin.image_batch(5, seed=4)))
    before = twin.Snapshot(network, objective, 7, 0)
    largest = LargestGradient()
    points = {"before": Before(), "half": Between(0.5), "c2": Hybrid("c2"), "c1": Hybrid("c1"), "after": After()}
    needs = {(b, name): Need(b, point, largest) for b in ("train", "other") for name, point in points.items()}
    found = {}
    own = Custom(needs.values(), {}, lambda at: found.update({key: at[need] for key, need in needs.items()}) or {})
    engine, _ = one_step(
        network, {"own": own}, batch=batch, batches={"other": other}, objective=objective, reuse_training_pass=reuse
    )
    end = {name: p.detach() for name, p in network.named_parameters()}
    moved = {
        "before": {},
        "half": {name: (before.state[name] + value) / 2 for name, value in end.items()},
        "c2": {name: value for name, value in end.items() if name.startswith("c1.")},
        "c1": {},
        "after": end,
    }
    for (b, name), value in found.items():
        gradients = before.run({"train": batch, "other": other}[b], moved[name])[2]
        expected = [g.abs().max() for n, g in gradients.items() if len(name) != 2 or n.startswith(f"{name}.")]
        torch.testing.assert_close(value, torch.stack(expected), rtol=1e-9, atol=1e-12)
    assert "0.5 of the update" in engine.describe()
    assert "largest gradient" in engine.describe()


def test_a_probe_of_the_package_is_one_file(tmp_path, monkeypatch):
    text = "class Depth:\n    def declare(self, network): ...\n    def measure(self, at): ...\n"
    (tmp_path / "depth_of_network.py").write_text("from probes.gradients import Gradients\n\n\n" + text)
    known = probing.PROBES.names()
    monkeypatch.setattr(probes, "__path__", [*probes.__path__, str(tmp_path)])
    found = Registry("probe", "probes", probing.PROBES._entry_of)
    assert found.get("depth_of_network").__name__ == "Depth"
    assert found.names() == sorted([*known, "depth_of_network"])
