"""What the suite promises in passing and nothing else would notice if it broke."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import experiments
from experiments.cli import main
from experiments.configuration import plain_config
from experiments.data import load_data
from experiments.errors import Interrupted, WrongInput
from experiments.models import build_model
from experiments.runs import folder as run_folder
from experiments.runs import run as running
from experiments.runs.identity import RESULTS_VERSION
from experiments.runtime import COMPILER, runtime
from tests.runs import MLP, checkpoint, differences, small
from tests.test_resume import interrupt_at

ROOT = Path(__file__).parent.parent
CPU = torch.device("cpu")


def own_norm(folder: Path, body: str) -> list[str]:
    """Overrides that put a user's module ``Own`` with this ``forward`` behind every layer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "own.py").write_text(
        "import json, random, time\nfrom pathlib import Path\nimport numpy as np\nimport torch\nfrom torch import nn\n"
        f"HERE = Path({str(folder)!r})\nclass Own(nn.Module):\n    def __init__(self, layer):\n"
        "        super().__init__()\n    def forward(self, y):\n" + "".join(f"        {x}\n" for x in body.splitlines())
    )
    return ["norm=none", "norm.name=Own", f"norm.file={folder}/own.py"]


def records(path: Path) -> dict[int, dict[str, float]]:
    """What the built-in evaluation recorded, by step, in the order of the log."""
    lines = [json.loads(line) for line in (path / "records.jsonl").read_text().splitlines()]
    assert len({line["step"] for line in lines}) == len(lines)
    return {line["step"]: line["values"] for line in lines}


def start(config: Any) -> tuple[dict[str, Any], Any, nn.Module]:
    """The plain configuration, the data and the initial network of a run."""
    plain = plain_config(config)
    data = load_data(plain["data"], plain["seed"], plain["optim"]["batch_size"], CPU)
    return plain, data, build_model(plain["model"], plain["norm"], data.spec, plain["seed"])


# What the configuration says reaches the arithmetic

Rule = Callable[[int, str, Tensor, Tensor], Tensor]
"""Step, name, parameter and gradient, both float64, to the change of the parameter."""


def trained_by_hand(config: Any, rule: Rule) -> dict[str, Tensor]:
    plain, data, network = start(config)
    for step in range(plain["steps"]):
        batch = data.batch(step)
        network.zero_grad()
        nn.functional.cross_entropy(network(batch.inputs), batch.targets).backward()
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                assert parameter.grad is not None
                parameter.copy_(parameter.double() + rule(step, name, parameter.double(), parameter.grad.double()))
    return {name: parameter.detach() for name, parameter in network.named_parameters()}


def largest_difference(path: Path, expected: dict[str, Tensor]) -> float:
    """Between the parameters of a stored run and the expected ones."""
    trained = checkpoint(path)["network"]
    assert list(trained) == list(expected)
    return max((trained[name] - value).abs().max().item() for name, value in expected.items())


@pytest.mark.parametrize(
    ("overrides", "rates"),
    [
        (["optim.schedule=step", "optim.milestones=[1]", "optim.factor=0.5"], [0.1, 0.05]),
        (["optim.schedule=cosine"], [0.1, 0.05]),
        (["optim.schedule=constant"], [0.1, 0.1]),
    ],
)
def test_the_schedules_rate_is_the_one_that_trains(tmp_path: Path, overrides: list[str], rates: list[float]) -> None:
    config = small(tmp_path, "norm=none", "steps=2", "evaluation.every=1", *overrides)
    path = experiments.run(config).path
    assert largest_difference(path, trained_by_hand(config, lambda t, _, w, g: -rates[t] * g)) < 1e-6
    assert [records(path)[t]["learning_rate"] for t in (0, 1)] == pytest.approx(rates)


def adam(beta_1: float, beta_2: float, eps: float, decay: float) -> Rule:
    """Kingma & Ba 2015, algorithm 1, with the decoupled decay of weights of Loshchilov & Hutter 2019; rate 0.01."""
    moments: dict[str, tuple[Tensor, Tensor]] = {}

    def rule(step: int, name: str, w: Tensor, g: Tensor) -> Tensor:
        m, v = moments.get(name, (torch.zeros_like(g), torch.zeros_like(g)))
        m, v = moments[name] = beta_1 * m + (1 - beta_1) * g, beta_2 * v + (1 - beta_2) * g**2
        corrected = m / (1 - beta_1 ** (step + 1)), v / (1 - beta_2 ** (step + 1))
        return -0.01 * (corrected[0] / (corrected[1].sqrt() + eps) + (decay * w if w.ndim >= 2 else 0.0))

    return rule


