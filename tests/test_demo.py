"""What `make demo` carries out: of every claim of the paper the arms, with what it looks at, in few runs."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from experiments.sweeps.several import jobs_of
from tests.pages import ROOT

SIX = ("none", "batch", "noisy_batch", "l1", "l2", "linf")


def listed() -> list[str]:
    """The experiments of the demo, in order."""
    (names,) = re.findall(r"^DEMO *:= *((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return names.replace("\\\n", " ").split()


@pytest.fixture(scope="module")
def jobs() -> list[dict[str, Any]]:
    assert len(listed()) == len(set(listed())) == 8
    of_paper = [name for name in listed() if name.startswith("santurkar2018/")]
    return [config for name in of_paper for _, config in jobs_of([f"experiment={name}"])]


def test_each_experiment_of_the_list_is_there() -> None:
    """Those of other studies too, of which the tests below compose nothing."""
    assert [name for name in listed() if not (ROOT / "conf" / "experiment" / f"{name}.yaml").is_file()] == []


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
def test_the_list_is_what_make_demo_carries_out() -> None:
    command = ["make", "--dry-run", "demo", "RUNS=runs/here"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"-m experiments.sweeps.several {' '.join(listed())} runs_dir=runs/here" in told


def seeds(jobs: list[dict[str, Any]], model: str, norm: str, lr: float) -> set[int]:
    return {config["seed"] for config in of(jobs, model, norm, lr)}


def of(jobs: list[dict[str, Any]], model: str, norm: str, lr: float) -> Iterator[dict[str, Any]]:
    for config in jobs:
        if (config["model"]["name"], config["norm"]["name"], config["optim"]["lr"]) == (model, norm, lr):
            yield config


def test_it_has_the_arms_of_every_claim_from_s1_to_s23(jobs: list[dict[str, Any]]) -> None:
    assert all(seeds(jobs, "vgg_small", norm, 0.1) >= {0} for norm in (*SIX, "noise"))
    assert all(seeds(jobs, "deep_linear", norm, 1e-6) >= {0} for norm in SIX if norm != "noisy_batch")
    for norm in ("none", "batch"):  # three seeds lean; two choose a rate (S1b), the third is judged
        assert seeds(jobs, "deep_linear", norm, 1e-6) == {0, 1, 2}
        assert all(seeds(jobs, "vgg_small", norm, lr) == {0, 1, 2} for lr in (0.03, 0.1, 0.5))
    assert seeds(jobs, "vgg_small", "noise", 0.1) == {0, 1, 2}


def test_it_looks_at_what_they_speak_of(jobs: list[dict[str, Any]]) -> None:
    used = {norm: [c["probes"]["use"] for c in of(jobs, "vgg_small", norm, 0.1)] for norm in SIX}
    for norm in SIX:
        assert any(use["landscape"]["every"] == use["activations"]["every"] == 1 for use in used[norm])
    for norm in ("none", "batch"):  # S7, S14, S22
        assert any(use["ics"]["every"] == 1 for use in used[norm])
        assert any(use["directions"]["random"] == 8 and use["directions"]["every"] <= 2 for use in used[norm])
    assert any(use["theory"]["curvature"] and use["theory"]["every"] <= 4 for use in used["batch"])


def test_it_trains_each_network_to_the_length_of_its_study(jobs: list[dict[str, Any]]) -> None:
    """A shorter run is the same training, which a longer one carries on."""
    for model, norms, lr, steps in (("vgg_small", SIX, 0.1, 300), ("deep_linear", ("none", "batch", "l1"), 1e-6, 800)):
        for norm in norms:
            assert max(config["steps"] for config in of(jobs, model, norm, lr)) == steps
