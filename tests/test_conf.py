"""Every YAML under conf composes, and every experiment runs."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

import experiments
from experiments import runner
from experiments.data import DATA
from experiments.models import MODELS
from experiments.norms import NORMS
from experiments.optimisers import OPTIMISERS

CONF = Path(__file__).parent.parent / "conf"
CHOICES = [(f.parent.name, f.stem) for f in sorted(CONF.glob("*/*.yaml"))]
EXPERIMENTS = [name for group, name in CHOICES if group == "experiment"]


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_every_choice_composes_and_begins_with_a_comment(group: str, name: str) -> None:
    config = experiments.compose([f"{'+' if group == 'setting' else ''}{group}={name}"])
    OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert (CONF / group / f"{name}.yaml").read_text().startswith("#")


@pytest.mark.parametrize(
    ("group", "registry"), [("data", DATA), ("model", MODELS), ("norm", NORMS), ("optim", OPTIMISERS)]
)
def test_every_built_in_name_has_a_file_and_every_file_names_a_built_in(group: str, registry) -> None:
    named = {experiments.compose([f"{group}={stem}"])[group].name for g, stem in CHOICES if g == group}
    assert named == set(registry.names())


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_labelled_and_says_how_to_run_it(name: str) -> None:
    text = (CONF / "experiment" / f"{name}.yaml").read_text()
    assert yaml.safe_load(text)["label"] == name
    assert f"# python -m experiments experiment={name}" in text.splitlines()[1]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_runs_three_steps(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At scale=demo trained and probed; at scale=full composed and, where small enough, trained too."""
    monkeypatch.setattr(runner, "load_data", functools.partial(runner.load_data, stand_in=True))
    sweep = yaml.safe_load((CONF / "experiment" / f"{name}.yaml").read_text())["hydra"]["sweeper"]["params"]
    last = str(sweep["norm"]).split(",")[-1]
    for scale in ("demo", "full"):
        config = experiments.compose([f"experiment={name}", f"scale={scale}", f"norm={last}"])
        overrides = ["steps=3", "evaluation.every=1", "probes.at=null", "probes.every=2", f"runs_dir={tmp_path}"]
        if config.data.name != "gaussian":
            overrides.append("data.test_subset=20")
        if config.model.name == "vgg16":
            overrides += [
                "model.width=0.125",
                "optim.batch_size=16",
                "probes.fixed_batch=16",
                "probes.use.landscape.multiples=[1.0]",
            ]
        if config.model.name == "vgg11":
            overrides += ["optim.batch_size=16"]
        outcome = experiments.run(
            experiments.compose([f"experiment={name}", f"scale={scale}", f"norm={last}", *overrides])
        )
        assert json.loads((outcome.path / "status.json").read_text())["state"] == "finished"