@pytest.mark.parametrize(("name", "decay"), [("adam", 0.0), ("adamw", 0.3)])
def test_betas_and_eps_reach_adam_and_adamw(tmp_path: Path, name: str, decay: float) -> None:
    chosen = [f"optim={name}", "optim.lr=0.01", "norm=none", "steps=3", "optim.betas=[0.5,0.7]", "optim.eps=0.02"]
    config = small(tmp_path, *chosen, *(["optim.decoupled_weight_decay=0.3"] if decay else []))
    path = experiments.run(config).path
    assert largest_difference(path, trained_by_hand(config, adam(0.5, 0.7, 0.02, decay))) < 2e-6
    for other in ((0.9, 0.7, 0.02), (0.5, 0.999, 0.02), (0.5, 0.7, 1e-8)):
        assert largest_difference(path, trained_by_hand(config, adam(*other, decay))) > 1e-4, other


def test_equal_seeds_start_all_norms_from_the_same_weights(tmp_path: Path) -> None:
    def layers(norm: str, seed: int = 0) -> list[nn.Linear]:
        network = start(small(tmp_path, "model.widths=[16,16,16]", f"norm={norm}", f"seed={seed}"))[2]
        return [module for module in network.modules() if isinstance(module, nn.Linear)]

    reference = layers("none")
    assert len(reference) == 4
    assert not torch.equal(reference[1].weight, reference[2].weight)  # equal shapes, different places
    assert not any(torch.equal(a.weight, b.weight) for a, b in zip(reference, layers("none", 1), strict=True))
    for norm in ("batch", "l1", "weight"):
        # weight normalisation's effective weight g V / ||V|| is rounded anew
        tolerance = {"rtol": 1e-6, "atol": 1e-8} if norm == "weight" else {"rtol": 0, "atol": 0}
        for one, other in zip(reference, layers(norm), strict=True):
            torch.testing.assert_close(other.weight, one.weight, **tolerance)
            torch.testing.assert_close(other.bias, one.bias, rtol=0, atol=0)


# Global state

NOTES = """if self.training:
    note = {
        "flags": [torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark,
                  torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32],
        "draws": [random.random(), float(np.random.rand()), torch.rand(()).item()],
    }
    with open(HERE / "notes.jsonl", "a") as notes:
        notes.write(json.dumps(note) + "\\n")
return y"""


def notes(tmp_path: Path, *overrides: str) -> list[dict[str, list[Any]]]:
    """What a user's module sees of the process's global state in every training pass of a run."""
    experiments.run(small(tmp_path / "runs", *own_norm(tmp_path, NOTES), *overrides))
    return [json.loads(line) for line in (tmp_path / "notes.jsonl").read_text().splitlines()]


def flags() -> list[bool]:
    backends = torch.backends
    deterministic = torch.are_deterministic_algorithms_enabled()
    return [deterministic, backends.cudnn.benchmark, backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32]


