"""What names a run, and what runs of one training promise each other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import experiments
from analysis.run_folder import read_run
from experiments.configuration import plain_config
from experiments.errors import RunFailure, WrongInput
from experiments.norms import NORMS
from experiments.runs import provenance
from experiments.runs.format import flat, kind_of_key, training_of
from experiments.runs.identity import LATER_VERSIONS, RESULTS_VERSION, Identity, covers, identity_of, run_name
from experiments.runs.twins import state_sha256
from experiments.sweeps.job import list_jobs
from tests.runs import checkpoint, differences, small
from tests.test_guards import own_norm
from tests.test_identity_defaults import with_options

PROBED = ["probes=[gradients,landscape]", "probes.every=3"]


def identity(*overrides: str) -> Identity:
    return identity_of(plain_config(small(Path("runs"), *overrides)), "")


def name(*overrides: str) -> str:
    plain = plain_config(small(Path("runs"), *overrides))
    return run_name(plain, identity_of(plain, ""), "digits")


def described(path: Path, file: str = "config.json") -> dict[str, Any]:
    return json.loads((path / file).read_text())


# Names


def test_a_new_option_with_a_default_renames_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = name()
    monkeypatch.setitem(NORMS._entries, "batch", with_options(NORMS.get("batch"), sharpness=2.0))
    assert name() == before
    assert name("+norm.sharpness=2") == before
    assert name("+norm.sharpness=3") != before
    assert identity().defaults["norm.sharpness"] == 2


def test_only_what_differs_from_a_default_is_in_the_identity() -> None:
    training = flat(identity("norm=l2", "optim.momentum=0.9", "model.widths=[16,16]").training)
    assert training == {
        "data.name": "digits",
        "data.subset": 64,
        "data.test_subset": 40,
        "model.name": "mlp",
        "model.widths": [16, 16],
        "norm.name": "l2",
        "optim.name": "sgd",
        "optim.lr": 0.1,
        "optim.batch_size": 16,
        "optim.momentum": 0.9,
    }
    assert identity().measurement == {"evaluation": {"every": 2}}
    assert name("norm.eps=1e-5", "diverged_above=100000000", "model.gain=1") == name()
    for other in ("norm.eps=1e-4", "diverged_above=10", "model.gain=2", "model.initialisation=he", "data.augment=true"):
        assert name(other) != name(), other
    assert name("norm=l2", "norm.centered=true") != name("norm=l2")
    # 1 is 1.0, but not true
    assert identity("optim.momentum=0").training == identity("optim.momentum=0.0").training


def test_every_default_is_what_the_option_means_where_it_is_left_out() -> None:
    told = training_of(
        {"training": identity("optim.momentum=0.9").training, "defaults": identity("optim.momentum=0.9").defaults}
    )
    plain = flat(plain_config(small(Path("runs"), "optim.momentum=0.9")))
    options = {key: value for key, value in plain.items() if kind_of_key(key) == "training" and key != "steps"}
    options = {key: value for key, value in options.items() if not key.endswith(".file")}
    assert {key: told[key] for key in options} == options


def test_what_measures_has_a_hash_of_its_own() -> None:
    plain, probed = name(), name(*PROBED)
    assert plain[:-5] == probed[:-5]
    assert plain[-4:] != probed[-4:]
    assert name("evaluation.test_every=2")[:-5] == plain[:-5]
    assert name("probes.every=7") == name("probes.fixed_batch=3") == plain  # nothing looks, so nothing differs
    assert name("probes=gradients", "probes.at=[1,2]") == name("probes=gradients", "probes.at=[1,2]", "probes.every=9")
    assert name("probes=gradients", "probes.every=9") != name("probes=gradients", "probes.every=3")
    assert name("probes=landscape", "probes.use.landscape.random=0") == name("probes=landscape")
    assert name("probes=landscape", "probes.use.landscape.random=1") != name("probes=landscape")


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("optim.lr", "training"),
        ("diverged_above", "training"),
        ("data.subset", "training"),
        ("data.root", "provenance"),
        ("launcher.workers", "provenance"),
        ("checkpoint.keep", "provenance"),
        ("probes.use.ics.moves", "measurement"),
        ("evaluation.every", "measurement"),
    ],
)
def test_every_key_is_of_one_kind(key: str, kind: str) -> None:
    assert kind_of_key(key) == kind


# One training, measured twice


def test_the_same_training_probed_lies_beside_the_first_and_ends_with_the_same_bits(tmp_path: Path) -> None:
    plain = experiments.run(small(tmp_path))
    probed = experiments.run(small(tmp_path, *PROBED))
    assert probed.trained
    assert probed.path != plain.path
    assert described(probed.path)["training"] == described(plain.path)["training"]
    assert described(probed.path)["measurement"]["probes"]["use"] == {
        "gradients": {"name": "gradients"},
        "landscape": {"name": "landscape"},
    }
    ends = [described(path, "status.json")["end"] for path in (plain.path, probed.path)]
    assert ends[0] == ends[1]
    assert ends[0]["step"] == 6
    assert ends[0]["sha256"] == state_sha256(experiments.load_network(plain.path))
    assert differences(checkpoint(plain.path)["network"], checkpoint(probed.path)["network"]) == []
    (start,) = described(probed.path, "provenance.json")["starts"]
    assert start["same_training"] == [{"run": plain.path.name, "equal": True}]
    assert read_run(plain.path).training == read_run(probed.path).training
    assert read_run(plain.path).training["norm.eps"] == 1e-5


def test_what_an_ended_run_has_measured_is_not_trained_again(tmp_path: Path) -> None:
    probed = experiments.run(small(tmp_path, *PROBED))
    for covered in ([], ["probes=gradients", "probes.every=3"]):
        outcome = experiments.run(small(tmp_path, *covered))
        assert (outcome.path, outcome.state, outcome.trained) == (probed.path, "finished", False), covered
    others = [
        ["probes=gradients", "probes.every=2"],
        ["probes=[gradients,ics]", "probes.every=3"],
        ["probes=landscape", "probes.every=3", "probes.use.landscape.random=1"],
        ["evaluation.every=3"],
        ["checkpoint.keep=[2]", "steps=7"],
        ["probes=gradients", "probes.every=3", "steps=4"],  # the analysis pools no two lengths
    ]
    paths = {probed.path}
    for other in others:
        outcome = experiments.run(small(tmp_path, *other))
        assert outcome.trained, other
        paths.add(outcome.path)
    assert len(paths) == 7
    lengths = {path: (described(path)["config"]["steps"], described(path, "status.json")["step"]) for path in paths}
    assert sorted(lengths.values()) == [(4, 4), (6, 6), (6, 6), (6, 6), (6, 6), (6, 6), (7, 7)]


def test_covering_is_told_from_the_measurements_alone() -> None:
    def measured(*overrides: str) -> dict[str, Any]:
        return identity(*overrides).measurement

    whole = measured("probes=standard", "probes.at=[0,3]")
    for part in ("ics", "[theory,activations]", "standard"):
        assert covers(whole, measured(f"probes={part}", "probes.at=[0,3]"))
    assert covers(whole, measured())
    assert not covers(measured("probes=ics", "probes.at=[0,3]"), whole)
    assert not covers(whole, measured("probes=ics", "probes.at=[0]"))
    assert not covers(whole, measured("probes=ics", "probes.at=[0,3]", "probes.fixed_batch=19"))
    assert not covers(whole, measured("probes=ics", "probes.at=[0,3]", "probes.dtype=float64"))
    assert not covers(whole, measured("probes=ics", "probes.at=[0,3]", "probes.use.ics.moves=weights"))
    assert not covers({**whole, "probed_again": True}, measured())


def test_a_sweep_takes_a_covered_job_for_done(tmp_path: Path) -> None:
    probed = experiments.run(small(tmp_path, *PROBED)).path
    jobs = list_jobs(
        ("", plain_config(small(tmp_path, *chosen))) for chosen in ([], PROBED, ["probes=ics", "probes.every=3"])
    )
    assert [job.path == probed for job in jobs] == [True, True, False]
    assert [job.standing().state for job in jobs] == ["finished", "finished", "missing"]


@pytest.fixture
def committed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One code for all runs, whatever state this checkout is in."""
    monkeypatch.setattr(provenance, "_git_state", lambda: ("0" * 40, False))


