"""Every YAML under conf composes, and every experiment runs."""

from __future__ import annotations

import functools
import inspect
import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

import experiments
from experiments.composition import choices
from experiments.configuration import plain_config
from experiments.data import DATA
from experiments.errors import WrongInput
from experiments.models import MODELS
from experiments.norms import NORMS
from experiments.optimisers import OPTIMISERS
from experiments.probing import PROBES
from experiments.runs import run as running
from experiments.sweeps.plugin import CONFIRMATORY
from probes import Probe
from tests.conftest import partly

CONF = Path(__file__).parent.parent / "conf"
GROUPS = sorted(
    folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name not in ("hydra", "__pycache__")
)
CHOICES = [(group, name) for group in GROUPS for name in choices(group)]
EXPERIMENTS = [name for group, name in CHOICES if group == "experiment"]
AFTER = {"hoffer2018/mimicry": ["experiment=hoffer2018/decay", "arm=on"]}
"""Experiments whose runs take a file of a run that has ended -> what trains that run."""


@pytest.mark.parametrize(("group", "name"), partly(CHOICES, 20))
def test_every_choice_composes_and_begins_with_a_comment(group: str, name: str) -> None:
    config = experiments.compose([f"{group}={name}"])
    OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert (CONF / group / f"{name}.yaml").read_text().startswith("#")


@pytest.mark.parametrize(
    ("group", "registry"), [("data", DATA), ("model", MODELS), ("norm", NORMS), ("optim", OPTIMISERS)]
)
def test_every_built_in_name_has_a_file_and_every_file_names_a_built_in(group: str, registry) -> None:
    named = {experiments.compose([f"{group}={stem}"])[group].name for g, stem in CHOICES if g == group}
    assert named == set(registry.names())


def test_every_probe_is_a_file_of_its_name_and_one_yaml_file() -> None:
    own = {stem: experiments.compose([f"probes={stem}"]).probes.use for group, stem in CHOICES if group == "probes"}
    named = {probe.name for use in own.values() for probe in use.values()}
    assert named == set(PROBES.names()) == {Path(inspect.getfile(PROBES.get(name))).stem for name in named}
    for name in named:
        assert [options.name for options in own[name].values()] == [name]
        assert isinstance(PROBES.get(name)(), Probe)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_labelled_and_says_how_to_run_it(name: str) -> None:
    text = (CONF / "experiment" / f"{name}.yaml").read_text()
    assert yaml.safe_load(text)["label"] == name
    assert f"# python -m experiments experiment={name}" in text.splitlines()[1]


def with_setup(path: str) -> list[Any]:
    """An experiment's file and those of the experiments that it begins with, these first."""
    own = OmegaConf.load(CONF / f"{path[1:]}.yaml")
    begun = [str(entry) for entry in own.get("defaults", []) if str(entry).startswith("/experiment/")]
    return [*(file for entry in begun for file in with_setup(entry)), own]


def has_size(name: str, scale: str) -> bool:
    """Whether an experiment has a size for a scale: named wherever its files name sizes."""
    text = " ".join(OmegaConf.to_yaml(file, resolve=False) for file in with_setup(f"/experiment/{name}"))
    return all(f"{scale}:" in size for size in re.findall(r"by_scale:\s*\{(.*?)\}\s*\}", text, re.DOTALL))


def with_sizes() -> list[tuple[str, str]]:
    """Every experiment with every scale that it has a size for."""
    return [case for case in itertools.product(EXPERIMENTS, choices("scale")) if has_size(*case)]


def test_every_experiment_has_a_demo_and_those_that_the_readme_names_have_a_laptop_size() -> None:
    sizes = with_sizes()
    assert {name for name, scale in sizes if scale == "demo"} == set(EXPERIMENTS)
    on_a_laptop = {name for name, scale in sizes if scale == "laptop"}
    assert {"santurkar2018/vgg", "santurkar2018/vgg_lp", "santurkar2018/vgg_controls"} <= on_a_laptop
    of_batches = ("lecun1998", "ioffe2015", "mishkin2016", "irpan2017", "wu2021", "ioffe2017", "summers2020", "luo2019")
    for study in (*of_batches, "galloway2019"):
        own = {name for name in EXPERIMENTS if name.startswith(f"{study}/") and "/setup/" not in name}
        assert own <= on_a_laptop, study
        assert own


@pytest.mark.parametrize(("name", "scale"), with_sizes())
def test_no_experiment_looks_at_seeds_that_are_kept_for_confirming(name: str, scale: str) -> None:
    """But by confirm=true, in place of its own: here neither its values nor its arms have one."""
    experiments.compose([])  # which makes by_scale known
    sweeper = sweeper_of(name, scale)
    parser = OverridesParser.create()
    given = [f"{key}={values}" for key, values in sweeper.get("params", {}).items()]
    given += [text for arm in sweeper.get("arms", {}).values() for text in arm]
    seeds = {
        int(seed)
        for override in parser.parse_overrides(given)
        if override.key_or_group == "seed"
        for seed in (override.sweep_string_iterator() if override.is_sweep_override() else [str(override.value())])
    }
    own = [file for file in with_setup(f"/experiment/{name}") if "seed" in file]
    assert not seeds & set(CONFIRMATORY)
    assert not own, "a seed outside of the sweep"