@pytest.mark.parametrize("before", [None, "0"])
def test_a_compiler_that_is_imported_within_a_run_is_deterministic_too(
    before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads a variable, which is as the user left it afterwards; torch's own switch would import it at once."""
    monkeypatch.delenv(COMPILER, raising=False)
    if before is not None:
        monkeypatch.setenv(COMPILER, before)
    for deterministic in (True, False):
        numerics = {"deterministic": deterministic, "tf32": False}
        with runtime(torch.device("cpu"), 1, numerics, 0):
            assert os.environ[COMPILER] == str(int(deterministic))
            assert torch.are_deterministic_algorithms_enabled() == deterministic
        assert os.environ.get(COMPILER) == before


@pytest.mark.parametrize(
    ("numerics", "expected"), [("exact", [True, False, False, False]), ("fast", [False, True, True, True])]
)
def test_numerics_hold_during_the_run_and_no_longer(tmp_path: Path, numerics: str, expected: list[bool]) -> None:
    before = flags()
    seen = notes(tmp_path, f"numerics={numerics}")
    assert len(seen) >= 12  # two layers, six steps
    assert all(note["flags"] == expected for note in seen)
    assert flags() == before


def test_the_runs_seed_seeds_all_global_generators(tmp_path: Path) -> None:
    def draws(place: str, disturbance: int, seed: int) -> list[list[float]]:
        torch.manual_seed(disturbance)
        random.seed(disturbance)
        np.random.seed(disturbance)  # noqa: NPY002 - the very generator that the run must not depend on
        return [note["draws"] for note in notes(tmp_path / place, f"seed={seed}")]

    first = draws("a", 11, 5)
    assert draws("b", 12, 5) == first
    assert all(one != other for one, other in zip(draws("c", 11, 6)[0], first[0], strict=True))


def test_what_a_users_module_draws_from_global_generators_survives_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "return y * (1 + 0.1 * (torch.rand(()) + random.random() + np.random.randn())) if self.training else y"
    chosen = own_norm(tmp_path, body)
    whole = experiments.run(small(tmp_path / "whole", *chosen)).path
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        with pytest.raises(Interrupted):
            experiments.run(small(tmp_path / "broken", *chosen))
    resumed = experiments.run(small(tmp_path / "broken", *chosen)).path
    starts = json.loads((resumed / "provenance.json").read_text())["starts"]
    assert [begun["from_step"] for begun in starts] == [0, 3]
    for part in ("network", "generators"):
        assert differences(checkpoint(whole)[part], checkpoint(resumed)[part], part) == []
    assert (whole / "records.jsonl").read_bytes() == (resumed / "records.jsonl").read_bytes()


# Which run it is, and whether it may go on


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [("device", "cuda", r"device \(cuda there, cpu here\)"), ("torch", "1.0", r"versions\.torch \(1\.0 there, ")],
)
def test_going_on_on_another_device_or_version_is_refused(tmp_path: Path, key: str, value: str, named: str) -> None:
    path = experiments.run(small(tmp_path, "steps=4")).path
    state = checkpoint(path)
    conditions = state["conditions"] if key == "device" else state["conditions"]["versions"]
    assert key in conditions
    conditions[key] = value
    torch.save(state, path / "checkpoint.pt")
    with pytest.raises(WrongInput, match=f"{named}.*resume=anyway"):
        experiments.run(small(tmp_path))
    assert experiments.run(small(tmp_path, "resume=anyway")).step == 6


def images(root: Path, seed: int) -> Path:
    values = np.random.default_rng(seed)
    for part, count in (("train", 8), ("test", 3)):
        for name in ("cat", "dog"):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = values.integers(0, 256, (4, 4, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{number}.png")
    return root


def test_the_contents_of_the_data_are_part_of_the_identity_and_their_place_is_not(tmp_path: Path) -> None:
    one, other = images(tmp_path / "one" / "pets", 1), images(tmp_path / "other" / "pets", 2)
    packed = shutil.make_archive(str(tmp_path / "packed" / "pets"), "zip", one)
    network = ["model=mlp", "model.widths=[4]", "optim.batch_size=4"]

    def outcome(root: Path | str) -> Any:
        return experiments.run(
            small(tmp_path / "runs", "data=image_folder", *network, f"data.root={root}", f"data.cache={tmp_path}/cache")
        )

    first, second, third = outcome(one), outcome(other), outcome(packed)
    assert first.trained
    assert second.trained
    assert first.path != second.path
    assert records(first.path) != records(second.path)
    assert (third.path, third.trained) == (first.path, False)


def test_a_run_of_another_results_version_is_refused_by_name(tmp_path: Path) -> None:
    path = experiments.run(small(tmp_path)).path
    described = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**described, "results_version": 0}))
    before = {file: file.read_bytes() for file in path.iterdir() if file.is_file()}
    for overrides in ([], ["steps=8"]):
        with pytest.raises(WrongInput, match=rf"{path.name}: made by results version 0 .*{RESULTS_VERSION}"):
            experiments.run(small(tmp_path, *overrides))
    assert {file: file.read_bytes() for file in path.iterdir() if file.is_file()} == before


