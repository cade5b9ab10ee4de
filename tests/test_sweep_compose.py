"""What a sweep composes for each of its jobs: what that job's overrides alone would compose."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

import experiments
from experiments import cli

ARMS = {
    "slow": ["norm=batch", "norm.momentum=0.5"],
    "exact": ["norm=batch", "norm.eps=0.001"],
    "usual": ["norm=batch"],
    "wide": ["norm=none", "model.widths=[9,9]", "+data.shift={a: 1}"],
    "narrow": ["norm=none", "model.widths=[3]", "+data.shift={b: 2}"],
}


def swept(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> list[tuple[str, DictConfig]]:
    """The jobs of a sweep as they are handed over, none of them carried out."""
    found: list[tuple[str, DictConfig]] = []
    monkeypatch.setattr(cli, "sweep", found.extend)
    monkeypatch.setattr(sys, "argv", ["experiments", "-m", *arguments])
    assert cli.main() == 0
    return found


def plainly(config: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items() if key != "arm"}


def test_each_job_is_what_its_overrides_alone_compose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["model=mlp", "+model.note=7"]
    arms = ", ".join(f"{name}: {overrides}" for name, overrides in ARMS.items())
    jobs = swept(monkeypatch, *given, f"hydra.sweeper.arms={{{arms}}}", "steps=3,5", "optim.lr=0.1,0.2")
    wanted = [
        [*arm, f"steps={steps}", f"optim.lr={lr}"] for arm in ARMS.values() for steps in (3, 5) for lr in (0.1, 0.2)
    ]
    assert len(jobs) == len(wanted) == 20
    for (told, config), overrides in zip(jobs, wanted, strict=True):
        assert plainly(config) == plainly(experiments.compose([*given, *overrides])), told


SIZED = """# @package _global_
steps: ${by_scale:{demo:3, laptop:30}}
model: {width: "${by_scale:{demo:0.5}}"}
evaluation: {every: "${steps}"}
"""


def test_sizes_are_those_of_each_jobs_scale_and_one_that_is_overridden_need_not_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "sized.yaml").write_text(SIZED)
    given = ["--config-dir", str(tmp_path), "experiment=sized"]
    jobs = swept(monkeypatch, *given, "scale=demo,laptop", "model.width=1,2")
    found = [plainly(config) for _, config in jobs]
    assert [(c["steps"], c["evaluation"]["every"], c["model"]["width"]) for c in found] == [
        (3, 3, 1), (3, 3, 2), (30, 30, 1), (30, 30, 2),
    ]  # fmt: skip
    jobs = swept(monkeypatch, *given, "steps=7,8")
    assert [plainly(config)["evaluation"]["every"] for _, config in jobs] == [7, 8]
