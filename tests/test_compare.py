"""Comparing two arms, or two sweeps: what is paired, what is a wall, what earns a mark, and wrong input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import load_runs
from analysis.__main__ import main
from analysis.compare import as_text, compare, kind_of
from analysis.errors import WrongInput
from analysis.measures import final, over_training, steps_to_learn
from analysis.run_folder import lookup
from analysis.runs import Runs
from analysis.select import plain
from tests.made_sweep import alter, write_sweep

WALLS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("model.width", {"model": {"width": 0.125}}, {"model": {"width": 0.5}}),
    ("model.activation", {"model": {"activation": "relu"}}, {"model": {"activation": "tanh"}}),
    ("model.initialisation", {"model": {"initialisation": "glorot"}}, {"model": {"initialisation": "normal"}}),
    ("data.augment", {"data": {"augment": False}}, {"data": {"augment": True}}),
    ("steps", {"steps": 20}, {"steps": 120}),
    ("optim.batch_size", {"optim": {"batch_size": 16}}, {"optim": {"batch_size": 64}}),
    ("optim", {"optim": {"name": "adam"}}, {"optim": {"name": "sgd"}}),
]


def sweep(folder: Path, norms: tuple[str, ...], tag: str, seeds: int = 3, **config: Any) -> Path:
    write_sweep(folder, norms=norms, lrs=(0.1,), linear=False, seeds=seeds)
    for run in sorted(folder.iterdir()):
        alter(run, tag, **config)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sweep(tmp_path_factory.mktemp("compare") / "runs", norms=("none", "batch"), lrs=(0.1,))


def test_comparing_two_normalisations(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "compared.csv"
    assert main(["compare", "none", "batch", str(runs), "--csv", str(file)]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == str(file)
    table = pd.read_csv(file)
    row = table[(table["number"] == "gradient_difference, train") & table["setting"].str.startswith("vgg")].iloc[0]
    assert row["effect"] == pytest.approx(1 / 40, rel=0.05)
    assert (row["scale"], row["seeds"]) == ("ratio", 3)
    assert row["low"] < row["effect"] < row["high"] < 1
    line = next(line for line in printed.splitlines() if line.startswith("gradient_difference, train"))
    assert line.endswith("leans: b is lower")
    assert row["word"] == "leans: b is lower"
    steps = table[table["number"].str.startswith("steps to")].iloc[0]
    assert steps["a"] > steps["b"]


def test_the_pairs_are_those_of_equal_seeds(runs: Path) -> None:
    """The effect is the median over seeds of the difference, taken from the records by hand."""
    table = compare("none", "batch", [runs])
    frame = load_runs(runs)
    rows = frame[(frame["metric"] == "accuracy") & (frame["batch"] == "test") & (frame["step"] >= 108)]
    ends = rows.groupby(["norm", "seed"], observed=True)["value"].median()
    row = table[table["number"] == "final accuracy, test"].iloc[0]
    assert row["scale"] == "difference"
    assert row["effect"] == pytest.approx(np.median([ends["batch", seed] - ends["none", seed] for seed in range(3)]))


@pytest.mark.long
def test_seeds_that_one_side_lacks_are_left_out(runs: Path, tmp_path: Path) -> None:
    kept = tmp_path / "runs"
    shutil.copytree(runs, kept, ignore=shutil.ignore_patterns("gaussian-*"))
    for run in kept.glob("*-none-*-seed0"):
        shutil.rmtree(run)
    frame = load_runs(kept)
    rows = frame[(frame["metric"] == "data_loss") & (frame["batch"] == "train") & (frame["step"] >= 108)]
    ends = rows.groupby(["norm", "seed"], observed=True)["value"].median()
    for a, b in (("none", "batch"), ("batch", "none")):
        row = compare(a, b, [kept]).set_index("number").loc["final data loss, train"]
        assert row["seeds"] == 2
        ratios = [np.log(ends[b, seed] / ends[a, seed]) for seed in (1, 2)]
        assert row["effect"] == pytest.approx(np.exp(np.mean(ratios)))
        assert row["a"] == pytest.approx(np.median([ends[a, 1], ends[a, 2]]))


@pytest.mark.long
def test_two_runs_of_a_seed_are_refused_and_none_is_taken_silently(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the model alone, two widths of one model would be two runs of each seed: they are two arms."""
    for place, config in enumerate(({"name": "a", "width": 0.125}, {"name": "a", "width": 0.5}, {"name": "b"})):
        sweep(tmp_path / str(place), ("batch",), str(place), model=config)
    places = [str(tmp_path / str(place)) for place in range(3)]
    assert main(["compare", "b", "a", *places, "--by", "model"]) == 2
    said = capsys.readouterr().err
    assert "no run of the arm (by model, model.width) 'a'" in said
    assert all(arm in said for arm in ("a width=0.125", "a width=0.5"))
    assert said.count("\n") == 1
    assert main(["compare", "b", "a width=0.5", *places, "--by", "model"]) == 0
    assert main(["compare", "b", "a", *places[1:], "--by", "model"]) == 0