# What is told, and when


class Watched:
    """A data set that calls ``look`` whenever a training batch is asked for."""

    def __init__(self, data: Any, look: Callable[[int], None]) -> None:
        self.data, self.look = data, look

    def __getattr__(self, name: str) -> Any:
        return getattr(self.data, name)

    def batch(self, step: int) -> Any:
        self.look(step)
        return self.data.batch(step)


def test_the_heartbeat_is_renewed_while_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[float] = []

    def look(step: int) -> None:
        status = [json.loads(file.read_text()) for file in tmp_path.glob("*/status.json")]
        if 0 < step < 6:
            (told,) = status
            assert (told["state"], told["step"], told["steps"]) == ("running", step, 6)
            assert abs(time.time() - told["heartbeat"]) < 30
            beats.append(told["heartbeat"])

    load = running.load_data
    monkeypatch.setattr(running, "load_data", lambda *a, **k: Watched(load(*a, **k), look))
    monkeypatch.setattr(run_folder, "HEARTBEAT_SECONDS", 0.0)
    experiments.run(small(tmp_path))
    assert len(beats) == len(set(beats)) == 5
    assert beats == sorted(beats)


def test_the_test_set_is_seen_at_every_so_manieth_evaluation_and_at_the_end(tmp_path: Path) -> None:
    path = experiments.run(small(tmp_path, "steps=9", "evaluation.every=2", "evaluation.test_every=2")).path
    told = records(path)
    assert list(told) == [0, 2, 4, 6, 8, 9]
    assert all("loss" in values for values in told.values())
    for metric in ("test_data_loss", "test_accuracy"):
        assert [step for step, values in told.items() if metric in values] == [0, 4, 8, 9]


@pytest.mark.parametrize("size", [7, 40, 1000])
def test_the_test_loss_is_per_sample_also_where_training_sums(tmp_path: Path, size: int) -> None:
    config = small(tmp_path, "norm=batch", "optim.loss=sum", "optim.lr=1e-3", f"evaluation.batch_size={size}")
    path = experiments.run(config).path
    (batch,) = start(config)[1].test_batches(10**6)
    with torch.no_grad():
        chosen = experiments.load_network(path).eval()(batch.inputs).log_softmax(1)[range(40), batch.targets]
    assert records(path)[6]["test_data_loss"] == pytest.approx(-chosen.mean().item(), rel=1e-5)


def test_the_last_record_is_of_the_batch_that_would_come_next(tmp_path: Path) -> None:
    config = small(tmp_path, "norm=batch", "optim.weight_decay=0.1", "optim.schedule=step", "optim.milestones=[6]")
    path = experiments.run(config).path
    batch = start(config)[1].batch(6)
    network = experiments.load_network(path).train()
    with torch.no_grad():
        output = network(batch.inputs)
    loss = nn.functional.cross_entropy(output, batch.targets).item()
    penalty = 0.05 * sum(p.square().sum().item() for p in network.parameters() if p.ndim >= 2)
    last = records(path)[6]
    told = {key: last[key] for key in ("data_loss", "penalty", "loss", "accuracy", "learning_rate")}
    accuracy = (output.argmax(1) == batch.targets).float().mean().item()
    assert list(told.values()) == pytest.approx([loss, penalty, loss + penalty, accuracy, 0.01], rel=1e-5)
    assert json.loads((path / "status.json").read_text())["final"] == last


# Real processes

GATE = """import os
mine = any(json.loads(status.read_text())["pid"] == os.getpid() for status in HERE.glob("runs/*/status.json"))
if self.training and mine:  # not before the run has its folder
    (HERE / "waiting").touch()
    while not (HERE / "go").exists():
        time.sleep(0.01)
return y"""


Begin = Callable[[], "subprocess.Popen[str]"]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """A run that waits within its first step until there is a file ``go``."""
    return [*MLP, *own_norm(tmp_path, GATE), "steps=6", "evaluation.every=2", f"runs_dir={tmp_path}/runs"]


