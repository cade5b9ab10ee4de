"""What is refused, in one line that is true, before anything is written."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

import experiments
from experiments.cli import main
from experiments.composition import check_typed, flag
from experiments.configuration import plain_config
from experiments.errors import RunFailure, WrongInput
from experiments.runs import provenance
from experiments.runs.prune import prunable
from experiments.sweeps.job import list_jobs
from tests.conftest import partly
from tests.runs import MLP, small

ARMS = "hydra.sweeper.arms={plain: ['norm=none'], usual: []}"

YAML = {"norm/open": "name: [\n", "norm/tab": "name: batch\n\teps: 1\n", "norm/number": "5\n"}

LINES = {
    "+foo=1": "foo=1: unknown key; allowed: arm, checkpoint, confirm, data, ",
    "+stepps=1": "stepps=1: unknown key; did you mean 'steps'?",
    "+evaluation.evry=1": "evaluation.evry=1: unknown key; did you mean 'every'? allowed: batch_size, every, ",
    "+probes.foo=1": "probes.foo=1: unknown key; allowed: at, dtype, every, fixed_batch, spacing, use",
    "+numerics.foo=1": "numerics.foo=1: unknown key; allowed: deterministic, name, tf32",
    "+checkpoint.foo=1": "checkpoint.foo=1: unknown key; allowed: keep, seconds",
    "+norm.foo=1": "norm.foo=1: unknown option; ",
    "-m +foo=1 seed=0,1": "foo=1: unknown key; ",
    "norm=open": "/norm/open.yaml: is no YAML: expected the node content, but found '<stream end>' (line 2, column 1)",
    "-m norm=none,tab": "/norm/tab.yaml: is no YAML: found character '\\t' that cannot start any token (line 2",
    "norm=number": "int",
    "--config-name foo": "--config-name foo: no such file (own/foo.yaml); leave it out for the suite's own, config",
    "-m hydra.sweeper.params=x": "hydra.sweeper.params=x: must be values by key, for example {seed: '0,1,2'}",
    "model.depth=0": "model.depth=0: must be at least 1\n",
    "model.depth=2 model.widths=[8,8]": "model.depth=2: needs one width, not model.widths=[8, 8]\n",
    "norm.file=": "norm.file=: must be the path of a Python file, or null",
    "norm=none,batch": "norm=none,batch: several values are a sweep; add --multirun (-m)\n",
    "steps=1,2": "steps=1,2: several values are a sweep; add --multirun (-m), or write [...] around a list\n",
    "steps=range(1,3)": "steps=range(1,3): several values are a sweep; add --multirun (-m)",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in YAML.items():
        file = tmp_path / "own" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: str) -> tuple[int, str, str]:
        given = {argument.partition("=")[0] for argument in arguments}
        usual = [argument for argument in [*MLP, "steps=2"] if argument.partition("=")[0] not in given]
        monkeypatch.setattr(sys, "argv", ["experiments", "--config-dir", "own", *usual, *arguments])
        code = main()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.mark.parametrize("arguments", partly(LINES, 8))
def test_one_line_and_exit_code_2(arguments: str, here: Path, typed: Any) -> None:
    code, _, error = typed(*arguments.split())
    assert code == 2, error
    assert LINES[arguments] in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1, error
    assert not (here / "runs").exists()


@pytest.mark.parametrize("how", [(), ("-m", "seed=0,1")])
def test_statistics_that_would_freeze_when_training_is_over_are_refused(
    how: tuple[str, ...], here: Path, typed: Any
) -> None:
    for batches in (2, 360):
        code, _, error = typed(*how, "norm=batch", f"norm.frozen_after={batches}")
        said = f"error: norm.frozen_after={batches}: must be at least 1 and less than steps=2, or null"
        assert (code, error.count("\n")) == (2, 1), error
        assert error.startswith(said)
        assert not (here / "runs").exists()
    code, _, error = typed(*how, "norm=batch", "norm.frozen_after=1", "dry=true")
    assert code == 0, error


def test_a_command_of_no_words_at_all_is_the_default_run() -> None:
    check_typed([], [])
    assert (flag([], "--config-dir"), flag(["--config-dir"], "--config-dir")) == (None, None)


def test_no_arm_of_a_sweep_with_arms_is_refused_and_of_one_without_is_nothing(here: Path, typed: Any) -> None:
    code, _, error = typed("-m", ARMS, "arm=null", "dry=true")
    assert (code, error) == (2, "error: arm=null: leave it out for all arms, or choose; allowed: plain, usual\n")
    code, output, error = typed("-m", "arm=null", "dry=true")
    assert code == 0, error
    assert "1 runs: 1 missing" in output


def test_values_beside_an_experiment_that_is_a_sweep_need_no_flag(here: Path, typed: Any) -> None:
    (here / "own" / "experiment").mkdir()
    text = "# @package _global_\nhydra:\n  mode: MULTIRUN\n"
    (here / "own" / "experiment" / "mine.yaml").write_text(text)
    (here / "own" / "experiment" / "one.yaml").write_text("# @package _global_\nlabel: one\n")
    code, output, error = typed("experiment=mine", "norm=none,l1", "dry=true")
    assert code == 0, error
    assert "2 runs: 2 missing" in output
    code, _, error = typed("experiment=one", "norm=none,l1", "dry=true")
    assert (code, error) == (2, "error: norm=none,l1: several values are a sweep; add --multirun (-m)\n")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that nobody can write")
@pytest.mark.parametrize("how", [[], ["-m", "seed=0,1"]])
def test_a_place_that_cannot_be_written_is_wrong_input_of_a_run_and_of_a_sweep(
    how: list[str], here: Path, typed: Any
) -> None:
    code, _, error = typed(*how, "runs_dir=/proc/nowhere")
    assert code == 2
    assert error.splitlines()[-1].startswith("error: runs_dir=/proc/nowhere: cannot write there: ")


def test_a_folder_named_as_file_is_found_beside_its_yaml(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = here / "own" / "half"
    package.mkdir()
    (package / "__init__.py").write_text("from experiments.norms.batch import BatchNorm as Half\n")
    (here / "own" / "norm" / "half.yaml").write_text("name: Half\nfile: ../half\n")
    config = plain_config(experiments.compose(["norm=half"], here / "own"))
    assert Path(config["norm"]["file"]).resolve() == package
    (here / "own" / "norm" / "bad.yaml").write_text('name: Half\nfile: ""\n')
    with pytest.raises(WrongInput, match=r"^norm.file=: must be the path"):
        plain_config(experiments.compose(["norm=bad"], here / "own"))


# Probes


def test_probing_again_is_no_sweep_and_dry_is_dry(here: Path, typed: Any) -> None:
    kept = experiments.run(small(here / "runs", "checkpoint.keep=[2,5]")).path
    before = sorted((here / "runs").rglob("*"))
    again = [f"probe_again={kept}", "probes=gradients"]
    code, _, error = typed("-m", *again, "norm=none,l1")
    assert code == 2
    assert error.startswith(f"error: probe_again={kept}: probes one run, in this process; leave --multirun (-m) out")
    assert error.count("\n") == 1
    outcome = experiments.run(small(here / "runs", *again, "dry=true"))
    assert (outcome.state, outcome.step, outcome.trained) == ("missing", 0, False)
    assert sorted(path for path in (here / "runs").rglob("*") if path.name != ".sweep") == before
    done = experiments.run(small(here / "runs", *again))
    assert done.path == outcome.path
    asked_again = experiments.run(small(here / "runs", *again, "dry=true"))
    assert (asked_again.state, asked_again.step, asked_again.trained) == ("finished", done.step, False)
    with pytest.raises(WrongInput, match="probes one run"):
        list_jobs([("", plain_config(small(here / "runs", *again)))])


DECLARES = {
    "return 7": "declare must return a Declaration, not int",
    "return Declaration((), 7)": "Declaration: fields must map keys to Field, not be int",
    "return Declaration((), {'x': 7})": "Declaration: fields must hold Field, not int",
    "return Declaration(7, {})": "Declaration: needs must be a tuple of Need, not int",
    "return Declaration((7,), {})": "Declaration: needs must hold Need, not int",
    "return Declaration((), {}, 7)": "Declaration: remember must be a tuple of Need, not int",
    "raise KeyError('mine')": "probes.use.own: Own raised KeyError: 'mine' (own.py, line 4)",
    "return network.nothing": "probes.use.own: Own raised AttributeError: ",
}


@pytest.mark.parametrize("body", list(DECLARES))
def test_a_users_probe_that_declares_rubbish_is_wrong_input(body: str, here: Path, typed: Any) -> None:
    source = "from probes import Declaration\nclass Own:\n    def declare(self, network):\n"
    (here / "own.py").write_text(f"{source}        {body}\n    def measure(self, at):\n        return {{}}\n")
    code, _, error = typed("+probes.use.own={name: Own, file: own.py}", "probes.fixed_batch=16")
    assert code == 2, error
    assert DECLARES[body] in error
    assert error.count("\n") == 1, error
    assert not (here / "runs").exists()


def test_pruning_looks_at_the_files_of_probes_too(here: Path) -> None:
    file = here / "own.py"
    file.write_text(
        "from probes import Declaration\nclass Own:\n    def declare(self, network):\n"
        "        return Declaration((), {})\n    def measure(self, at):\n        return {}\n"
    )
    path = experiments.run(small(here / "runs", f"+probes.use.own={{name: Own, file: {file}}}")).path
    assert list(prunable(here / "runs")) == []
    file.write_text(file.read_text() + "# another line\n")
    (found,) = prunable(here / "runs")
    assert (found.path, found.kind, found.why) == (path, "outdated", f"probes.use.own.file={file} has changed")
    os.unlink(file)
    (found,) = prunable(here / "runs")
    assert found.why == f"probes.use.own.file={file} is gone"


# Ends


def test_other_weights_by_other_code_are_told_and_by_the_same_code_are_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by(commit: str, dirty: bool, every: int) -> list[dict[str, Any]]:
        monkeypatch.setattr(provenance, "_git_state", lambda: (commit, dirty))
        path = experiments.run(small(tmp_path, f"evaluation.every={every}")).path
        return json.loads((path / "provenance.json").read_text())["starts"][-1]["same_training"]

    assert by("a" * 40, False, 2) == []
    (first,) = tmp_path.iterdir()
    assert by("b" * 40, True, 3) == [{"run": first.name, "equal": True}]  # equal bits are equal, whoever made them
    for run in tmp_path.iterdir():
        status = json.loads((run / "status.json").read_text())
        status["end"]["sha256"] = "0" * 64
        (run / "status.json").write_text(json.dumps(status))
    (other,) = set(tmp_path.iterdir()) - {first}
    (other / "status.json").unlink()
    assert by("b" * 40, False, 4) == [
        {"run": first.name, "not_compared": f"other weights, by commits {'a' * 12} and {'b' * 12}"}
    ]
    (note,) = [note for note in by("a" * 40, True, 5) if note["run"] == first.name]
    assert note["not_compared"] == "other weights, by code with changes not committed"
    with pytest.raises(RunFailure, match=r"ended with other weights than .*: mend it and delete both, or"):
        by("a" * 40, False, 6)
