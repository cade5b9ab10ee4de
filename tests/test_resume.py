"""A run killed at random moments and taken up again ends bit-identical to one never stopped, records included."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import experiments
from experiments.errors import RunFailure, WrongInput
from tests.conftest import partly, sample
from tests.runs import DEEP_LINEAR, MLP, VGG, checkpoint, differences, small

BLOCKS = ["model=residual_mlp", "model.width=16", "model.blocks=3", *MLP[2:]]
NETS = {"deep_linear": DEEP_LINEAR, "vgg": VGG, "mlp": MLP}
NORMS = [
    "none",
    "batch",
    "noisy_batch",
    "noise",
    "l1",
    "linf",
    "weight",
    "batch_renorm",
    "layer",
    "whitening",
    "cosine",
    "dyt",
]
NORMS += [
    "noise norm.correlation_time=5",
    "noisy_batch norm.noise_per=sample",
    "batch norm.per=ghost norm.ghost_size=4",
]
NORMS += ["batch_renorm norm.ghost_size=4", "batch norm.frozen_after=3"]
NORMS += ["batch norm.statistics=running", "batch norm.statistics=population"]
OPTIMISERS = {
    "sgd": [],
    "momentum": ["optim.momentum=0.9", "optim.schedule=cosine", "optim.weight_decay=1e-3"],
    "adam": ["optim=adam"],
    "adamw": ["optim=adamw", "optim.schedule=step", "optim.milestones=[20,40]"],
}
MATRIX = [
    (list(NETS)[(i + j) % len(NETS)], norm, optimiser)
    for (i, norm), (j, optimiser) in itertools.product(enumerate(NORMS), enumerate(OPTIMISERS))
]
"""Every two of a network, a normalisation and an optimiser meet."""
OPTIMISERS |= {
    "few": ["optim.momentum=0.9", "optim.groups=[{match: weights, except: 'head*', random_per_channel: 2}]"],
    "invariant": ["optim.momentum=0.9", "optim.groups=[{match: '*', except: scale_invariant, train: false}]"],
    "sam": ["optim=sam", "optim.momentum=0.9", "optim.perturb=[gamma,beta]", "optim.rho=0.5"],
    "sphere": ["optim=sphere", "optim.norm=null"],
}
OPTIMISERS["towards"] = ["optim.groups=[{match: gamma, decay: 0.5, decay_towards: 1}]"]
NETS |= {
    "skipinit": [*BLOCKS, "model.branch=skipinit"],
    "undone": [*BLOCKS, "model.branch=undone"],
    "whitened": [*MLP, "data.standardise=whitened", "data.label_noise=0.2"],
}
CASES = [
    ("skipinit", "none", "momentum"),
    ("undone", "batch", "momentum"),
    ("whitened", "batch", "towards"),
    ("mlp", "batch", "few"),
    ("vgg", "batch", "few"),
    ("vgg", "noisy_batch", "invariant"),
    ("vgg", "noisy_batch", "sam"),
    ("mlp", "batch", "sphere"),
]
"""Of what not every network and normalisation has, or would tell no more with."""
STEPS = 60
PROBES = [
    "probes=[landscape,activations,dynamics]",
    "probes.use.dynamics.units=true",
    "probes.spacing=progress",
    "probes.every=10",
    "probes.fixed_batch=16",
]


def overrides(net: str, norm: str, optimiser: str) -> list[str]:
    name, *options = norm.split()
    chosen = [*NETS[net], f"norm={name}", *options, f"steps={STEPS}", "evaluation.every=7", "checkpoint.seconds=0.01"]
    if net == "vgg":
        whole = "norm.statistics=population" in options  # which has no augmented images
        chosen += ["model.dropout=0.2", *([] if whole else ["data.augment=true"])]
    if optimiser != "sgd":
        rate = "optim.lr=1e-6" if net == "deep_linear" else "optim.lr=1e-2"
        chosen = [o for o in chosen if not o.startswith(("optim=", "optim.lr"))] + [rate]
    return chosen + OPTIMISERS[optimiser]


def run_in_child(config: dict[str, Any]) -> None:
    experiments.run(OmegaConf.create(config))


@pytest.fixture(scope="module")
def processes() -> Any:
    """Fresh processes that have imported everything already, so that most kills hit training and not an import."""
    context = multiprocessing.get_context("forkserver")
    # what the digits and the first optimiser import only when needed, too
    context.set_forkserver_preload(["experiments.runs.run", "sklearn.datasets", "torch._dynamo"])
    first = context.Process(target=int)
    first.start()
    first.join()  # the imports are done, and no run's duration includes them
    return context


def kill_until_finished(processes: Any, config: dict[str, Any], moments: random.Random, unbroken_seconds: float) -> int:
    """Starts the run again and again, kills each start at a random moment, until one gets through; counts the kills."""
    kills = 0
    while True:
        process = processes.Process(target=run_in_child, args=(config,))
        process.start()
        process.join(moments.uniform(0.05, 0.8 * unbroken_seconds) if kills < 12 else None)
        if process.exitcode is None:
            process.kill()  # which may have ended by itself meanwhile
            process.join()
            kills += 1
        elif process.exitcode == 0:
            return kills
        else:
            raise AssertionError(f"the run itself failed with exit code {process.exitcode}")


def assert_resumes(
    processes: Any, tmp_path: Path, net: str, norm: str, optimiser: str, *, probed: bool
) -> tuple[int, int]:
    """Compares an unbroken with a killed run; counts the kills, and the starts that went on from a checkpoint."""
    chosen = [*overrides(net, norm, optimiser), *(PROBES if probed else [])]
    whole = small(tmp_path / "whole", *chosen)
    begun = time.monotonic()
    process = processes.Process(target=run_in_child, args=(OmegaConf.to_container(whole),))
    process.start()
    process.join()
    assert process.exitcode == 0
    seconds = time.monotonic() - begun
    (unbroken,) = (tmp_path / "whole").iterdir()
    broken_config: Any = OmegaConf.to_container(small(tmp_path / "broken", *chosen))
    kills = kill_until_finished(processes, broken_config, random.Random(f"{net}{norm}{optimiser}"), seconds)
    (broken,) = (tmp_path / "broken").iterdir()
    one, other = checkpoint(unbroken), checkpoint(broken)
    for part in ("step", "network", "optimiser", "generators", "probes", "log_bytes"):
        assert differences(one[part], other[part], part) == []
    arrays = ["arrays.npz"] if probed else []
    for file in ("records.jsonl", "records.parquet", "fields.json", *arrays):
        assert (unbroken / file).read_bytes() == (broken / file).read_bytes(), file
    final = [json.loads((folder / "status.json").read_text())["final"] for folder in (unbroken, broken)]
    assert final[0] == final[1]
    starts = json.loads((broken / "provenance.json").read_text())["starts"]
    return kills, sum(start["from_step"] > 0 for start in starts)


def test_killed_at_random_moments_and_resumed_is_bit_identical(processes: Any, tmp_path: Path) -> None:
    kills = resumed = 0
    for number, case in enumerate(sample(MATRIX, 2)):
        counts = assert_resumes(processes, tmp_path / str(number), *case, probed=number == 0)
        kills, resumed = kills + counts[0], resumed + counts[1]
    assert kills > 0
    assert resumed > 0


@pytest.mark.parametrize(("net", "norm", "optimiser"), partly(CASES, 0))
def test_other_cases_killed_and_resumed(processes: Any, tmp_path: Path, net: str, norm: str, optimiser: str) -> None:
    assert_resumes(processes, tmp_path, net, norm, optimiser, probed=True)


@pytest.mark.long
@pytest.mark.parametrize(("net", "norm", "optimiser"), MATRIX)
def test_killed_at_random_moments_in_full(processes: Any, tmp_path: Path, net: str, norm: str, optimiser: str) -> None:
    assert_resumes(processes, tmp_path, net, norm, optimiser, probed=optimiser == "momentum")


def test_more_steps_go_on_from_the_end_as_if_asked_at_once(tmp_path: Path) -> None:
    short = experiments.run(small(tmp_path / "grown", "steps=5"))
    grown = experiments.run(small(tmp_path / "grown", "steps=9"))
    whole = experiments.run(small(tmp_path / "whole", "steps=9"))
    assert short.path == grown.path
    assert grown.trained
    assert (grown.path / "records.jsonl").read_bytes() == (whole.path / "records.jsonl").read_bytes()
    assert differences(checkpoint(grown.path)["network"], checkpoint(whole.path)["network"]) == []


def test_a_schedule_that_depends_on_the_length_makes_another_run(tmp_path: Path) -> None:
    one = experiments.run(small(tmp_path, "steps=5", "optim.schedule=cosine"))
    other = experiments.run(small(tmp_path, "steps=6", "optim.schedule=cosine"))
    assert one.path != other.path


def test_finished_runs_are_left_alone_on_any_device_and_thread_count(tmp_path: Path) -> None:
    first = experiments.run(small(tmp_path))
    before = {file: file.stat().st_mtime_ns for file in first.path.rglob("*") if file.name != "lock"}
    again = experiments.run(small(tmp_path, "threads=2", "label=another", "evaluation.every=2"))
    fewer = experiments.run(small(tmp_path, "steps=3"))
    assert (again.path, again.trained, fewer.trained) == (first.path, False, False)
    assert {file: file.stat().st_mtime_ns for file in first.path.rglob("*") if file.name != "lock"} == before


class StopsItself:
    """A data set's batch that raises SIGTERM in the middle of the run."""

    def __init__(self, data: Any, at: int) -> None:
        self.data, self.at = data, at

    def __getattr__(self, name: str) -> Any:
        return getattr(self.data, name)

    def batch(self, step: int) -> Any:
        if step == self.at:
            os.kill(os.getpid(), signal.SIGTERM)
        return self.data.batch(step)


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    from experiments.runs import run as running

    load = running.load_data
    monkeypatch.setattr(running, "load_data", lambda *a, **k: StopsItself(load(*a, **k), step))