@pytest.fixture
def begin(tmp_path: Path, command: list[str]) -> Iterator[Begin]:
    """Starts it in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    full, pipe = [sys.executable, "-m", "experiments", *command], subprocess.PIPE
    with ExitStack() as stack:

        def start_one() -> subprocess.Popen[str]:
            process = stack.enter_context(subprocess.Popen(full, env=environment, stdout=pipe, stderr=pipe, text=True))
            stack.callback(process.kill)
            return process

        yield start_one


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.long
def test_of_two_processes_with_the_same_run_one_trains_and_one_is_told_where(tmp_path: Path, begin: Begin) -> None:
    both = [begin(), begin()]
    wait_until(lambda: any(process.poll() is not None for process in both))
    refused, trains = sorted(both, key=lambda process: process.poll() is None)
    assert trains.poll() is None
    (tmp_path / "go").touch()
    errors = refused.communicate(timeout=60)[1], trains.communicate(timeout=60)[1]
    assert (refused.returncode, trains.returncode) == (1, 0), errors
    (folder,) = (tmp_path / "runs").iterdir()
    (line,) = errors[0].strip().splitlines()
    assert line.startswith(f"error: {folder}: ")
    assert "is writing to this run folder" in line
    assert list(records(folder)) == [0, 2, 4, 6]
    assert len(json.loads((folder / "provenance.json").read_text())["starts"]) == 1


@pytest.mark.long
def test_ctrl_c_exits_with_130_and_the_same_command_finishes(
    tmp_path: Path, command: list[str], begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = begin()
    wait_until(lambda: (tmp_path / "waiting").exists())
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    (tmp_path / "go").touch()
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 130, error
    assert "Traceback" not in error
    assert "the same command goes on" in error.strip().splitlines()[-1]
    (folder,) = (tmp_path / "runs").iterdir()
    assert checkpoint(folder)["step"] == 1
    assert json.loads((folder / "status.json").read_text())["state"] == "interrupted"
    monkeypatch.setattr(sys, "argv", ["experiments", *command])
    assert main() == 0
    assert list(records(folder)) == [0, 2, 4, 6]
    starts = json.loads((folder / "provenance.json").read_text())["starts"]
    assert [begun["from_step"] for begun in starts] == [0, 1]


# The installed package


@pytest.mark.long
def test_the_wheel_holds_everything_and_its_commands_run_elsewhere(tmp_path: Path) -> None:
    def call(*arguments: str | Path, **environment: str) -> str:
        options: Any = {"cwd": tmp_path, "env": os.environ | environment, "capture_output": True, "text": True}
        done = subprocess.run(arguments, timeout=300, **options)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    # The build writes beside its sources, hence a copy of them.
    parts = ("experiments", "probes", "analysis", "conf", "hydra_plugins")
    for part in parts:
        shutil.copytree(ROOT / part, tmp_path / "source" / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / "source")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    installed = [d.version for d in metadata.distributions() if d.name == "setuptools"]
    recent = bool(installed) and int(installed[0].split(".")[0]) >= 77  # what pyproject.toml asks for
    isolation = ("--no-build-isolation",) if recent else ()
    call(*pip, "wheel", "--no-deps", *isolation, "-w", "wheel", "./source")  # without ./ it would be a name to download
    (wheel,) = (tmp_path / "wheel").iterdir()
    patterns = ("**/*.py", "**/*.yaml", "*.mplstyle", "studies/*/*.json", "templates/*")
    files = {file.relative_to(ROOT) for part in parts for pattern in patterns for file in (ROOT / part).glob(pattern)}
    needed = {f"experiments/{file}" if file.parts[0] == "conf" else str(file) for file in files}
    assert len(needed) > 100
    assert needed - set(zipfile.ZipFile(wheel).namelist()) == set()

    call(*pip, "install", "--no-deps", "--target", "installed", wheel)
    scripts, place = tmp_path / "installed" / "bin", str(tmp_path / "installed")
    options = ("norm=l1", "data.subset=64", "optim.batch_size=16", "model=mlp", "steps=2")
    folder = Path(call(scripts / "batchnorm-experiments", *options, PYTHONPATH=place).strip())
    assert folder.parent == tmp_path / "runs"
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"
    assert "usage" in call(scripts / "batchnorm-analysis", "--help", PYTHONPATH=place).lower()