def sweeper_of(name: str, scale: str) -> dict[str, Any]:
    """What an experiment sweeps at a scale."""
    stated = OmegaConf.merge(*(file.get("hydra", {}).get("sweeper", {}) for file in with_setup(f"/experiment/{name}")))
    found = OmegaConf.to_container(OmegaConf.create({**stated, "scale": scale}), resolve=True)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(("name", "scale"), partly(with_sizes(), 1))
def test_every_experiment_runs_three_steps(
    name: str, scale: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained, where it trains at all, and probed; what is too large for that is made smaller."""
    monkeypatch.setattr(running, "load_data", functools.partial(running.load_data, stand_in=True))
    experiments.compose([])  # which makes by_scale known
    sweeper = sweeper_of(name, scale)
    swept = {key: str(values).split(",") for key, values in sweeper.get("params", {}).items() if key != "seed"}
    last = [f"{key}={values[0 if key == 'optim.lr' else -1]}" for key, values in swept.items()]  # greater ones diverge
    last += [f"arm={arm}" for arm in list(sweeper.get("arms", {}))[-1:]]
    config = experiments.compose([f"experiment={name}", f"scale={scale}", *last])
    overrides = [
        f"steps={min(3, config.steps)}",
        "evaluation.every=1",
        "probes.at=null",
        "probes.every=2",
        f"runs_dir={tmp_path}",
    ]
    if config.data.name != "gaussian":
        overrides.append("data.test_subset=20")
    if config.model.name == "vgg16":
        overrides += [
            "model.width=0.125",
            "optim.batch_size=16",
            "probes.fixed_batch=16",
        ]
        overrides += ["probes.use.landscape.multiples=[1.0]"] * ("landscape" in config.probes.use)
    if config.model.name == "mlp":
        overrides.append(f"model.widths={[min(width, 32) for width in config.model.widths]}")
    if config.model.name == "vgg11":
        overrides += ["optim.batch_size=16", "model.width=0.125", "probes.fixed_batch=16"]
    if config.model.name == "resnet":
        overrides += ["model.depth=8", "model.width=0.25", "optim.batch_size=16", "probes.fixed_batch=16"]
    if config.norm.get("frozen_after") is not None:
        overrides.append("norm.frozen_after=2")
    own = list(sweeper.get("arms", {}).values())[-1:]
    smaller = {line.partition("=")[0] for line in overrides}
    if any(line.partition("=")[0] in smaller for lines in own for line in lines):  # its lines take the arm's place
        kept = [line for lines in own for line in lines if line.partition("=")[0] not in smaller]
        last = [line for line in last if not line.startswith("arm=")] + kept
    if name in AFTER:
        values_swept = [line for line in last if not line.startswith("arm=")]
        experiments.run(experiments.compose([*AFTER[name], f"scale={scale}", *values_swept, *overrides]))
    outcome = experiments.run(experiments.compose([f"experiment={name}", f"scale={scale}", *last, *overrides]))
    assert json.loads((outcome.path / "status.json").read_text())["state"] == "finished"


def test_a_scale_that_an_experiment_does_not_have_is_one_line_and_one_of_ones_own_composes(tmp_path: Path) -> None:
    (tmp_path / "scale").mkdir()
    (tmp_path / "scale" / "poster.yaml").write_text("# @package _global_\nscale: poster\n")
    (tmp_path / "experiment" / "mine").mkdir(parents=True)
    (tmp_path / "experiment" / "mine" / "sized.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /data: ${by_scale:{demo:digits, poster:mnist}}\n"
        "  - override /model: mlp\n  - _self_\nsteps: ${by_scale:{demo:3, poster:70}}\n"
    )
    for scale, expected in {"demo": ("digits", 3), "poster": ("mnist", 70)}.items():
        config = experiments.compose(["experiment=mine/sized", f"scale={scale}"], tmp_path)
        assert (config.data.name, config.steps) == expected
    for experiment in ("mine/sized", "santurkar2018/linear", "santurkar2018/vgg"):
        scale = "full" if experiment == "mine/sized" else "poster"
        with pytest.raises(
            WrongInput, match=f"^scale={scale}: the experiment has no such size; .*allowed: demo, "
        ) as told:
            plain_config(experiments.compose([f"experiment={experiment}", f"scale={scale}"], tmp_path))
        assert "\n" not in str(told.value)