@pytest.mark.long
def test_diverged_runs_count_in_what_training_gives_and_are_left_out_of_what_probes_measured(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "runs", norms=("none", "batch"), lrs=(0.1,), linear=False)
    whole = compare("none", "batch", [folder]).set_index("number")
    assert set(whole["notes"]) == {""}
    run = next(folder.glob("*-none-*seed1"))
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps({**status, "state": "diverged", "diverged_at": 100}))
    table = compare("none", "batch", [folder])
    told = table.set_index("number")
    probed, trained = "effective_beta, train", "final accuracy, test"
    assert (told.loc[probed, "seeds"], told.loc[trained, "seeds"]) == (2, 3)
    assert told.loc[probed, "notes"] == "1 of a diverged, left out"
    assert told.loc[trained, "notes"] == "1 of a diverged, counted as such"
    line = next(line for line in as_text(table, "none", "batch").splitlines() if line.startswith("note: 1 of a div"))
    assert (probed in line) == ("left out" in line)


@pytest.mark.long
def test_seeds_without_a_counterpart_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_sweep(tmp_path / "runs", norms=("none", "batch"), lrs=(0.1,), linear=False)
    for run in [*folder.glob("*-none-*seed0"), *folder.glob("*-batch-*seed2")]:
        shutil.rmtree(run)
    assert set(compare("none", "batch", [folder])["notes"]) == {"seed 2 in none alone; seed 0 in batch alone"}
    shutil.rmtree(next(folder.glob("*-none-*seed1")))
    assert main(["compare", "none", "batch", str(folder)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: nothing to compare: no seed has a number on both sides; vgg_small on digits")
    assert said.endswith("seed 2 in none alone; seed 0, 1 in batch alone\n")


@pytest.mark.parametrize(("key", "one", "other"), WALLS, ids=[key for key, _, _ in WALLS])
def test_a_difference_that_no_arm_names_is_a_wall(
    key: str, one: dict[str, Any], other: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = sweep(tmp_path / "a", ("none",), "x", 1, **one)
    b = sweep(tmp_path / "b", ("batch",), "y", 1, **other)
    values = [
        plain(lookup(config, key if "." in key or key == "steps" else f"{key}.name")[0]) for config in (one, other)
    ]
    assert main(["compare", "none", "batch", str(a), str(b)]) == 2
    said = capsys.readouterr().err
    assert f"they differ in {key} ({values[0]}, {values[1]})" in said
    assert f"run both with {key}={values[0]}" in said
    assert (f"make it an arm: --by norm --by {key}" in said) == (key != "steps")
    assert said.count("\n") == 1
    assert main(["compare", str(a), str(b)]) == 2
    said = capsys.readouterr().err
    assert f"{key} ({values[0]}, {values[1]})" in said
    assert said.count("\n") == 1


def test_what_differs_can_be_made_an_arm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = sweep(tmp_path / "a", ("none", "batch"), "x", 1, model={"width": 0.125})
    b = sweep(tmp_path / "b", ("none", "batch"), "y", 1, model={"width": 0.5})
    here = [str(a), str(b), "--metric", "effective_beta"]
    assert main(["compare", "0.125", "0.5", *here, "--by", "model.width"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("effective_beta")]) == 2  # none and batch, each by itself
    by = ["--by", "norm", "--by", "model.width"]
    assert main(["compare", "none model.width=0.125", "batch model.width=0.5", *here, *by]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("effective_beta")]) == 1
    assert main(["compare", *here[:2], "--metric", "effective_beta", "--by", "model.width"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("effective_beta")]) == 2


def test_options_of_a_normalisation_are_arms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = sweep(tmp_path / "a", ("l2",), "x", norm={"centered": False})
    b = sweep(tmp_path / "b", ("l2",), "y", norm={"centered": True})
    both = [str(a), str(b), "--metric", "effective_beta"]
    assert main(["compare", "l2 not centered", "l2 centered", *both]) == 0
    assert main(["compare", "false", "true", *both, "--by", "norm.centered"]) == 0
    by = ["--by", "norm", "--by", "norm.centered"]  # which the normalisation's name says already
    assert main(["compare", "l2 not centered", "l2 centered", *both, *by]) == 0
    capsys.readouterr()
    assert main(["compare", str(a), str(b)]) == 2
    assert "norm.centered (false, true)" in capsys.readouterr().err


def test_two_sweeps_pair_what_is_alike_in_every_key(runs: Path, tmp_path: Path) -> None:
    other = write_sweep(tmp_path / "other", norms=("batch", "l1"), lrs=(0.1,), seeds=2, linear=False)
    table = compare(str(runs), str(other), metrics=["effective_beta"])
    assert len(table) == 1
    row = table.iloc[0]
    assert "norm batch" in row["setting"]
    assert (row["seeds"], row["effect"]) == (2, 1.0)
    assert np.isnan(row["low"])


@pytest.mark.long
def test_what_never_came_is_a_bound_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A network that never has 90 % accuracy is given its run's length, which is only a bound."""
    both = write_sweep(tmp_path / "runs", norms=("none", "batch"), lrs=(0.5,), linear=False)
    assert main(["compare", "none", "batch", str(both)]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("steps to"))
    assert line.endswith("never in a: 3 of 3, leans: b is lower")
    assert "below 0." in line
    table = compare("batch", "none", [both])
    assert table["never_b"].tolist() == [3, *[0] * (len(table) - 1)]
    row = table.iloc[0]
    assert (row["high"], row["word"]) == (np.inf, "leans: b is higher")


def test_the_metric_decides_how_it_is_compared(runs: Path) -> None:
    sides = (Runs.load(runs),)
    for measure, scale in (
        (steps_to_learn(), "ratio"),
        (final("accuracy", "test"), "difference"),
        (over_training("accuracy", name="loss"), "difference"),  # whatever it is called
        (final("data_loss", "train"), "ratio"),
        (over_training("ics_cosine"), "difference"),
        (over_training("landscape_loss", name="accuracy", along="max"), "ratio"),
    ):
        assert kind_of(measure, sides).unit == scale, measure.name
    assert kind_of(final("accuracy", "test"), sides).smallest == 0.01


def test_what_is_negative_anywhere_is_compared_by_differences(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "runs", norms=("none",), lrs=(0.1,), seeds=1, linear=False)
    assert kind_of(final("data_loss", "train"), (Runs.load(folder),)).unit == "ratio"
    records = next(folder.iterdir()) / "records.jsonl"
    lines = [json.loads(line) for line in records.read_text().splitlines()]
    first = next(line for line in lines if line["probe"] == "training")
    first["values"]["data_loss"] = -1.0
    records.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert kind_of(final("data_loss", "train"), (Runs.load(folder),)).unit == "difference"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none", "bacth", "RUNS"], "did you mean 'batch'?"),
        (["none", "batch", "RUNS", "--metric", "effective_bta"], "did you mean 'effective_beta'?"),
        (["none", "batch", "RUNS", "--metric", "effective"], "did you mean 'effective_beta'?"),
        (["none", "none", "RUNS"], "compared with itself"),
        (["none", "batch"], "to compare normalisations name their RUNS too"),
        (["none", "group", "RUNS"], "no run of the normalisation 'group'"),
        (["RUNS", "RUNS/nowhere"], "no such folder"),
        (["none", "batch", "RUNS", "--csv", "x.txt"], "must end in .csv"),
        (["none", "batch", "RUNS", "--by", "modle"], "did you mean 'model'?"),
        (["120", "20", "RUNS", "--by", "steps"], "never held against each other"),
        (["digits", "batch", "RUNS", "--by", "data"], "no run of the arm (by data) 'batch'"),
    ],
)
def test_wrong_comparisons(runs: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["compare", *(a.replace("RUNS", str(runs)) for a in arguments)])
    caught = capsys.readouterr()
    assert code == 2
    assert caught.out == ""
    assert caught.err.count("\n") == 1
    assert said in caught.err


