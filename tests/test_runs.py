"""Run folders as trainings: joined where only what looked at them differs; a table knows less, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from analysis import load_runs
from analysis.runs import Runs
from analysis.select import NORM, Arm, plain, settings
from tests.made_runs import log, write_arrays, write_run
from tests.made_table import BASE, made, row


def shapes(runs: Runs) -> list[dict[str, int]]:
    """The arms of each setting and how many runs they have."""
    return [setting.counts for setting in settings(runs)]


LOOKED = {"evaluation": {"every": 7}, "probes": {"use": {"landscape": {"name": "landscape"}}}}


def test_runs_that_differ_in_what_looked_at_them_are_one_training(tmp_path: Path) -> None:
    lines = log(4)
    one = write_run(tmp_path / "one", seed=1, lines=[line for line in lines if line["probe"] == "training"])
    two = write_run(tmp_path / "two", seed=1, lines=lines, config={**LOOKED, "device": "cuda", "threads": 9})
    third = write_run(tmp_path / "two", seed=2, lines=lines)
    for folder, name in ((one, "one"), (two, "two")):
        described = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**described, "run": name}))
    expected = write_arrays(two, range(4), merged=True)
    fields = json.loads((two / "fields.json").read_text())
    fields["activations"]["moments"]["layer"] = ["conv1"]
    (two / "fields.json").write_text(json.dumps(fields))
    runs = Runs.load([one, two, third])
    assert len(runs.each) == 2
    assert shapes(runs) == [{"batch": 2}]
    (name,) = set(runs.each.index) - {third.name}
    alone = Runs.load([two])
    for metric in alone.metrics():
        joined, own = runs.records(metric), alone.records(metric)
        assert (joined["run"] == name).sum() == len(own) > 0, metric
    assert len(runs.table) == 2 * len(alone.table)
    found = runs.arrays("unit_mean", [name], "fixed", ["conv1"])
    assert list(found) == [(name, "conv1")]
    assert np.array_equal(found[name, "conv1"].to_numpy(), expected["unit_mean"])
    assert runs.arrays("unit_mean", [name], "train", ["conv1"]) == {}
    assert runs.arrays("unit_mean", [name], "fixed", ["head"]) == {}
    assert runs.arrays("unit_mean", [third.name], "fixed", ["conv1"]) == {}
    # what was trained differently is not
    write_run(tmp_path / "three", seed=1, lines=lines, config={"model": {"width": 2.0}})
    assert len(Runs.load([one, two, *(tmp_path / "three").iterdir()]).each) == 2


def test_a_folder_says_what_its_options_are_by_default(tmp_path: Path) -> None:
    """A folder that is older than two options, beside one that has them."""
    write_run(tmp_path / "old", "none", lines=log(2))
    new = {"norm": {"name": "l2", "centered": True, "eps": 0.1}, "optim": {"clip": None}}
    defaults = {"norm.centered": False, "norm.eps": 0.1, "optim.clip": None}
    write_run(tmp_path / "new", "l2", lines=log(2), config=new, defaults=defaults)
    runs = Runs.load([tmp_path / "old", tmp_path / "new"])
    assert shapes(runs) == [{"none": 1, "l2 centered": 1}]
    assert settings(runs)[0].values["optim.clip"] is None


def test_a_training_by_an_older_and_a_newer_version_is_one(tmp_path: Path) -> None:
    """The older one lacks an option, whose default the newer one tells."""
    old = write_run(tmp_path / "old", lines=log(2))
    new = write_run(
        tmp_path / "new", lines=log(2), config={"optim": {"clip": None}}, defaults={"optim.clip": None, "model.bias": 1}
    )
    for folder, name in ((old, "old"), (new, "new")):
        described = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**described, "run": name}))
    assert shapes(Runs.load([old, new])) == [{"batch": 1}]
    described["config"]["optim"]["clip"] = 5
    (new / "config.json").write_text(json.dumps(described | {"run": "new"}))
    assert len(Runs.load([old, new]).each) == 2


def test_changes_since_the_last_probed_step_are_taken_of_one_run(tmp_path: Path) -> None:
    """Of two runs of one training that probed at different steps, the changes are over different stretches."""
    fields = json.loads((write_run(tmp_path / "f", lines=[]) / "fields.json").read_text())
    fields["activations"] = {
        "d": {**fields["training"]["loss"], "metric": "mean_drift_since_last_before_normalisation", "batch": "train"}
    }
    for name, steps in (("coarse", (0, 4, 8)), ("fine", (0, 2, 4, 6, 8))):
        lines = [{"step": step, "probe": "activations", "values": {"d": float(len(steps))}} for step in steps]
        folder = write_run(tmp_path / name, lines=lines, config={"probes": {"every": len(steps)}})
        (folder / "fields.json").write_text(json.dumps(fields))
        described = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**described, "run": name}))
    runs = Runs.load([tmp_path / "coarse", tmp_path / "fine"])
    (name,) = runs.each.index
    found = runs.records("mean_drift_since_last_before_normalisation")
    assert set(found["value"]) == {5.0 if name == "fine" else 3.0}
    assert len(found) == (5 if name == "fine" else 3)


def test_a_longer_run_takes_no_seed_away_from_the_setting_of_the_shorter_ones(tmp_path: Path) -> None:
    """Seeds 0 and 1 were run to 3 steps and to 6, as where pilots of another experiment were; seeds 2 to 5 to 3."""
    for seed, steps in [(seed, 3) for seed in range(6)] + [(0, 6), (1, 6)]:
        for norm in ("none", "batch"):
            folder = write_run(
                tmp_path / f"{norm}{seed}-{steps}", norm, seed, lines=log(steps), config={"steps": steps}
            )
            described = json.loads((folder / "config.json").read_text())
            (folder / "config.json").write_text(json.dumps({**described, "run": f"{norm}{seed}-{steps}"}))
    runs = Runs.load(tmp_path)
    found = settings(runs, [Arm.of(name, {NORM: name}) for name in ("batch", "none")])
    seeds = {setting.values["steps"]: sorted(set(setting.runs.each["seed"])) for setting in found}
    assert seeds == {3: [0, 1, 2, 3, 4, 5], 6: [0, 1]}


def test_settings_of_folders_know_more_than_a_table_but_nothing_else(tmp_path: Path) -> None:
    for norm in ("none", "batch"):
        for seed in range(2):
            write_run(tmp_path, norm, seed, lines=log(3), task="regression")
    by_folder, by_table = Runs.load(tmp_path), Runs.of(load_runs(tmp_path))
    for runs in (by_folder, by_table):
        assert shapes(runs) == [{"none": 2, "batch": 2}]
        (setting,) = settings(runs)
        assert (setting.task, setting.label) == ("regression", "vgg_small on digits, learning rate 0.1")
        assert runs.steps.tolist() == [400.0] * 4
    assert Runs.of(by_folder) is by_folder
    for key in by_table.keys:
        assert plain(by_table.value(by_table.each.index[0], key)) == plain(by_folder.value(by_table.each.index[0], key))
    assert by_table.arrays("histogram", list(by_table.each.index), "fixed", ["conv1"]) == {}


def test_a_number_that_two_probes_record_is_taken_once() -> None:
    rows = [row("a", step, "m", 1.0 + step, x=x) for step in range(2) for x in (1.0, 2.0)]
    again = [{**one, "probe": "other", "value": 99.0} for one in rows]
    runs = made([*rows, *again, {**rows[0], "batch": "test"}], {"a": BASE})
    assert runs.records("m", "train")["value"].tolist() == [1.0, 1.0, 2.0, 2.0]
    assert len(runs.records("m")) == 5
    assert runs.records("m", "train", "other")["value"].tolist() == [99.0] * 4
    assert runs.records("m", probe="gone").empty
    assert runs.recording("m", "test") == {"a"}
    assert runs.recording("m", "fixed") == set()
    assert runs.kinds().to_dict("records") == [
        {"probe": "p", "metric": "m", "batch": "train", "along": True},
        {"probe": "other", "metric": "m", "batch": "train", "along": True},
        {"probe": "p", "metric": "m", "batch": "test", "along": True},
    ]
