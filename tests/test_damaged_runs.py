"""A damaged run is named and left out, and the others are shown; a lost config.json is told alike by every door."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import experiments
from analysis import figures, load_runs, load_status
from analysis.__main__ import main
from analysis.errors import DamagedFile
from experiments import cli
from experiments.errors import RunFailure
from experiments.runs import prune
from experiments.runs.format import BEGUN
from experiments.runs.identity import read_description
from tests.conftest import partly
from tests.made_runs import FIELDS, field, log, write_arrays, write_run
from tests.runs import MLP

DAMAGES: dict[str, tuple[str, str | None, str]] = {
    "no config": ("config.json", None, "config.json is missing"),
    "config": ("config.json", "{", "config.json is damaged"),
    "a key": ("config.json", '{"run": "a", "results_version": 1, "config": {}}', "lacks the key data.name"),
    "status": ("status.json", '{"state": "finished", "step": "4"}', "status.json is damaged"),
    "fields": ("fields.json", '{"training": {"loss": {}}}', "fields.json is damaged"),
    "log": ("records.jsonl", "{\n", "records.jsonl is damaged in line 1"),
    "starts": ("provenance.json", '{"starts": 3}', "provenance.json is damaged"),
    "versions": ("provenance.json", '{"starts": [{"versions": "new"}]}', "provenance.json is damaged"),
}
"""What is written to which file (None: it is lost), and how it is named."""
ALL = pytest.mark.parametrize("damage", list(DAMAGES))
COMMANDS = ("report", "card batch", "figures", "compare none batch", "table")


def damaged(folder: Path, damage: str) -> str:
    """Does it; how it is named."""
    file, content, said = DAMAGES[damage]
    (folder / file).unlink(missing_ok=True)
    if content is not None:
        (folder / file).write_text(content)
    return said


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two normalisations with three seeds each."""
    for norm in ("none", "batch"):
        for seed in range(3):
            write_run(tmp_path / "runs", norm, seed, lines=log(start=1.0 + seed))
    monkeypatch.setattr(figures, "names", lambda: ["training_curves"])
    return tmp_path / "runs"


def make(command: str, runs: Path) -> tuple[int, Path]:
    """Runs a command; its exit code and what it makes."""
    out = runs.parent / "out"
    out.mkdir()
    wanted = {"report": "report.html", "card": "card-batch.html", "figures": "training_curves.csv"}
    name, *chosen = command.split()
    made = out / wanted.get(name, "numbers.csv")
    end = {"table": [str(made)], "compare": ["--csv", str(made)]}.get(name, ["--out", str(out)])
    return main([name, *chosen, str(runs), *end]), made