@pytest.mark.usefixtures("committed")
def test_a_training_that_does_not_repeat_is_a_failure_that_names_both(tmp_path: Path) -> None:
    chosen = own_norm(tmp_path, "return y * (1 + 1e-3 * (time.time_ns() % 1000)) if self.training else y")
    one = experiments.run(small(tmp_path / "runs", *chosen)).path
    with pytest.raises(RunFailure, match=f"ended with other weights than .*{one.name} after 6 steps"):
        experiments.run(small(tmp_path / "runs", *chosen, "evaluation.every=3"))
    (other,) = [path for path in (tmp_path / "runs").iterdir() if path != one]
    assert described(other, "status.json")["state"] == "failed"
    with pytest.raises(RunFailure, match=f"{other}: the same training"):  # typed again, it is no better
        experiments.run(small(tmp_path / "runs", *chosen, "evaluation.every=3"))


@pytest.mark.usefixtures("committed")
def test_one_bit_of_another_end_is_enough_and_other_conditions_are_not_compared(tmp_path: Path) -> None:
    path = experiments.run(small(tmp_path)).path
    status = described(path, "status.json")
    end = {**status["end"], "sha256": "0" * 64}
    (path / "status.json").write_text(json.dumps({**status, "end": end}))
    with pytest.raises(RunFailure, match="the same training ended with other weights"):
        experiments.run(small(tmp_path, *PROBED))
    other = experiments.run(small(tmp_path, "evaluation.every=3", "threads=2")).path
    (note,) = described(other, "provenance.json")["starts"][-1]["same_training"]
    assert note == {"run": path.name, "not_compared": "other conditions: threads (1 there, 2 here)"}
    fast = small(tmp_path / "fast", "numerics=fast"), small(tmp_path / "fast", "numerics=fast", "evaluation.every=3")
    notes = [described(experiments.run(run).path, "provenance.json")["starts"][-1]["same_training"] for run in fast]
    assert notes[0] == []
    assert notes[1][0]["not_compared"] == "numerics=fast is not deterministic"


