"""Small runs for tests: composed as a user would, on data that need no network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

import experiments
from experiments.cli import main

DEEP_LINEAR = ["data=gaussian", "model=deep_linear", "optim=gd", "optim.loss=sum", "optim.lr=1e-6", "model.depth=4"]
VGG = ["model=vgg_small", "model.width=0.125", "data.subset=64", "data.test_subset=40", "optim.batch_size=16"]
MLP = ["model=mlp", "model.widths=[16,16]", "data.subset=64", "data.test_subset=40", "optim.batch_size=16"]


def small(runs_dir: Path, *overrides: str) -> DictConfig:
    """A configuration of a few steps, stored under ``runs_dir``; of a small perceptron unless ``model=`` is given."""
    chosen = overrides if any(o.startswith("model=") for o in overrides) else (*MLP, *overrides)
    return experiments.compose(
        ["steps=6", "evaluation.every=2", f"runs_dir={runs_dir}", "probes.fixed_batch=20", *chosen]
    )


def checkpoint(path: Path) -> dict[str, Any]:
    """The latest checkpoint of a run folder, read as a user of torch would."""
    return torch.load(path / "checkpoint.pt", weights_only=True)


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Where two nested structures of tensors and plain values differ, bit by bit (nan equals nan)."""
    if isinstance(one, torch.Tensor):
        same = isinstance(other, torch.Tensor) and one.dtype == other.dtype and one.shape == other.shape
        return [] if same and one.numpy().tobytes() == other.numpy().tobytes() else [where]
    if isinstance(one, dict):
        if not isinstance(other, dict) or list(one) != list(other):
            return [where]
        return [d for key in one for d in differences(one[key], other[key], f"{where}/{key}")]
    if isinstance(one, (list, tuple)):
        if not isinstance(other, (list, tuple)) or len(one) != len(other):
            return [where]
        return [d for i, (a, b) in enumerate(zip(one, other, strict=True)) for d in differences(a, b, f"{where}/{i}")]
    return [] if one == other else [where]


def assert_unnoticed_and_carried_on(folder: Path, *chosen: str, probes: str = "[landscape,gradients]") -> None:
    """Trained with and without probes, at once and in two parts, a run ends with the same bits."""
    for more in ([], [f"probes={probes}", "probes.every=1", "probes.fixed_batch=16"]):
        experiments.run(small(folder / "whole", *chosen, *more))
    one, other = (checkpoint(path)["network"] for path in sorted((folder / "whole").glob("*")))
    assert differences(dict(one), dict(other)) == []
    experiments.run(small(folder / "parts", *chosen, "steps=3"))
    carried_on = experiments.run(small(folder / "parts", *chosen))
    assert carried_on.state == "finished"
    assert differences(dict(one), dict(checkpoint(carried_on.path)["network"])) == []


def refusal(arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> str:
    """The one line of the command line's refusal, before there is a run folder."""
    monkeypatch.setattr(sys, "argv", ["experiments", *arguments, f"runs_dir={folder / 'runs'}"])
    assert main() == 2
    error: str = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert not (folder / "runs").exists()
    return error