def test_a_signal_stops_after_the_step_and_the_same_call_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from experiments.errors import Interrupted

    config = small(tmp_path)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3)
        with pytest.raises(Interrupted):
            experiments.run(config)
    (folder,) = tmp_path.iterdir()
    assert json.loads((folder / "status.json").read_text())["state"] == "interrupted"
    assert checkpoint(folder)["step"] == 4
    outcome = experiments.run(config)
    assert (outcome.state, outcome.step) == ("finished", 6)
    starts = json.loads((folder / "provenance.json").read_text())["starts"]
    assert [start["from_step"] for start in starts] == [0, 4]
    assert all(start["ended"] for start in starts)


def test_a_run_that_ends_earlier_than_it_was_begun_for_is_one_of_that_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from experiments.errors import Interrupted

    with monkeypatch.context() as patch:
        interrupt_at(patch, 3)
        with pytest.raises(Interrupted):
            experiments.run(small(tmp_path, "steps=6"))
    path = experiments.run(small(tmp_path, "steps=5")).path
    assert json.loads((path / "status.json").read_text())["state"] == "finished"
    assert json.loads((path / "config.json").read_text())["config"]["steps"] == 5


def test_going_on_under_other_conditions_is_refused_with_the_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from experiments.errors import Interrupted

    with monkeypatch.context() as patch:
        interrupt_at(patch, 3)
        with pytest.raises(Interrupted):
            experiments.run(small(tmp_path))
    with pytest.raises(WrongInput, match=r"threads \(1 there, 2 here\).*resume=anyway.*run_name"):
        experiments.run(small(tmp_path, "threads=2"))
    with pytest.raises(WrongInput, match="has done 4 steps already"):
        experiments.run(small(tmp_path, "steps=3"))
    assert experiments.run(small(tmp_path, "threads=2", "resume=anyway")).state == "finished"


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_serves(tmp_path: Path) -> None:
    config = small(tmp_path, "checkpoint.seconds=0")
    path = experiments.run(config).path
    status = json.loads((path / "status.json").read_text())
    (path / "status.json").write_text(json.dumps({**status, "state": "running"}))
    content = bytearray((path / "checkpoint.pt").read_bytes())
    weight = checkpoint(path)["network"]["fc1.layer.weight"]
    content[content.index(weight.numpy().tobytes()) + 100] ^= 1  # one bit of one weight
    (path / "checkpoint.pt").write_bytes(bytes(content))
    with pytest.raises(RunFailure, match=r"checkpoint\.pt: the checkpoint is damaged.*checkpoint\.previous\.pt"):
        experiments.run(config)
    (path / "checkpoint.pt").unlink()
    assert experiments.run(config).state == "finished"
    whole = experiments.run(small(tmp_path / "whole", "checkpoint.seconds=0"))
    assert (path / "records.jsonl").read_bytes() == (whole.path / "records.jsonl").read_bytes()