def test_the_hash_of_a_network_is_of_every_name_type_shape_and_bit() -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    first = state_sha256(network)
    assert state_sha256(network) == first
    seen = {first}
    for change in (
        lambda: network[1].running_mean.fill_(-0.0),  # a zero of the other sign
        lambda: network[1].num_batches_tracked.add_(1),
        lambda: network.double(),
        lambda: network.append(nn.ReLU()).append(nn.BatchNorm1d(2).double()),
    ):
        with torch.no_grad():
            change()
        seen.add(state_sha256(network))
    renamed = nn.Module()
    for key, module in zip("abcd", network, strict=True):
        renamed.add_module(key, module)
    assert len({*seen, state_sha256(renamed)}) == 6


def test_probing_again_is_of_the_same_training_and_covers_nothing(tmp_path: Path) -> None:
    kept = experiments.run(small(tmp_path, "checkpoint.keep=[2,5]")).path
    again = experiments.run(small(tmp_path, "probes=gradients", f"probe_again={kept}")).path
    assert described(again)["training"] == described(kept)["training"]
    assert read_run(again).training == read_run(kept).training
    assert again.name[:-5] == kept.name[:-5]
    assert described(again)["measurement"]["probed_again"] is True
    during = experiments.run(small(tmp_path, "probes=gradients", "probes.at=[2,5]"))
    assert during.trained
    assert during.path != again


# Versions of the results


def test_a_version_may_be_raised_for_one_model(tmp_path: Path) -> None:
    """Its runs have other names then, and folders of before are refused; those of all other models stay."""
    mine = tmp_path / "deep_linear.py"
    mine.write_text("from experiments.models.mlp import mlp as deep_linear\n")
    linear = ["data=gaussian", "model=deep_linear", "optim=gd", "optim.loss=sum", "optim.lr=1e-6", "steps=1"]
    own = ["model=mlp", "model.name=deep_linear", f"model.file={mine}"]
    versions = []
    for overrides in (linear, ["model=mlp"], own):
        path = experiments.run(small(tmp_path, "probes=none", *overrides)).path
        versions.append(described(path)["results_version"])
    assert versions == [LATER_VERSIONS["deep_linear"], RESULTS_VERSION, RESULTS_VERSION]
    assert LATER_VERSIONS["deep_linear"] > RESULTS_VERSION
    now = identity_of(plain_config(experiments.compose(linear)), "")
    before = replace(now, results_version=RESULTS_VERSION)
    assert now.digests[0] != before.digests[0]
    assert now.digests[1] == before.digests[1]


# Folders of before


def test_a_folder_of_before_is_read_and_probed_again_but_not_gone_on_with(tmp_path: Path) -> None:
    path = experiments.run(small(tmp_path, "run_name=old", "checkpoint.keep=[2]", *PROBED)).path
    now = described(path)
    config = now["config"]
    kept = {key: config[key] for key in ("data", "model", "norm", "optim", "numerics", "seed", "diverged_above")}
    kept["data"] = {key: value for key, value in kept["data"].items() if key not in ("label", "root")}
    before = {key: now[key] for key in ("results_version", "run", "experiment", "spec", "config")}
    before["identity"] = {**kept, "evaluation": config["evaluation"], "probes": config["probes"]}
    (path / "config.json").write_text(json.dumps(before))
    training = read_run(path).training
    assert training["norm.eps"] == 1e-5
    assert training["optim.lr"] == 0.1
    assert not [key for key in training if key.startswith(("probes", "evaluation"))]
    with pytest.raises(WrongInput, match=r"before training and measurement were told apart.*choose another run_name"):
        experiments.run(small(tmp_path, "run_name=old", "steps=8", *PROBED))
    assert experiments.run(small(tmp_path, "probes=ics", f"probe_again={path}")).trained


def test_all_files_of_a_users_package_are_part_of_the_identity(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "__init__.py").write_text("from .half import Half\n")
    body = "from torch import nn\nclass Half(nn.Module):\n    def __init__(self, layer):\n        super().__init__()\n"
    (folder / "half.py").write_text(f"{body}    def forward(self, y):\n        return y / 2\n")
    chosen = small(tmp_path / "runs", "norm=none", "norm.name=Half", f"norm.file={folder}")
    first = experiments.run(chosen).path
    assert not experiments.run(chosen).trained
    (folder / "half.py").write_text(f"{body}    def forward(self, y):\n        return y / 3\n")
    second = experiments.run(chosen)
    assert second.trained
    assert second.path != first
    assert described(first, "status.json")["final"] != described(second.path, "status.json")["final"]
