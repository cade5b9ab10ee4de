"""What a run is once the suite has changed: new options, other defaults, options that nothing reads."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import experiments
from experiments import defaults
from experiments.building import build_training
from experiments.configuration import plain_config
from experiments.data import load_data
from experiments.errors import WrongInput
from experiments.norms import NORMS
from experiments.probing import PROBES
from experiments.runs.format import flat, kind_of_key, training_of
from experiments.runs.identity import Identity, identity_of, run_name
from experiments.schema import Config, Numerics
from experiments.sweeps.job import list_jobs
from tests.runs import small


def identity(*overrides: str) -> Identity:
    return identity_of(plain_config(small(Path("runs"), *overrides)), "")


def name(*overrides: str) -> str:
    plain = plain_config(small(Path("runs"), *overrides))
    return run_name(plain, identity_of(plain, ""), "digits")


def with_options(entry: Callable[..., Any], **defaults: Any) -> Callable[..., Any]:
    """``entry`` with other defaults, and with options that it does not have and that change nothing."""
    there = inspect.signature(entry).parameters
    known = {key: parameter.replace(default=defaults.get(key, parameter.default)) for key, parameter in there.items()}
    new = {key: inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=defaults[key]) for key in defaults}

    def changed(layer: nn.Module, **options: Any) -> Any:
        own = {key: parameter.default for key, parameter in known.items() if key != "layer"}
        return entry(layer, **{key: options.get(key, default) for key, default in own.items()})

    parameters = {**known, **{key: parameter for key, parameter in new.items() if key not in known}}
    changed.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
    return changed


def other_default(monkeypatch: pytest.MonkeyPatch, momentum: float) -> None:
    monkeypatch.setitem(NORMS._entries, "batch", with_options(NORMS.get("batch"), momentum=momentum))


@pytest.mark.parametrize("by_name", [True, False])
def test_a_run_of_before_a_default_was_changed_is_not_the_answer(
    by_name: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = ["~norm.momentum", *(["run_name=mine"] if by_name else [])]
    first = experiments.run(small(tmp_path, *chosen))
    assert not experiments.run(small(tmp_path, *chosen)).trained
    other_default(monkeypatch, 0.3)
    line = (
        r"holds a run of before a default was changed: norm.momentum \(0.1 there, 0.3 here\); choose another runs_dir"
    )
    with pytest.raises(WrongInput, match=line):
        experiments.run(small(tmp_path, *chosen))
    (standing,) = [job.standing() for job in list_jobs([("", plain_config(small(tmp_path, *chosen)))])]
    assert standing.state == "wrong input"
    # one that measures otherwise lies beside it, without being held against it; and so does what sets the option
    probed = experiments.run(small(tmp_path, "~norm.momentum", "evaluation.every=3"))
    assert probed.trained
    (start,) = json.loads((probed.path / "provenance.json").read_text())["starts"]
    assert start["same_training"] == []
    assert experiments.run(small(tmp_path, "norm.momentum=0.1")).path != first.path
    if by_name:  # what was the default and is now set is the same training
        assert not experiments.run(small(tmp_path, "norm.momentum=0.1", "run_name=mine")).trained


def test_nor_is_one_of_before_a_probe_measured_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the probe's own YAML file says nothing of the option."""
    ics = PROBES.get("ics")

    class Own(ics):  # type: ignore[misc, valid-type]
        def __init__(self, *, depth: int = 1) -> None:
            super().__init__()

    monkeypatch.setitem(PROBES._entries, "ics", Own)
    bare = ["+probes.use.ics={name: ics}", "probes.every=3"]
    path = experiments.run(small(tmp_path, *bare)).path
    assert not experiments.run(small(tmp_path, *bare)).trained
    assert json.loads((path / "config.json").read_text())["measurement_defaults"]["probes.use.ics.depth"] == 1
    monkeypatch.setattr(Own.__init__, "__kwdefaults__", {"depth": 2})
    defaults._of_signature.cache_clear()
    with pytest.raises(WrongInput, match=r"probes.use.ics.depth \(1 there, 2 here\)"):
        experiments.run(small(tmp_path, *bare))
    assert experiments.run(small(tmp_path)).path == path  # of whom nothing of that is asked
    defaults._of_signature.cache_clear()


