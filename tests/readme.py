"""A user's folder with the files that the README and its pages show, and their commands, typed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.data.torchvision_import import import_torchvision
from tests.pages import block

MAIN = {
    "experiments": "experiments.cli",
    "experiments.runs.prune": "experiments.runs.prune",
    "analysis": "analysis.__main__",
}


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The pages' own files, where they say that these belong."""
    files = {
        "median.py": block("class Median"),
        "norm/median.yaml": block("name: Median"),
        "wide.py": block("def Wide"),
        "model/wide.yaml": "name: Wide\nfile: ../wide.py\nwidth: 64\n",
        "stripes.py": block("def stripes"),
        "data/stripes.yaml": "name: stripes\nfile: ../stripes.py\n",
        "vectors.py": block("def vectors"),
        "data/vectors.yaml": "name: vectors\nfile: ../vectors.py\n",
        "signs.py": block("class Signs"),
        "optim/signs.yaml": "name: Signs\nfile: ../signs.py\nlr: 0.01\n",
        "experiment/statistics.yaml": block("slow statistics:"),
        "steady2026/__init__.py": block("STUDY = Study("),
        "steady2026/claims.py": block("CLAIMS = ("),
        "steady2026/figures/__init__.py": "",
        "steady2026/figures/loss_by_momentum.py": block('EXPECTED = "One curve for both'),
    }
    for name, text in files.items():
        target = tmp_path / "mine" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return tmp_path


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a command that ends well prints; without a process of its own, which would import torch each time."""

    def typed(*arguments: str, cwd: Path, module: str = "experiments") -> str:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", [module, *arguments])
        try:
            code = importlib.import_module(MAIN[module]).main()
        except SystemExit as end:  # as --help ends
            code = end.code
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return captured.out

    return typed


def small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision's VGG with 32 units, not 4096, in its fully connected layers, which hold 93 % of its parameters."""
    models = import_torchvision().models
    vgg = models.vgg11_bn

    def slim(**options: Any) -> torch.nn.Module:
        network = vgg(init_weights=False, **options)
        for place, sizes in ((0, (512 * 7 * 7, 32)), (3, (32, 32)), (6, (32, options["num_classes"]))):
            assert isinstance(network.classifier[place], torch.nn.Linear)
            network.classifier[place] = torch.nn.Linear(*sizes)
        return network

    monkeypatch.setattr(models, "vgg11_bn", slim)
