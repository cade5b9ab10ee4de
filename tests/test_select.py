"""What may be compared: arms by the values of keys, settings, and walls between all that no arm names."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import experiments
from analysis.claims import Claim, Term, more
from analysis.drawing.settings import drawn_settings as drawn
from analysis.errors import WrongInput
from analysis.ledger import judge
from analysis.measures import over_training
from analysis.run_folder import read_run
from analysis.runs import Runs
from analysis.select import Ambiguous, Arm, apart, arms_by, differing, known_and_norms, plain, settings
from experiments.source_keys import SOURCE_KEYS
from tests.made_table import BASE, made, row
from tests.runs import small

M = over_training("m")
CLAIM = Claim("made", "", "", (more(Term.of("none", M), Term.of("batch", M)),))


def runs_of(*trained: Mapping[str, Any], seeds: int = 3, **options: Any) -> Runs:
    """Runs `a0 a1 a2 b0 ...`: of each configuration, given by what differs from BASE, some seeds."""
    whole, facts, rows = {}, {}, []
    for name, own in zip("abcdefgh", trained, strict=False):
        for seed in reversed(range(seeds)):
            whole[f"{name}{seed}"] = {key: value for key, value in {**BASE, **own}.items() if value != "gone"}
            facts[f"{name}{seed}"] = {"seed": seed}
            high = 2.0 if own.get("norm") == "none" else 1.0
            rows += [row(f"{name}{seed}", step, "m", high + 0.01 * seed) for step in range(8)]
    return made(rows, whole, facts, **options)


def shapes(runs: Runs, arms: list[Arm] | None = None, **options: Any) -> list[dict[str, int]]:
    """The arms of each setting and how many runs they have."""
    return [setting.counts for setting in settings(runs, arms, **options)]


# ---------------------------------------------------------------------------------------------------------------- walls


def other_than(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, list):
        return [*value, 3]
    return 3 if value is None else f"{value}_b"


@pytest.mark.parametrize("key", [key for key in BASE if not key.startswith("norm")])
def test_a_key_that_no_arm_names_is_a_wall(key: str) -> None:
    """Any one key changed in one arm, and no setting holds both: no verdict, no picture."""
    other = other_than(BASE[key])
    runs = runs_of({"norm": "none"}, {"norm": "batch", key: other})
    assert sorted(map(str, shapes(runs))) == ["{'batch': 3}", "{'none': 3}"]
    (verdict,) = judge(runs, [CLAIM])
    assert (verdict.word, verdict.setting) == ("not run", "")
    assert f"they differ in {key} ({plain(BASE[key])}, {plain(other)});" in verdict.reason
    # runs of two lengths are never an arm and another
    assert verdict.reason.endswith("run both with one value" + ("" if key == "steps" else ", or make it an arm"))
    assert [len(setting.names) for setting in drawn(runs).drawn] == [1, 1]
    # one key changed in some seeds of an arm: these are no seeds of the others' setting
    mixed = runs_of({"norm": "none"}, {"norm": "batch"}, {"norm": "batch", key: other})
    assert sorted(map(str, shapes(mixed))) == ["{'batch': 3}", "{'none': 3, 'batch': 3}"]
    (verdict,) = judge(mixed, [CLAIM])
    assert (verdict.word, verdict.seeds) == ("supported", 3)
    # named by the arms, it is none
    one, two = {"norm": "none", key: BASE[key]}, {"norm": "batch", key: other}
    assert shapes(runs, [Arm.of("one", one), Arm.of("two", two)]) == [{"one": 3, "two": 3}]
    # nor where a measure goes across it
    assert shapes(runs, free=[key]) == [{"none": 3, "batch": 3}]


def test_every_key_of_a_real_configuration_that_changes_training_is_a_wall(tmp_path: Path) -> None:
    """Against what the run itself holds to change its numbers; how it was looked at excepted."""
    path = experiments.run(small(tmp_path, "norm=batch", "steps=2", "probes=none")).path
    run = read_run(path)
    scientific = {key for key in run.training if key.rpartition(".")[2] not in SOURCE_KEYS}
    keys = {key.removesuffix(".name") for key in scientific} - {"seed"} | {"steps", "numerics"}
    assert set(run.trained) == keys
    assert len(keys) > 20
    assert run.task == "classification"
    # made-up runs know no defaults, so that an option of the normalisation would be told in an arm's name
    trained = {key: value for key, value in run.trained.items() if not key.startswith("norm.")}
    for key, value in trained.items():
        if key == "norm":
            continue
        plain_one = {**trained, "norm": "none"}
        runs = made([], {"a": plain_one, "b": {**trained, key: other_than(value)}, "c": trained})
        assert sorted(map(str, shapes(runs))) == ["{'batch': 1}", "{'none': 1, 'batch': 1}"], key


# ----------------------------------------------------------------------------------------------------------------- arms


def test_options_of_a_normalisation_make_arms() -> None:
    plain_l2, centred = {"norm": "l2", "norm.centered": False}, {"norm": "l2", "norm.centered": True}
    told = {"a0": {"norm.centered": False, "norm.eps": 1e-5}}
    runs = runs_of(plain_l2, centred, {"norm": "none"}, defaults=told)
    assert shapes(runs) == [{"none": 3, "l2": 3, "l2 centered": 3}]
    assert [arm.says() for arm in arms_by(runs)] == ["norm=none", "norm=l2", "norm=l2 centered"]
    # without word of the defaults each says what it is
    assert shapes(runs_of(plain_l2, centred)) == [{"l2 centered": 3, "l2 not centered": 3}]
    # what all share need not be said, unless it is switched on
    assert shapes(runs_of(plain_l2, {"norm": "none"})) == [{"none": 3, "l2": 3}]
    assert shapes(runs_of(centred, {"norm": "none"})) == [{"none": 3, "l2 centered": 3}]
    # a number; two options
    groups = runs_of(
        {"norm": "group", "norm.groups": 8},
        {"norm": "group", "norm.groups": 4.0},
        {"norm": "group", "norm.groups": 4, "norm.eps": 1e-3},
        defaults={"a0": {"norm.groups": 8, "norm.eps": 1e-5}},
    )
    assert shapes(groups) == [{"group": 3, "group groups=4": 3, "group eps=0.001 groups=4": 3}]


def test_an_arm_by_an_options_value_leaves_the_others_at_their_defaults() -> None:
    defaults = {"a0": {"norm.centered": False, "norm.eps": 1e-5}}
    runs = runs_of(
        {"norm": "l2", "norm.centered": False},
        {"norm": "l2", "norm.centered": True},
        {"norm": "l2", "norm.centered": True, "norm.eps": 1e-3},
        defaults=defaults,
    )
    arms = [
        Arm.of("centred", {"norm": "l2", "norm.centered": True}),
        Arm.of("not", {"norm": "l2", "norm.centered": False}),
        Arm.of("plain", {"norm": "l2"}),
        Arm.of("loose", {"norm": "l2", "norm.centered": True, "norm.eps": 0.001}),
        Arm.of("none of these", {"norm": "l1", "norm.centered": True}),
    ]
    assert {arm.name: arm.runs(runs) for arm in arms} == {
        "centred": ["b2", "b1", "b0"],
        "not": ["a2", "a1", "a0"],
        "plain": ["a2", "a1", "a0"],
        "loose": ["c2", "c1", "c0"],
        "none of these": [],
    }
    # by the option alone, the choice and its other options are walls
    by_option = [Arm.of("yes", {"norm.centered": True}), Arm.of("no", {"norm.centered": False})]
    assert shapes(runs, by_option) == [{"yes": 3, "no": 3}, {"yes": 3}]
    assert {tuple(s.values["norm.eps"] for s in settings(runs, by_option))} == {(1e-5, 1e-3)}
    assert settings(runs, by_option)[0].values["norm.choice"] == "l2"
    others = runs_of({"norm": "l1", "norm.centered": True}, {"norm": "l2", "norm.centered": False})
    assert shapes(others, by_option) == [{"yes": 3}, {"no": 3}]


def test_arms_by_two_keys() -> None:
    runs = runs_of({"norm": "none"}, {"norm": "batch"}, {"norm": "batch", "optim.lr": 10}, {"optim.lr": 2.5})
    arms = arms_by(runs, ("norm", "optim.lr"))
    assert [arm.name for arm in arms] == [
        "batch optim.lr=0.1",
        "batch optim.lr=2.5",
        "batch optim.lr=10",
        "none optim.lr=0.1",
    ]
    assert shapes(runs, arms) == [{arm.name: 3 for arm in arms}]
    assert [arm.name for arm in arms_by(runs, ("optim.lr",))] == ["0.1", "2.5", "10"]
    assert shapes(runs, arms_by(runs, ("optim.lr",))) == [{"0.1": 3, "2.5": 3, "10": 3}, {"0.1": 3}]
    with pytest.raises(WrongInput, match=r"no run has the key 'optim.lrr'; did you mean 'optim.lr'\?"):
        arms_by(runs, ("optim.lrr",))


def test_arms_by_a_key_whose_values_are_lists() -> None:
    decayed = [{"match": "gamma", "decay": 0.1}]
    runs = runs_of({"optim.groups": []}, {"optim.groups": decayed})
    assert shapes(runs, arms_by(runs, ("optim.groups",))) == [{"[]": 3, plain(decayed): 3}]
    known = [Arm.of("decayed", {"norm": "batch", "optim.groups": decayed})]
    assert shapes(runs, known_and_norms(runs, known)) == [{"batch": 3, "decayed": 3}]


def test_norms_beside_known_arms_that_name_a_group_hold_its_options_apart() -> None:
    sam = {"optim": "sam"}
    runs = runs_of({"optim.rho": "gone"}, {**sam, "optim.rho": 0.1}, {**sam, "optim.rho": 0.5})
    known = [Arm.of("descent", {"norm": "batch", "optim": "sgd"})]
    names = ["batch", "batch optim=sam rho=0.5"]  # the first that is met has the short name
    assert shapes(runs, known_and_norms(runs, known)) == [{"descent": 3, **dict.fromkeys(names, 3)}]


def test_a_groups_name_as_an_arm_takes_the_options_that_only_one_has() -> None:
    mlp = {"model": "mlp", "model.widths": [16], "model.width": "gone"}
    models = [Arm.of("convolutions", {"model": "vgg_small"}), Arm.of("connected", {"model": "mlp"})]
    runs = runs_of({}, mlp)
    assert shapes(runs, models) == [{"convolutions": 3, "connected": 3}]
    assert shapes(runs) == [{"batch": 3}, {"batch": 3}]
    # an option that both have stays a wall
    runs = runs_of({}, {**mlp, "model.activation": "tanh"})
    assert shapes(runs, models) == [{"convolutions": 3}, {"connected": 3}]
    assert "model.activation (relu, tanh)" in apart(runs, models)


# --------------------------------------------------------------------------------------------------- values, old runs


def test_equal_values_are_alike_however_they_are_written() -> None:
    runs = runs_of(
        {"norm": "none", "optim.momentum": 0, "data.subset": None, "model.width": 1, "optim.nesterov": False},
        {"norm": "batch", "optim.momentum": 0.0, "data.subset": math.nan, "optim.nesterov": np.bool_(False)},
    )
    assert shapes(runs) == [{"none": 3, "batch": 3}]
    assert len(settings(runs, about={"model.width": 1.0, "optim.nesterov": False, "data.subset": None})) == 1
    assert not settings(runs, about={"optim.nesterov": True})
    # false is not 0, true is not 1, and neither is a word
    for one, other in ((False, 0), (True, 1), (True, None), (False, None), (1, "1.0"), (0, None)):
        two = runs_of({"norm": "none", "k": one}, {"norm": "batch", "k": other})
        assert shapes(two) == [{"none": 3}, {"batch": 3}] or shapes(two) == [{"batch": 3}, {"none": 3}], (one, other)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (1, "1"),
        (1.0, "1"),
        (np.float64(2.5), "2.5"),
        (np.int64(3), "3"),
        (True, "true"),
        (np.bool_(False), "false"),
        (None, "none"),
        (math.nan, "none"),
        (np.float32("nan"), "none"),
        (1e-6, "1e-6"),
        (1.5e-05, "1.5e-5"),
        (1e20, "1e+20"),
        (123456789012.5, "123456789012"),
        (0.1 + 0.2, "0.3"),
        ([1, 2.0, "a"], "[1,2,a]"),
        ((0.5,), "[0.5]"),
        ("relu", "relu"),
        (1e15, "1e+15"),
        (1e14, "100000000000000"),
    ],
)
def test_a_value_as_a_person_writes_it(value: Any, said: str) -> None:
    assert plain(value) == said


def test_a_run_that_is_older_than_an_option_has_its_default() -> None:
    defaults = {"b0": {"optim.clip": None, "model.bias": True, "norm.affine": True}}
    old = {"norm": "none"}
    new = {"norm": "batch", "optim.clip": None, "model.bias": True, "norm.affine": True}
    assert shapes(runs_of(old, new, defaults=defaults)) == [{"none": 3, "batch": 3}]
    assert shapes(runs_of({}, new, defaults=defaults)) == [{"batch": 6}]
    assert len(shapes(runs_of(old, {**new, "model.bias": False}, defaults=defaults))) == 2
    # without a word of the default nobody knows
    assert len(shapes(runs_of(old, new))) == 2
    # the default is that of the choice
    assert len(shapes(runs_of({**old, "model": "mlp"}, {**new, "model": "mlp"}, defaults=defaults))) == 1
    other = runs_of(old, {**new, "model": "mlp"}, defaults=defaults)
    assert other.value("a0", "model.bias") is None
    assert other.value("a0", "optim.clip") is None
    assert runs_of(old, new, defaults=defaults).value("a0", "model.bias") is True
    assert runs_of(old, new, defaults=defaults).only(["a0"]).value("a0", "model.bias") is True
    assert runs_of(old, new, defaults=defaults).has("a0", "model.bias")
    assert not runs_of(old, new).has("a0", "model.bias")
    # of a key that belongs to no group
    clip = runs_of({"norm": "none"}, {"norm": "batch", "clip": 0}, defaults={"b0": {"clip": 0}})
    assert clip.value("a0", "clip") == 0
    assert shapes(clip) == [{"none": 3, "batch": 3}]


def test_an_arm_holds_nothing_that_differs_in_what_only_another_arm_names() -> None:
    """Two normalisations, each with seeds of its own, in an arm that names a width: no arm of six seeds."""
    wide, narrow = Arm.of("wide", {"norm": "none", "model.width": 2.0}), Arm.of("narrow", {"model.width": 1.0})
    both = [{"norm": "none", "model.width": 2.0}, {"norm": "batch"}, {"norm": "none"}]
    runs = runs_of(*both)
    runs.each["seed"] = [seed + 3 * (name[0] == "c") for name, seed in runs.each["seed"].items()]
    (setting,) = settings(runs, [wide, narrow])
    assert {arm: dict(keys) for arm, keys in setting.mixed.items()} == {"narrow": {"norm": ["batch", "none"]}}
    assert len(setting.own("wide").each) == 3
    with pytest.raises(Ambiguous, match=r"^runs of narrow differ in norm \(batch, none\): name one of them$"):
        setting.own("narrow")
    (verdict,) = judge(runs, [Claim("made", "", "", (more(Term.of(wide, M), Term.of(narrow, M)),))])
    assert (verdict.word, verdict.reason.partition(";")[0]) == (
        "undecided",
        "runs of narrow differ in norm (batch, none): name one of them",
    )
    assert setting.only(["wide"]).mixed == {}
    named = Arm.of("narrow", {"model.width": 1.0, "norm": "none"})
    assert settings(runs_of(*both), [wide, named])[0].mixed == {}


def test_arms_by_a_group_hold_the_options_of_a_choice_apart() -> None:
    """What only one choice has cannot be alike in both; within that choice it is a wall all the same."""
    small, large = {"model": "vgg_small", "model.width": 0.5}, {"model": "vgg_small", "model.width": 1.0}
    mlp = {"model": "mlp", "model.width": "gone"}
    runs = runs_of(small, large, mlp)
    assert shapes(runs, arms_by(runs, ["model"])) == [{"mlp": 3, "vgg_small width=0.5": 3, "vgg_small width=1": 3}]
    alike = runs_of(small, mlp)
    assert shapes(alike, arms_by(alike, ["model"])) == [{"mlp": 3, "vgg_small": 3}]
    # an arm written by hand that does not name the width
    arms = [Arm.of("mlp", {"model": "mlp"}), Arm.of("vgg", {"model": "vgg_small"})]
    (setting,) = settings(runs, arms)
    assert {arm: dict(keys) for arm, keys in setting.mixed.items()} == {"vgg": {"model.width": ["0.5", "1"]}}


def test_a_setting_is_called_the_same_whichever_runs_are_looked_at() -> None:
    runs = runs_of({}, {"model.width": 2.0})
    assert [setting.label for setting in settings(runs.only(["a0", "a1"]))] == [settings(runs)[0].label]
    assert settings(runs)[0].subtitle == "learning rate 0.1, width 1"
    twice = settings(runs_of({}, {"optim.momentum": 0.9, "data.momentum": 3}))[1]
    assert "optim.momentum 0.9" in twice.subtitle
    assert "data.momentum 3" in twice.subtitle


def test_runs_by_the_values_of_keys() -> None:
    runs = runs_of({"optim.lr": 1.0}, {"norm": "none"}, {"norm": "none", "optim.lr": 1})
    assert list(runs.where({"optim.lr": 1}).each.index) == ["a2", "a1", "a0", "c2", "c1", "c0"]
    assert list(runs.where({"norm": "none", "optim.lr": 1, "seed": 2}).each.index) == ["c2"]
    with pytest.raises(WrongInput, match=r"no run has the key 'optim.l'; did you mean 'optim.lr'\?"):
        runs.where({"optim.l": 1})


def test_a_table_keeps_apart_what_it_was_asked_for() -> None:
    runs = runs_of({"norm": "none"}, {"norm": "batch"})
    facts = {"state": "finished", "diverged_at": math.nan, "experiment": None, "task": "classification"}
    table = runs.table.assign(**facts, seed=0, norm=runs.table["run"].map(runs.label_of), data="digits", model="mlp")
    assert shapes(Runs.of(table.assign(run=table["norm"].astype(str)))) == [{"none": 1, "batch": 1}]
    deep = table.assign(run=table["norm"].astype(str))
    deep["model.depth"] = deep["norm"].map({"none": 5, "batch": 30})
    assert sorted(map(str, shapes(Runs.of(deep)))) == ["{'batch': 1}", "{'none': 1}"]


def test_the_label_of_a_normalisation_does_not_depend_on_which_runs_are_looked_at() -> None:
    runs = runs_of({"norm": "l2", "norm.centered": False}, {"norm": "l2", "norm.centered": True})
    assert runs.only(["b0"]).label_of("b0") == "l2 centered"
    assert shapes(runs.only(["b0", "b1"])) == [{"l2 centered": 2}]


# ------------------------------------------------------------------------------------------------------------- settings


def test_a_setting_says_what_tells_it_from_the_others() -> None:
    runs = runs_of({}, {"optim.lr": 0.02}, {"optim.lr": 1.0, "model.width": 2.0}, {"optim.lr": 1.0}, {"model": "zeta"})
    found = settings(runs)
    assert [setting.label for setting in found] == [
        "vgg_small on digits, learning rate 0.02",
        "vgg_small on digits, learning rate 0.1",
        "vgg_small on digits, learning rate 1, width 1",
        "vgg_small on digits, learning rate 1, width 2",
        "zeta on digits, learning rate 0.1",
    ]
    assert (found[2].title, found[2].subtitle) == ("vgg_small on digits", "learning rate 1, width 1")
    rates = settings(runs_of({}, {"optim.lr": 0.02}, {"optim.lr": 1e-6, "model": "zeta"}))
    assert [setting.subtitle for setting in rates] == [f"learning rate {rate}" for rate in ("0.02", "0.1", "1e-6")]
    assert found[0].values["optim.lr"] == 0.02
    assert found[3].values["model.width"] == 2
    several = settings(runs_of({}, {"optim.batch_size": 8, "optim.momentum": 0.9, "optim": "adam"}))
    assert [s.subtitle for s in several] == [
        "learning rate 0.1, optimiser adam, batch size 8, momentum 0.9",
        "learning rate 0.1, optimiser sgd, batch size 64, momentum 0",
    ]
    no_rate = settings(runs_of({}, {"optim.lr": 1.0}), arms_by(runs_of({}, {"optim.lr": 1.0}), ("optim.lr",)))
    assert [s.label for s in no_rate] == ["vgg_small on digits"]


@pytest.mark.parametrize(("key", "words"), [("data.fingerprint", "fingerprint"), ("model.file_sha256", "file sha256")])
def test_a_hash_that_tells_settings_apart_is_shown_by_its_first_eight_digits(key: str, words: str) -> None:
    one, other = hashlib.sha256(b"one").hexdigest(), hashlib.sha256(b"other").hexdigest()
    runs = runs_of({key: one}, {key: other}, {key: other, "norm": "none"})
    found = {setting.label: setting.values[key] for setting in settings(runs)}
    title = f"vgg_small on digits, learning rate 0.1, {words}"
    assert found == {f"{title} {one[:8]}": one, f"{title} {other[:8]}": other}
    told = apart(runs_of({key: one}, {key: other, "norm": "none"}), [Arm.norm("none"), Arm.norm("batch")])
    assert f"({other[:8]}, {one[:8]})" in told


def test_settings_of_some_values() -> None:
    runs = runs_of({"optim.lr": 0.5}, {"optim.lr": 0.1}, {"norm": "none", "optim.lr": 0.5})
    assert shapes(runs, about={"optim.lr": 0.50}) == [{"none": 3, "batch": 3}]
    assert shapes(runs, about={"optim.lr": 0.1, "task": "classification"}) == [{"batch": 3}]
    assert shapes(runs, about={"task": "regression"}) == []
    assert shapes(runs, about={"no.such": 1}) == []
    assert shapes(runs, [Arm.norm("none"), Arm.norm("none")]) == [{"none": 3}]
    assert shapes(runs, [Arm.norm("l1")]) == []


def test_what_a_setting_knows_of_its_runs() -> None:
    runs = runs_of({"norm": "none"}, {"norm": "batch"})
    runs.each.loc["a2", ["state", "diverged_at"]] = ["diverged", 5.0]
    runs.each.loc["a0", ["state", "diverged_at"]] = ["diverged", 7.0]
    runs.each.loc["b0", "state"] = "running"
    (setting,) = settings(runs)
    assert setting.of == {"none": ("a0", "a1", "a2"), "batch": ("b0", "b1", "b2")}  # by seed
    assert setting.arm_of() == {**{f"a{i}": "none" for i in range(3)}, **{f"b{i}": "batch" for i in range(3)}}
    assert setting.diverged == {"none": (5.0, 7.0)}  # in the order of the steps
    lowest = {name: setting.lowest_seed(name) for name in ("none", "batch", "l1")}
    assert {name: None if found is None else found["run"] for name, found in lowest.items()} == {
        "none": "a1",  # the lowest that went to its end
        "batch": "b0",
        "l1": None,
    }
    assert setting.task == "classification"
    part = setting.only(["batch"])
    assert (part.names, part.counts, list(part.runs.each.index)) == (["batch"], {"batch": 3}, ["b0", "b1", "b2"])
    runs.each["task"] = None
    assert settings(runs)[0].task is None


def test_runs_of_an_arm_are_in_the_order_of_their_seeds() -> None:
    facts = {"a": {"seed": 2}, "b": {"seed": 1}, "c": {"seed": 10}, "d": {"seed": 1}}
    (setting,) = settings(made([], dict.fromkeys(facts, BASE), facts))
    assert setting.of == {"batch": ("b", "d", "a", "c")}
    lowest = setting.lowest_seed("batch")
    assert lowest is not None
    assert lowest["run"] == "b"


def test_what_a_table_leaves_open_is_none() -> None:
    table = made([row("a", 0, "m", 1.0)], {"a": BASE}).table
    known = {"data": "gaussian", "model": "deep_linear", "norm": "none", "lr": 1e-6, "batch_size": math.nan, "seed": 4}
    runs = Runs.of(table.assign(state="finished", diverged_at=math.nan, experiment=None, task="regression", **known))
    assert runs.value("a", "optim.batch_size") is None
    assert (runs.value("a", "optim.lr"), runs.value("a", "seed"), runs.value("a", "norm")) == (1e-6, 4, "none")
    assert "optim.loss" not in runs.keys


def test_apart_names_the_nearest_and_is_silent_where_an_arm_was_not_run() -> None:
    none, batch = [Arm.norm("none"), Arm.norm("batch")]
    runs = runs_of({"norm": "none"}, {"optim.lr": 1.0, "steps": 7}, {"steps": 7})
    assert apart(runs, [none, batch]) == (
        "none and batch were run, but nowhere alike: they differ in steps (120, 7); run both with one value"
    )
    first = runs_of({"norm": "none"}, {"optim.lr": 0.05, "steps": 7}, {"steps": 7})  # what sorts first is not nearest
    assert apart(first, [none, batch]) == apart(runs, [none, batch])
    assert apart(runs, [none, batch], free=("steps",)) == ""  # they are together
    silent = Claim("made", "", "", (more(Term.of("none", over_training("gone")), Term.of("batch", M)),))
    (verdict,) = judge(runs_of({"norm": "none"}, {}, {"optim.lr": 1.0}), [silent])
    assert "nowhere alike" not in verdict.reason
    assert "no run of none records gone on the train batch" in verdict.reason
    assert apart(runs, [none, Arm.norm("l1")]) == ""
    assert apart(runs, [none]) == ""
    assert apart(runs, [none, batch], about={"optim.lr": 1.0}) == ""


def test_keys_in_which_runs_differ() -> None:
    runs = runs_of({}, {"optim.lr": 1.0, "model.width": 1})
    assert differing(runs, ["a0", "b0"]) == {"optim.lr": ["0.1", "1"]}
    assert differing(runs, ["a0", "b0"], ["model.width"]) == {}
    assert differing(runs, ["a0", "a1"]) == {}