def test_a_new_option_of_the_schema_renames_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = name()
    for schema, key in ((Numerics, "numerics.precise"), (Config, "patience")):
        wider = dataclasses.make_dataclass("Wider", [(key.rpartition(".")[2], int, 7)], bases=(schema,))
        monkeypatch.setattr(defaults, schema.__name__, wider)
        plain = plain_config(small(Path("runs")))
        group, _, option = key.rpartition(".")
        (plain[group] if group else plain)[option] = 7
        found = identity_of(plain, "")
        assert run_name(plain, found, "digits") == before
        assert found.defaults[key] == 7
    assert name("numerics.name=mine") == before
    assert name("numerics=fast") != before
    assert kind_of_key("numerics.name") == "provenance"
    told = identity()
    assert training_of({"training": told.training, "defaults": told.defaults})["seed"] == 0


def test_options_that_nothing_reads_name_nothing(tmp_path: Path) -> None:
    for moot in (
        ["optim.factor=0.5"],
        ["optim.milestones=[2]"],
        ["model.init_std=0.3"],
        ["optim.factor=0.5", "model.init_std=0.3", "model.initialisation=glorot"],
    ):
        assert name(*moot) == name(), moot
    step = ["optim.schedule=step", "optim.milestones=[2]"]
    assert name(*step, "optim.factor=0.5") != name(*step)
    assert name(*step) != name("optim.schedule=step", "optim.milestones=[3]")
    assert name("optim.schedule=cosine", "optim.factor=0.5") == name("optim.schedule=cosine")
    gaussian = ["model.initialisation=gaussian"]
    assert name(*gaussian, "model.init_std=0.3") != name(*gaussian)
    # and they do change nothing
    data = load_data(plain_config(small(tmp_path))["data"], 0, 16, "cpu")
    one, other = (
        build_training(plain_config(small(tmp_path, *chosen)), data, "cpu", lambda *_: None)  # type: ignore[arg-type]
        for chosen in ([], ["optim.factor=0.5", "optim.milestones=[2]", "model.init_std=0.3"])
    )
    assert [one.learning_rate(step) for step in range(6)] == [other.learning_rate(step) for step in range(6)]
    for a, b in zip(one.network.parameters(), other.network.parameters(), strict=True):
        assert a.equal(b)


def test_an_empty_mapping_is_a_value() -> None:
    plain = plain_config(small(Path("runs")))
    assert flat({"a": {}, "b": {"c": {}}}) == {"a": {}, "b.c": {}}
    names = {run_name(plain, identity_of(plain, ""), "digits")}
    for value in ({}, None, {"x": 1}):
        plain["norm"]["places"] = value
        names.add(run_name(plain, identity_of(plain, ""), "digits"))
    assert len(names) == 4
    assert identity().measurement == {"evaluation": {"every": 2}}


EQUAL = (["optim=gd"], ["optim=sgd"], ["optim=gd", "data.label=mine"])


def test_equal_trainings_are_one_run_whatever_they_are_called(tmp_path: Path) -> None:
    trained = [experiments.run(small(tmp_path, *chosen)) for chosen in EQUAL]
    assert [outcome.trained for outcome in trained] == [True, False, False]
    assert len({outcome.path for outcome in trained}) == 1
    twin = experiments.run(small(tmp_path, *EQUAL[1], "evaluation.every=3"))
    (start,) = json.loads((twin.path / "provenance.json").read_text())["starts"]
    assert start["same_training"] == [{"run": trained[0].path.name, "equal": True}]


def test_equal_jobs_of_a_sweep_are_told_by_what_they_are(tmp_path: Path) -> None:
    configs = [(f"job {i}", plain_config(small(tmp_path, *chosen))) for i, chosen in enumerate(EQUAL)]
    for pair in ([0, 1], [0, 2]):
        with pytest.raises(WrongInput, match=rf"^job 0 \(job 0\) and job 1 \(job {pair[1]}\) are one run, "):
            list_jobs([configs[i] for i in pair])
    named = [("", plain_config(small(tmp_path, f"run_name={run}"))) for run in ("a", "b")]
    assert len(list_jobs(named)) == 2
    with pytest.raises(WrongInput, match=r"^run_name=a: job 0 and job 1 differ, "):
        list_jobs([named[0], ("", plain_config(small(tmp_path, "run_name=a", "seed=1")))])