def test_too_few_probed_steps_are_said_and_not_left_out_silently(tmp_path: Path) -> None:
    for run in write_sweep(tmp_path, norms=("none", "batch"), lrs=(0.1,), linear=False).iterdir():
        lines = (run / "records.jsonl").read_text().splitlines()
        few = 7 if "none" in run.name else 8
        steps = sorted({json.loads(line)["step"] for line in lines})[:few]
        kept = [line for line in lines if json.loads(line)["step"] in steps or '"training"' in line]
        (run / "records.jsonl").write_text("\n".join(kept) + "\n")
    table = compare("none", "batch", [tmp_path])
    (row,) = table[table["number"] == "gradient_difference, train"].to_dict("records")
    assert (row["seeds"], row["notes"]) == (0, "too few probed steps (7, 8 are needed)")
    assert np.isnan(row["effect"])
    (line,) = [x for x in as_text(table, "none", "batch").splitlines() if x.startswith("gradient_difference, train")]
    assert line.split()[2:] == ["-", "-", "-", "-", "0"]
    assert table[table["number"] == "final accuracy, train"].iloc[0]["seeds"] == 3
    with pytest.raises(WrongInput, match=r"no seed has a number on both sides; too few probed steps \(7, 8 are needed"):
        compare("none", "batch", [tmp_path], metrics=["gradient_difference"])
