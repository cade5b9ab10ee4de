"""Norm mimicry: a plain loop by hand, the trajectory of a run of other norms, and what a file must hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import experiments
from analysis.measures import final
from analysis.runs import Runs
from analysis.select import Ambiguous, Arm, settings
from experiments.building import build_training
from experiments.configuration import plain_config
from experiments.data import load_data
from experiments.errors import WrongInput
from experiments.runs.records import ProbeRecorder
from experiments.train import Training, train_step
from tests.runs import MLP, VGG, assert_unnoticed_and_carried_on, checkpoint, refusal, small

INVARIANT = ["fc1.layer.weight", "fc2.layer.weight"]
STORED = ["probes=dynamics", "probes.use.dynamics.channels=true"]


def training(*overrides: str) -> Training:
    config = plain_config(small(Path("nowhere"), *overrides))
    data = load_data(config["data"], config["seed"], config["optim"]["batch_size"], torch.device("cpu"))
    return build_training(config, data, torch.device("cpu"), ProbeRecorder())


def other_run(folder: Path, *overrides: str, every: int = 2) -> Path:
    """The file of a run that has ended."""
    path: Path = experiments.run(small(folder, *STORED, f"probes.every={every}", *overrides)).path
    return path / "arrays.npz"


def mimicry(file: Path | str, *more: str) -> list[str]:
    return ["optim=norm_mimicry", f"optim.norms_file={file}", *more]


def by_hand(file: Path, run: Training, rescale: str, momentum: float, lr: float) -> dict[str, Tensor]:
    """Six steps, one number after the other; the norms are read by numpy alone."""
    with np.load(file) as arrays:
        stored = {
            name: dict(
                zip(
                    arrays[f"dynamics/channel_norms.{name}/steps"].tolist(),
                    arrays[f"dynamics/channel_norms.{name}/values"],
                    strict=True,
                )
            )
            for name in INVARIANT
        }

    def norm_there(name: str, step: int, channel: int) -> float:
        return float(stored[name][max(s for s in stored[name] if s <= step)][channel])

    def length(values: Tensor) -> float:
        return sum(v * v for v in values.flatten().tolist()) ** 0.5

    named = dict(run.network.named_parameters())
    moving = {name: torch.zeros_like(p) for name, p in named.items()}

    def brought_to(step: int) -> None:
        for name in INVARIANT:
            for channel in range(len(named[name])):
                row = named[name].data[channel]
                row *= norm_there(name, step, channel) / length(row)

    if rescale == "weights":
        brought_to(0)
    for step in range(6):
        batch = run.data.batch(step)
        run.network.zero_grad()
        nn.functional.cross_entropy(run.network(batch.inputs), batch.targets).backward()
        for name, parameter in named.items():
            moving[name] = momentum * moving[name] + parameter.grad
            for channel in range(len(parameter)):
                factor = 1.0
                if rescale == "step" and name in INVARIANT:
                    factor = length(parameter.data[channel]) ** 2 / norm_there(name, step, channel) ** 2
                parameter.data[channel] -= lr * factor * moving[name][channel]
        if rescale == "weights":
            brought_to(step + 1)
    return {name: p.detach().clone() for name, p in named.items()}


@pytest.mark.parametrize(("rescale", "momentum"), [("step", 0.9), ("weights", 0.5), ("step", 0.0)])
def test_it_is_the_loop_by_hand(rescale: str, momentum: float, tmp_path: Path) -> None:
    """Momentum is gathered of gradients, and what comes of it is rescaled; norms hold until the next are stored."""
    file = other_run(tmp_path, "optim.weight_decay=0.5")
    run = training(*MLP, *mimicry(file, f"optim.rescale={rescale}", f"optim.momentum={momentum}", "optim.lr=0.2"))
    expected = by_hand(file, training(*MLP), rescale, momentum, 0.2)
    for step in range(6):
        train_step(run, run.network, run.data.batch(step))
    plain = training(*MLP, f"optim.momentum={momentum}", "optim.lr=0.2")
    for step in range(6):
        train_step(plain, plain.network, plain.data.batch(step))
    for name, parameter in run.network.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name], rtol=2e-5, atol=1e-6)
        other = plain.network.get_parameter(name)
        if name in INVARIANT:
            assert (parameter - other).norm() > 1e-3 * other.norm()


def test_weights_twice_as_large_go_the_way_of_the_others(tmp_path: Path) -> None:
    """At the effective rates of a run of weights w, scale-invariant weights 2 w stay twice those at each step."""
    common = ["norm.eps=1e-12", "optim.lr=0.3"]
    file = other_run(tmp_path, *common, every=1)
    mine = training(*MLP, *common, *mimicry(file), "model.gains=[{match: 'fc*', gain: 2}]", "optim.lr=0.3")
    other, plain = (
        training(*MLP, *common),
        training(*MLP, *common, "model.gains=[{match: 'fc*', gain: 2}]"),
    )
    start = other.network.get_parameter(INVARIANT[0]).detach().clone()
    for step in range(6):
        for run in (mine, other, plain):
            train_step(run, run.network, run.data.batch(step))
    assert (other.network.get_parameter(INVARIANT[0]) - start).norm() > 0.05 * start.norm()
    for name, parameter in mine.network.named_parameters():
        expected = other.network.get_parameter(name) * (2 if name in INVARIANT else 1)
        torch.testing.assert_close(parameter, expected, rtol=1e-3, atol=1e-4)
    apart = plain.network.get_parameter(INVARIANT[0]) - 2 * other.network.get_parameter(INVARIANT[0])
    assert apart.norm() > 0.01 * start.norm()


def test_it_is_gradient_descent_where_the_norms_are_its_own(tmp_path: Path) -> None:
    file = other_run(tmp_path, every=1)
    mimic = checkpoint(experiments.run(small(tmp_path / "b", *mimicry(file))).path)["network"]
    plain = checkpoint(file.parent)["network"]
    for name in plain:
        torch.testing.assert_close(mimic[name], plain[name], rtol=1e-5, atol=1e-6)


def test_a_run_goes_by_what_is_in_the_file(tmp_path: Path) -> None:
    one, other = other_run(tmp_path / "a"), other_run(tmp_path / "b", "optim.weight_decay=0.5")
    place = tmp_path / "norms" / "arrays.npz"
    place.parent.mkdir()
    folders = []
    for file in (one, other, one):
        place.write_bytes(file.read_bytes())
        folders.append(experiments.run(small(tmp_path / "runs", *mimicry(place))).path)
    assert folders[0] == folders[2] != folders[1]
    described = json.loads((folders[0] / "config.json").read_text())["training"]["optim"]
    assert {key for key in described if "norms" in key} == {"norms_file_sha256"}
    moved = tmp_path / "elsewhere.npz"
    moved.write_bytes(one.read_bytes())
    assert experiments.run(small(tmp_path / "runs", *mimicry(moved))).path == folders[0]


def test_runs_of_several_seeds_are_one_arm(tmp_path: Path) -> None:
    """Though each has a file of its own; two of one seed are not taken for one."""
    mimic = Arm.of("corrected", {"optim": "norm_mimicry"})
    for seed in (0, 1):
        file = other_run(tmp_path / "runs", f"seed={seed}")
        experiments.run(small(tmp_path / "runs", *mimicry(file), f"seed={seed}"))
    (setting,) = settings(Runs.load(tmp_path / "runs"), [mimic, Arm.of("on", {"optim": "sgd"})])
    assert setting.counts == {"corrected": 2, "on": 2}
    measure = final("data_loss", "train")
    assert list(measure.by_seed(setting.own("corrected")).index) == [0, 1]
    file = other_run(tmp_path / "runs", "optim.weight_decay=0.5")
    experiments.run(small(tmp_path / "runs", *mimicry(file)))
    (setting, *_) = settings(Runs.load(tmp_path / "runs"), [mimic])
    with pytest.raises(Ambiguous, match="runs of seed 0 differ"):
        measure.by_seed(setting.own("corrected"))


def test_probes_change_no_bit_and_a_run_goes_on(tmp_path: Path) -> None:
    file = other_run(tmp_path / "on", *VGG, "optim.weight_decay=0.5", "optim.lr=0.02")
    assert_unnoticed_and_carried_on(tmp_path, *VGG, *mimicry(file), "optim.lr=0.02", "optim.momentum=0.9")


def edited(file: Path, target: Path, change: Any) -> Path:
    with np.load(file) as arrays:
        members = dict(arrays)
    np.savez(target, **change(members))
    return target


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return other_run(tmp_path_factory.mktemp("on"))


KEY = "dynamics/channel_norms.fc2.layer.weight"
CHANGED: dict[str, Any] = {
    "has no norms of fc2.layer.weight; it has those of fc1.layer.weight": lambda m: {
        k: v for k, v in m.items() if KEY not in k
    },
    "has no norms of channels; train that run with probes=dynamics probes.use.dynamics.channels=true": lambda m: {
        "landscape/x/steps": np.array([0]),
        "landscape/x/values": np.ones((1, 2)),
    },
    "fc2.layer.weight has 15 channels there, and 16 here": lambda m: {**m, f"{KEY}/values": m[f"{KEY}/values"][:, 1:]},
    "the norms of fc2.layer.weight begin at step 2": lambda m: {
        **m, f"{KEY}/values": m[f"{KEY}/values"][1:], f"{KEY}/steps": m[f"{KEY}/steps"][1:],
    },
    "the norms of fc2.layer.weight must all be finite and above 0": lambda m: {
        **m, f"{KEY}/values": 0 * m[f"{KEY}/values"]
    },
    "cannot be read (it is none, or damaged)": lambda m: {**m, f"{KEY}/steps": m[f"{KEY}/steps"][1:]},
}  # fmt: skip


@pytest.mark.parametrize("line", list(CHANGED))
def test_what_a_file_does_not_hold_is_one_line(
    line: str, stored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = edited(stored, tmp_path / "other.npz", CHANGED[line])
    said = refusal([*MLP, *mimicry(file)], tmp_path, monkeypatch, capsys)
    assert f"optim.norms_file={file}: " in said
    assert line in said


def test_a_file_of_a_shorter_run_is_refused_where_it_knows_nothing_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its norms are of steps 0, 3 and 6 of 7: of the file alone, the next look would have been at step 9."""
    file = other_run(tmp_path / "on", "steps=7", every=3)
    said = refusal([*MLP, *mimicry(file), "steps=8"], tmp_path, monkeypatch, capsys)
    assert "has norms up to step 6 only; train for at most 7 steps" in said
    assert experiments.run(small(tmp_path / "as_long", *mimicry(file), "steps=7")).state == "finished"
    capsys.readouterr()  # what that run has said

    def uneven(members: Any) -> Any:  # looked at at steps 0, 4 and 6
        return {k: np.array([0, 4, 6]) if k.endswith("/steps") else v for k, v in members.items()}

    with pytest.raises(WrongInput, match="train for at most 7 steps"):
        training(*MLP, *mimicry(file), "steps=8")
    again = plain_config(small(Path("nowhere"), *mimicry(file), "steps=8"))
    data = load_data(again["data"], 0, again["optim"]["batch_size"], torch.device("cpu"))
    assert build_training(again, data, torch.device("cpu"), ProbeRecorder(), probe_at=[0])  # it was trained once
    for place, (change, known) in enumerate([(lambda m: m, 9), (uneven, 10)]):
        alone = edited(file, tmp_path / f"norms{place}.npz", change)
        said = refusal([*MLP, *mimicry(alone), "steps=11"], tmp_path, monkeypatch, capsys)
        assert "steps=11: optim.norms_file=" in said
        assert f"has norms up to step 6 only; train for at most {known} steps, or mimic a longer run" in said
    assert experiments.run(small(tmp_path / "runs", *mimicry(alone), "steps=10")).state == "finished"


