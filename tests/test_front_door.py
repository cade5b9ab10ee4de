"""No key is taken in silence: what nobody reads is refused with the key that is meant, whichever way it was typed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import experiments
from experiments.cli import main
from tests.runs import MLP, small

REFUSED = {
    "+lr=0.5": "lr=0.5: unknown key; did you mean 'optim.lr'?",
    "lr=0.5": "lr=0.5: unknown key; did you mean 'optim.lr'?",
    "epochs=3": "epochs=3: unknown key; did you mean 'steps'?",
    "momentum=0.9": "momentum=0.9: unknown key; did you mean 'norm.momentum' or 'optim.momentum'?",
    "-m +sede=0,1,2": "sede=0: unknown key; did you mean 'seed'?",
    "+norm.activation=relu": "norm.activation=relu: unknown option; did you mean 'model.activation'? allowed: ",
    "++norm.placement=after": "norm.placement=after: unknown option; did you mean 'model.placement'?",
    "+launcher.worker=2": "launcher.worker=2: unknown option; did you mean 'workers'?",
    "+hydra.sweeper.armz=1": "hydra.sweeper.armz=1: unknown key; did you mean 'arms'?",
    "~evaluation.evry": "~evaluation.evry: nothing is there to be taken away; did you mean 'every'?",
    "model.widths=[]": "norm=batch: the model mlp normalises no layer, so it takes norm=none only",
    "model.init_std=0.5": "model.init_std=0.5: is without effect: model.initialisation=glorot does not use it",
    "norm=l1 norm=l2": "norm=l1 norm=l2: norm is set twice, and one of the two would be without effect",
    "--config-name other": "--config-name other: no such file; leave it out for the suite's own, config",
    "data.root=~nobody_of_this_name/x data=image_folder": "data.root=~nobody_of_this_name/x: ",
}

TOO = {
    "++lr=0.5": "lr=0.5: unknown key; did you mean 'optim.lr'?",
    "optim.learning_rate=0.5": "optim.learning_rate=0.5: unknown key; did you mean 'lr'?",
    "weight_decay=1": "weight_decay=1: unknown key; did you mean 'optim.weight_decay'?",
    "normalization=l1": "normalization=l1: unknown key; did you mean 'norm'?",
    "-m lr=0.1,0.2": "lr=0.1,0.2: unknown key; did you mean 'optim.lr'?",
    "-m +norm.placement=before,after": "norm.placement=before: unknown option; did you mean 'model.placement'?",
    "+norm.layer=1": "norm.layer=1: unknown option; allowed: affine, ",
    "+mirror.foo=1": "mirror.foo=1: unknown option; it has none",
    "+hydra.foo=1": "hydra.foo=1: unknown key; ",
    "~dry": "dry: must be given; leave ~dry out",
    "-m seed=0,1 +seed=2": "seed=0,1 +seed=2: seed is set twice",
    "+norm=l1": "+norm=l1: is chosen already; write norm=l1",
    "--config-name data/digits": "--config-name data/digits: no such file; leave it out",
    "--config-path .": "--config-path .: holds no config.yaml; leave it out",
}
"""Further ones of the same kinds."""


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        given = {argument.partition("=")[0] for argument in arguments}
        usual = [argument for argument in [*MLP, "steps=3"] if argument.partition("=")[0] not in given]
        if any(argument.startswith("data=") for argument in arguments):
            usual = [argument for argument in usual if not argument.startswith("data.")]
        monkeypatch.setattr(sys, "argv", ["experiments", *usual, *arguments])
        code = main()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.mark.parametrize(
    "arguments", [*REFUSED, *(pytest.param(arguments, marks=pytest.mark.long) for arguments in TOO)]
)
def test_one_line_and_exit_code_2(arguments: str, tmp_path: Path, typed: Any) -> None:
    code, _, error = typed(*arguments.split())
    assert code == 2, error
    assert error.startswith(f"error: {(REFUSED | TOO)[arguments]}"), error
    assert error.count("\n") == 1, error
    assert not (tmp_path / "runs").exists()


def test_what_one_job_of_a_sweep_uses_may_be_typed_for_all(typed: Any) -> None:
    sweep = ["-m", "model.initialisation=glorot,gaussian", "model.init_std=0.5", "dry=true"]
    code, output, error = typed(*sweep)
    assert code == 0, error
    assert "2 runs: 2 missing" in output


def test_a_normalisation_of_ones_own_may_have_an_option_called_activation(tmp_path: Path, typed: Any) -> None:
    (tmp_path / "own.py").write_text(
        "from torch import nn\nclass Own(nn.Module):\n"
        "    def __init__(self, layer, *, activation: float = 1.0):\n"
        "        super().__init__()\n        self.by = activation\n"
        "    def forward(self, x):\n        return self.by * x\n"
    )
    own = ["norm=none", "norm.name=Own", "norm.file=own.py", "+norm.activation=2.0", "run_name=own"]
    code, _, error = typed(*own)
    assert code == 0, error
    network = experiments.load_network(tmp_path / "runs" / "own")
    assert [type(child).__name__ for child in network.fc1] == ["Linear", "Own", "ReLU"]
    assert network.fc1.norm.by == 2.0


@pytest.mark.parametrize("optim", [["optim.lr=1e38"], ["optim.lr=1e300"], ["optim=adam", "optim.lr=1e38"]])
def test_an_overflowing_learning_rate_has_diverged_with_and_without_probes(optim: list[str], tmp_path: Path) -> None:
    ends = []
    for probes in ([], ["probes=[landscape,gradients]", "probes.every=1", "probes.use.landscape.update=true"]):
        outcome = experiments.run(small(tmp_path, *optim, *probes))
        ends.append((outcome.state, outcome.step))
    assert ends == [("diverged", 1), ("diverged", 1)]


def test_a_schedule_that_overflows_has_diverged(tmp_path: Path) -> None:
    steep = ["optim.schedule=step", "optim.factor=1e200", "optim.milestones=[1,2]"]
    assert experiments.run(small(tmp_path, *steep)).state == "diverged"


USERS = {
    "init": ("super().__init__()\n        nn.Linear('a', 3)", "return x", 2, "norm: Own raised TypeError: "),
    "evaluation": ("super().__init__()", "return x @ x", 2, "norm: Own raised RuntimeError: "),
    "training": ("super().__init__()", "return [][1] if self.training else x", 1, ": failed at step 0: IndexError: "),
}


@pytest.mark.parametrize("case", list(USERS))
def test_an_error_in_a_users_normalisation_names_file_and_line(case: str, tmp_path: Path, typed: Any) -> None:
    init, forward, expected, text = USERS[case]
    source = f"from torch import nn\nclass Own(nn.Module):\n    def __init__(self, layer):\n        {init}\n"
    source += f"    def forward(self, x):\n        {forward}\n"
    (tmp_path / "own.py").write_text(source)
    code, _, error = typed("norm=none", "norm.name=Own", "norm.file=own.py")
    line = 5 if case == "init" else 6
    assert code == expected, error
    assert text in error
    assert f"(own.py, line {line}" in error.splitlines()[-1]
