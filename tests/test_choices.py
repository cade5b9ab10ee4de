"""What runs are called, where a user's file is found, and what a user's YAML file need not repeat."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import experiments
from analysis import load_arrays, load_runs, load_status
from experiments.configuration import plain_config
from experiments.errors import WrongInput
from experiments.schema import GROUP_DEFAULTS, validate
from tests.conftest import partly
from tests.made_runs import log, write_arrays, write_run
from tests.runs import MLP
from tests.test_command_line import in_process

OWN = """
import torch
from experiments.data import Arrays
from experiments.norms import OutputNormalisation

class Median(OutputNormalisation):
    def __init__(self, layer: torch.nn.Module, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(layer, eps=eps, momentum=momentum)

    def statistics(self, x):
        units = x.transpose(0, 1).flatten(1)
        return units.mean(dim=1), units.var(dim=1) + self.eps

def stripes(seed: int, *, samples: int = 200) -> Arrays:
    images = torch.arange(samples * 64).reshape(samples, 1, 8, 8).to(torch.uint8)
    labels = torch.arange(samples) % 2
    return Arrays(images, labels, images, labels, classes=("plain", "striped"))

def Plain(network: torch.nn.Module, lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), lr=lr)
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's own, below the working directory, each Python file beside its YAML file."""
    own = tmp_path / "mine"
    for group, name, text in (
        ("norm", "median", "name: Median\nfile: own.py\n"),
        ("norm", "slow", "defaults: [median, _self_]\nmomentum: 0.01\n"),
        ("norm", "renamed", "name: batch\neps: 1.0e-3\nmomentum: 0.1\n"),
        ("norm", "lost", "name: Median\nfile: nowhere.py\n"),
        ("data", "lines", "name: stripes\nfile: own.py\n"),
        ("optim", "plain", "name: Plain\nfile: own.py\nlr: 0.01\n"),
        ("optim", "rateless", "name: Plain\nfile: own.py\n"),
        ("experiment", "trial", "# @package _global_\ndefaults:\n  - override /norm: median\nsteps: 7\n"),
        ("probes", "sharp", "use: {sharp: {name: Drop, file: own.py}}\n"),
    ):
        (own / group).mkdir(parents=True, exist_ok=True)
        (own / group / f"{name}.yaml").write_text(text)
        (own / group / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return own


@pytest.mark.parametrize(
    ("typed", "choices"),
    [
        ([], ["digits", "vgg_small", "batch", "sgd"]),
        (["norm=median", "data=lines", "optim=plain"], ["lines", "vgg_small", "median", "plain"]),
        (["norm=slow"], ["digits", "vgg_small", "slow", "sgd"]),
        (["norm=renamed", "optim=gd"], ["digits", "vgg_small", "renamed", "gd"]),
        (["experiment=trial", "model=mlp_ioffe_szegedy"], ["digits", "mlp_ioffe_szegedy", "median", "sgd"]),
        (["experiment=santurkar2018/vgg", "scale=full"], ["cifar10", "vgg16", "batch", "sgd"]),
        (
            ["norm=median", "norm.name=Other"],
            ["digits", "vgg_small", "Other", "sgd"],
        ),  # no longer what median.yaml says
        (["norm.name=l1"], ["digits", "vgg_small", "l1", "sgd"]),
    ],
)
def test_a_choice_is_called_as_it_was_typed(typed: list[str], choices: list[str], mine: Path) -> None:
    config = experiments.compose(typed, config_dir=mine)
    assert list(OmegaConf.to_container(config.choices).values()) == choices


@pytest.mark.long
def test_a_run_is_named_after_its_choices_by_compose_command_line_and_sweep_alike(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["norm=median", "data=lines", "optim=plain", "model=mlp", "model.widths=[4]", "steps=2", "data.subset=150"]
    outcome = experiments.run(experiments.compose(typed, config_dir=mine))
    assert outcome.path.name.startswith("lines-mlp-median-plain-lr0.01-seed0-")
    stored = json.loads((outcome.path / "config.json").read_text())
    assert stored["choices"] == {"data": "lines", "model": "mlp", "norm": "median", "optim": "plain"}
    assert "choices" not in stored["training"] | stored["measurement"]
    for more in ([], ["-m", "seed=0,1", "norm=median,slow", "launcher.workers=1"]):
        code, error = in_process(
            "--config-dir",
            "mine",
            *(set(typed) if not more else typed[1:]),
            *more,
            monkeypatch=monkeypatch,
            capsys=capsys,
        )
        assert code == 0, error
    names = sorted(path.name[:32] for path in Path("runs").iterdir() if path.name.startswith("lines"))
    assert names == [f"lines-mlp-{norm}-plain-lr0.01-seed"[:32] for norm in ("median", "median", "slow", "slow")]
    table = load_runs("runs")
    assert set(table["norm"]) == {"median", "slow"}
    assert set(table["data"]) == {"lines"}
    assert set(table["optimiser"]) == {"plain"}
    assert set(load_status("runs")["norm"]) == {"median", "slow"}


def test_a_configuration_that_was_not_composed_goes_by_the_names(tmp_path: Path) -> None:
    plain = {
        "data": {"name": "digits", "subset": 64},
        "model": {"name": "mlp", "widths": [4]},
        "norm": {"name": "l1"},
        "optim": {"name": "sgd", "lr": 0.1, "batch_size": 16},
        "numerics": {"name": "exact", "deterministic": True, "tf32": False},
        "steps": 2,
        "threads": 1,
        "launcher": {"name": "local"},
        "scale": "demo",
        "runs_dir": str(tmp_path),
    }
    path = experiments.run(plain).path
    assert path.name.startswith("digits-mlp-l1-sgd-lr0.1-seed0-")
    assert set(load_runs(path)["norm"]) == {"l1"}


def test_the_label_of_data_comes_before_their_choice(tmp_path: Path) -> None:
    for seed, data in enumerate(({"label": "birds"}, {"label": "image_folder"}, {"label": None})):
        choices = {"choices": {"data": "mine", "model": "m", "norm": "n", "optim": "o"}}
        write_run(tmp_path, seed=seed, lines=log(), config={"data": {"name": "image_folder", **data}, **choices})
    firsts = load_runs(tmp_path).groupby("seed").first()
    assert list(firsts["data"]) == ["birds", "mine", "mine"]
    assert list(firsts.loc[0, ["model", "norm", "optimiser"]]) == ["m", "n", "o"]


def test_a_file_is_found_beside_its_yaml_then_in_the_working_directory(mine: Path) -> None:
    def file(*typed: str) -> str:
        return str(plain_config(experiments.compose(["norm=median", *typed], config_dir=mine))["norm"]["file"])

    here, beside = mine.parent / "own.py", mine / "norm" / "own.py"
    here.write_text(OWN)
    assert file() == str(beside)
    assert file("norm.file=own.py") == str(here)  # typed: from the working directory
    config = experiments.compose(["norm=slow", "probes=[ics,sharp]"], config_dir=mine)
    assert config.norm.file == str(beside)  # stated by the YAML file that it begins with
    assert config.probes.use.sharp.file == str(mine / "probes" / "own.py")
    beside.unlink()
    assert file() == str(here)
    here.unlink()
    with pytest.raises(WrongInput, match=r"^norm\.file=own\.py: no such file, neither ") as caught:
        file()
    assert str(beside) in str(caught.value)
    assert str(here) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("group", ["data", "optim", "model", "norm"])
def test_a_users_yaml_inherits_the_groups_defaults_and_can_override_them(group: str, mine: Path) -> None:
    own = {"data": "lines", "optim": "plain", "norm": "median"}
    chosen = [f"{key}={value}" for key, value in own.items()]
    plain = plain_config(experiments.compose(chosen, config_dir=mine))
    validate(plain)
    inherited = {key: value for key, value in plain[group].items() if key not in ("file", "name", "lr")}
    assert inherited.items() >= {k: v for k, v in GROUP_DEFAULTS[group].items() if k not in ("file", "lr")}.items()
    changed = experiments.compose([*chosen, "data.subset=9", "optim.batch_size=3", "optim.schedule=cosine"], mine)
    assert (changed.data.subset, changed.optim.batch_size, changed.optim.schedule) == (9, 3, "cosine")


def test_the_defaults_are_not_shared_between_configurations(mine: Path) -> None:
    experiments.compose(["optim=plain"], mine).optim.milestones.append(3)
    assert experiments.compose(["optim=plain"], mine).optim.milestones == []
    assert GROUP_DEFAULTS["optim"]["milestones"] == []


WRONG = {
    "optim=rateless": "optim.lr: must be given",
    "optim=plain optim.batchsize=3": "optim.batchsize=3: unknown key; did you mean 'batch_size'?",
    "optim=plain +optim.momentun=3": "optim.momentun=3: unknown option",
    "data=lines data.subsets=3": "data.subsets=3: unknown key; did you mean 'subset'?",
    "data=lines +data.sample=3": "data.sample=3: unknown option of stripes; did you mean 'samples'?",
    "norm=slow norm.momentun=3": "norm.momentun=3: unknown key; did you mean 'momentum'?",
    "choices.norm=mine": "choices.norm: cannot be set",
    "norm=lost": "norm.file=nowhere.py: no such file, neither ",
}


@pytest.mark.parametrize("typed", partly(WRONG, 5))
def test_wrong_input_is_still_one_line(
    typed: str, mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = [o for o in MLP if not o.startswith(("data", "optim"))]
    code, error = in_process("--config-dir", "mine", *kept, *typed.split(), monkeypatch=monkeypatch, capsys=capsys)
    assert code == 2, error
    assert len(error.strip().splitlines()) == 1
    assert WRONG[typed] in error


def test_the_table_of_arrays_has_numbers_as_numbers(tmp_path: Path) -> None:
    for seed, size in enumerate((64, None)):
        write_arrays(
            write_run(tmp_path, seed=seed, lines=log(1), config={"optim": {"batch_size": size}}), range(2), merged=True
        )
    entries = load_arrays("histogram", tmp_path).entries
    assert [str(entries[name].dtype) for name in ("seed", "lr", "batch_size", "diverged_at", "norm")] == [
        *["int64", "float64", "float64", "float64", "category"]
    ]
    assert entries["dims"].tolist() == [("layer", "bin")] * 2
    assert len(load_arrays("histogram", tmp_path).where(batch_size=64)) == 1