def test_other_wrong_input_is_one_line(
    stored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text, cut = tmp_path / "text.npz", tmp_path / "cut.npz"
    text.write_text("no arrays")
    cut.write_bytes(stored.read_bytes()[:-300])
    for chosen, line in {
        ("optim=norm_mimicry",): "optim: norms_file=null: must be given, the arrays.npz of a finished run",
        tuple(mimicry(tmp_path / "none.npz")): "none.npz: cannot be read (No such file or directory)",
        tuple(mimicry(stored.parent)): "cannot be read (Is a directory); must be the arrays.npz of a finished run",
        tuple(mimicry(text)): "text.npz: cannot be read (it is none, or damaged)",
        tuple(mimicry(cut)): "cut.npz: cannot be read (it is none, or damaged)",
        tuple(mimicry(stored, "norm=none")): "optim.match=scale_invariant: there is none",
        tuple(mimicry(stored, "optim.match=fc9*")): "optim.match=fc9*: matches no parameter",
        tuple(mimicry(stored, "optim.match=gamma")): "has no norms of fc1.norm.weight, fc2.norm.weight; it has those",
        tuple(mimicry(stored, "optim.rescale=both")): "optim.rescale=both: allowed: step, weights",
        tuple(mimicry(stored, "optim.nesterov=true")): "optim: nesterov=true needs momentum above 0",
        tuple(
            mimicry(stored, "optim.groups=[{match: scale_invariant, train: false}]")
        ): "optim.match=scale_invariant: chooses only what is not trained",
    }.items():
        assert line in refusal([*MLP, *chosen], tmp_path, monkeypatch, capsys)