@pytest.mark.parametrize("damage", ["truncate", "garbage"])
def test_a_damaged_log_is_named_with_its_line(tmp_path: Path, damage: str) -> None:
    path = experiments.run(small(tmp_path)).path
    log = (path / "records.jsonl").read_bytes()
    if damage == "truncate":
        (path / "records.jsonl").write_bytes(log[:40])
        expected = "records.jsonl: damaged: the checkpoint expects"
    else:
        (path / "records.jsonl").write_bytes(b"#" + log[1:])
        expected = "records.jsonl: line 1 is damaged"
    with pytest.raises(RunFailure, match=expected):
        experiments.run(small(tmp_path, "steps=8"))


def test_every_checkpoint_asked_for_is_kept(tmp_path: Path) -> None:
    path = experiments.run(small(tmp_path, "checkpoint.keep=[2,5]")).path
    assert sorted(file.name for file in (path / "kept").iterdir()) == ["step-00000002.pt", "step-00000005.pt"]
    early = experiments.run(small(tmp_path / "early", "steps=2"))
    kept = experiments.load_network(path, step=2).state_dict()
    assert differences(dict(kept), dict(experiments.load_network(early.path).state_dict())) == []
    with pytest.raises(WrongInput, match=r"no checkpoint of step 3; kept steps: \[2, 5\]"):
        experiments.load_network(path, step=3)