@pytest.mark.parametrize(
    ("command", "damage"),
    partly(
        [
            (command, damage)
            for command in COMMANDS
            for damage in DAMAGES
            if command == "table" or damage in ("a key", "log")
        ],
        8,
    ),
)
def test_one_damaged_run_is_named_and_the_rest_is_made(
    runs: Path, command: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = runs / "digits-vgg_small-batch-lr0.1-seed1"
    said = damaged(folder, damage)
    code, made = make(command, runs)
    shutil.move(folder, runs.parent / "elsewhere")
    error = capsys.readouterr().err
    assert code == 1
    assert made.exists()
    assert error.count("\n") == 1
    assert error.startswith("error: ")
    assert str(folder) in error
    assert said in error
    text = " ".join(re.sub("<[^>]*>", "", made.read_text()).split())
    if made.suffix == ".html":
        assert said in text.partition("Not everything is here")[2]
    made.rename(runs.parent / "with the damaged one")
    (runs.parent / "out").rename(runs.parent / "before")
    code, again = make(command, runs)  # as if it had never been there
    assert code == 0
    if made.suffix == ".csv":
        assert again.read_bytes() == (runs.parent / "with the damaged one").read_bytes()
    else:
        assert "5 runs: " in text
        assert "5 runs: " in again.read_text()


@ALL
def test_from_python_it_raises_unless_told_where_to_name_it(runs: Path, damage: str) -> None:
    folder = runs / "digits-vgg_small-none-lr0.1-seed2"
    said = damaged(folder, damage)
    if damage not in ("starts", "versions"):  # which hold no number
        with pytest.raises(DamagedFile, match=re.escape(said)):
            load_runs(runs)
    named: dict[Path, str] = {}
    table = load_runs(runs, damaged=named)
    assert list(named) == [folder]
    assert said in named[folder]
    shutil.rmtree(folder)
    pd.testing.assert_frame_equal(table, load_runs(runs))


def test_where_every_run_is_damaged_nothing_is_made(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, folder in enumerate(sorted(runs.iterdir())):
        damaged(folder, ("config", "log")[number % 2])
    for command in COMMANDS:
        code, made = make(command, runs)
        assert code == 1
        assert not made.exists()
        error = capsys.readouterr().err
        assert error.startswith("error: all 6 runs are damaged: ")
        assert "config.json is damaged" in error
        assert error.count("\n") == 1
        shutil.rmtree(made.parent)


def test_damaged_records_of_a_whole_block_leave_the_others(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.loader.BLOCK", 3)
    for folder in runs.glob("*-batch-*"):
        damaged(folder, "log")
    named: dict[Path, str] = {}
    table = load_runs(runs, columns=["norm.name"], damaged=named)
    assert set(table["norm"]) == set(table["norm.name"]) == {"none"}
    assert len(named) == 3


OF_ONE_LAYER = field("unit_mean", "1", "train", "after", ["unit"], layer=["conv1"])
OWN_FIGURE = """
import pandas as pd
TITLE = "Histograms"
class Data:
    def __init__(self, found): self.found = found
    def table(self): return pd.DataFrame({"run": sorted({run for run, _ in self.found})})
def compute(runs):
    return Data(runs.arrays("unit_mean", list(runs.each.index), "train", ["conv1"]))
def draw(data, figure):
    figure.add_subplot().plot([0, len(data.found)])
"""


@pytest.mark.long
def test_damaged_arrays_are_missing_from_a_figure_and_named(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in runs.iterdir():
        write_arrays(folder, range(0, 4, 2), merged=True)
        (folder / "fields.json").write_text(json.dumps({**FIELDS, "activations": {"moments": OF_ONE_LAYER}}))
    own = runs.parent / "own.py"
    own.write_text(OWN_FIGURE)
    broken = runs / "digits-vgg_small-none-lr0.1-seed0"
    (broken / "arrays.npz").write_bytes((broken / "arrays.npz").read_bytes()[:-40])
    for command in ("report", "figures", "card"):
        out = runs.parent / command
        asked = [command, "batch"] if command == "card" else [command]
        assert main([*asked, str(runs), "--file", str(own), "--out", str(out)]) == 1
        error = capsys.readouterr().err
        assert f"{broken / 'arrays.npz'} is damaged" in error
        assert error.count("\n") == 1
        where = {"report": "numbers", "figures": ".", "card": "numbers-card-batch"}[command]
        shown = pd.read_csv(out / where / "own.csv")
        assert set(shown["run"]) == {folder.name for folder in runs.iterdir()} - {broken.name}
    for page in (runs.parent / "report" / "report.html", runs.parent / "card" / "card-batch.html"):
        assert "arrays.npz is damaged" in page.read_text()
        assert "6 runs: " in page.read_text()  # its records count
    with pytest.raises(DamagedFile, match=r"arrays\.npz is damaged"):
        figures.Runs.load(runs).arrays("unit_mean", [broken.name], "train", ["conv1"])


# ------------------------------------------------------------------------------------------------ a lost config.json


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """A sweep of two seeds, called again and again."""
    monkeypatch.chdir(tmp_path)

    def call(*more: str) -> int:
        arguments = [*MLP, "--multirun", "steps=2", "seed=0,1", "launcher.workers=1", *more]
        monkeypatch.setattr(sys, "argv", ["experiments", *arguments])
        return cli.main()

    return call


@pytest.mark.long
def test_a_run_that_lost_its_config_is_damaged_to_every_door(
    sweep: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (0, 1):
        experiments.run(experiments.compose([*MLP, "steps=2", f"seed={seed}"]))
    folder = sorted((tmp_path / "runs").glob("digits*"))[1]
    (folder / "config.json").unlink()
    content = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    capsys.readouterr()

    assert main(["status", "runs"]) == 1
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith(folder.name)]
    assert line.split()[1] == "damaged"
    assert "config.json is missing" in line

    assert main(["table", "runs", "all.csv"]) == 1
    assert f"{folder} is damaged: config.json is missing" in capsys.readouterr().err
    assert folder.name not in set(pd.read_csv("all.csv")["run"])

    assert sweep("dry=true") == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if folder.name in line and "MLP" not in line]
    assert line.split()[0] == "damaged"
    assert "config.json is missing; restore it, or delete the run folder" in line

    assert sweep() == 1  # and nothing is mixed
    caught = capsys.readouterr()
    [line] = caught.err.splitlines()
    assert line.startswith(f"error: {folder.name}: config.json is missing; restore it, or delete the run folder")
    assert {file: file.read_bytes() for file in content} == content
    assert not (folder / "config.json").exists()

    (folder / "lock").unlink(missing_ok=True)
    assert prune.main(["runs"]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if folder.name in line]
    assert line.split()[0] == "damaged"
    assert line.endswith("config.json is missing")
    assert prune.main(["runs", "--delete", "damaged"]) == 0
    assert not folder.exists()

    assert sweep("dry=true") == 0
    assert "2 runs: 1 finished, 1 missing" in capsys.readouterr().out


@pytest.mark.parametrize("left", BEGUN)
def test_one_file_of_a_run_is_enough_to_tell_that_it_was_one(
    left: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, lines=log())
    lost = tmp_path / "lost"
    lost.mkdir()
    (lost / left).write_bytes(b"anything")
    assert list(load_status(tmp_path)["state"]) == ["finished", "damaged"]
    assert set(load_runs(tmp_path, damaged=(named := {}))["seed"]) == {0}
    assert list(named) == [lost]
    assert [(run.path, run.kind) for run in prune.prunable(tmp_path)] == [(lost, "damaged")]
    with pytest.raises(RunFailure, match=r"lost: config\.json is missing; restore it, or delete"):
        read_description(lost)
    (lost / left).unlink()
    assert list(load_status(tmp_path)["state"]) == ["finished"]
    assert list(prune.prunable(tmp_path)) == []
    assert read_description(lost) is None


def test_what_never_began_is_not_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, lines=log())
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "lock").touch()
    assert len(load_status(tmp_path)) == 1
    assert prune.main([str(tmp_path)]) == 0
    assert "begun: never began" in capsys.readouterr().out


def test_a_damaged_description_is_pruned_as_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path, lines=log())
    (folder / "lock").touch()
    status = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps({"state": status["state"]}))
    assert prune.main([str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert re.search(rf"^damaged .* {re.escape(folder.name)}: status\.json: damaged", output, re.MULTILINE)
