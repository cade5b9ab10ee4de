"""Evaluations of the test set in real runs: what is recorded, what stays as it is, and what is refused."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import experiments
from analysis.measures import final
from analysis.runs import Runs
from analysis.select import Ambiguous
from experiments import cli
from experiments.building import build_training
from experiments.configuration import plain_config
from experiments.data import load_data
from experiments.errors import WrongInput
from experiments.runs.identity import identity_of, run_name
from experiments.runs.records import ProbeRecorder
from experiments.train import Training
from tests.runs import checkpoint, differences, small

EVERY = [
    "+evaluation.kinds.attacked={statistics: population, inputs: {name: pgd, steps: 2}}",
    "+evaluation.kinds.noisy={statistics: batch, inputs: noise}",
    "+evaluation.kinds.folded={statistics: folded}",
    "+evaluation.kinds.again={statistics: redrawn, data: {name: training, samples: 20}}",
    "evaluation.kinds_every=1",
]
LABELS = ("attacked", "noisy", "folded", "again", "population")


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "records.jsonl").read_text().splitlines()]


def last(path: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((path / "status.json").read_text())["final"]
    return found


def built(config: Any) -> Training:
    plain = plain_config(config)
    data = load_data(plain["data"], plain["seed"], plain["optim"]["batch_size"], torch.device("cpu"))
    return build_training(plain, data, torch.device("cpu"), ProbeRecorder())


class TestNothingMoves:
    def test_the_network_the_generators_and_the_modes_are_as_before(self, tmp_path: Path) -> None:
        training = built(small(tmp_path, "norm=noisy_batch", *EVERY))
        network = training.network
        network(training.data.batch(0).inputs)
        network.fc1.eval()
        state, modes = copy.deepcopy(network.state_dict()), [m.training for m in network.modules()]
        random = torch.get_rng_state()
        found = training.evaluations.all_values(network, 3)
        assert {key.rpartition("_")[2] for key in found} == set(LABELS)
        assert found == training.evaluations.all_values(network, 3)
        assert modes == [m.training for m in network.modules()]
        assert torch.equal(random, torch.get_rng_state())
        assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
        assert not any(m._forward_pre_hooks for m in network.modules())
        assert all(parameter.grad is None for parameter in network.parameters())

    @pytest.mark.parametrize("norm", ["noisy_batch", "batch_renorm"])
    def test_training_does_not_notice(self, tmp_path: Path, norm: str) -> None:
        common = [f"norm={norm}", "model.dropout=0.2", "probes=gradients", "probes.every=2"]
        kinds = [
            kind for kind in EVERY if "redrawn" not in kind or norm == "noisy_batch"
        ]  # by a batch's statistics alone
        looked = experiments.run(small(tmp_path / "a", *common, *kinds)).path
        plain = experiments.run(small(tmp_path / "b", *common, "evaluation.population=false")).path
        for part in ("network", "optimiser", "generators"):
            assert differences(checkpoint(looked)[part], checkpoint(plain)[part], part) == []
        told = [
            {**line, "values": {k: v for k, v in line["values"].items() if k.rpartition("_")[2] not in LABELS}}
            for line in records(looked)
        ]
        assert told == records(plain)
        own = [line for line in records(looked) if any(key.endswith("_attacked") for key in line["values"])]
        assert [line["step"] for line in own] == [0, 2, 4, 6]

    def test_of_a_users_layer_that_draws_from_every_generator(self, tmp_path: Path) -> None:
        (tmp_path / "own.py").write_text(
            "import random\nimport numpy as np\nimport torch\nfrom torch import nn\nclass Draws(nn.Module):\n"
            "    def __init__(self, layer):\n        super().__init__()\n"
            "    def forward(self, x):\n"
            "        return x * (1 + 0.1 * (torch.rand(()).item() + random.random() + np.random.rand()))\n"
        )
        own = ["norm=none", "norm.name=Draws", f"norm.file={tmp_path}/own.py"]
        kinds = [*EVERY[:2], *EVERY[3:]]
        ends = [
            checkpoint(experiments.run(small(tmp_path / place, *own, *chosen)).path)
            for place, chosen in (("a", kinds), ("b", ["evaluation.population=false"]))
        ]
        assert differences(ends[0]["network"], ends[1]["network"]) == []
        assert differences(ends[0]["generators"], ends[1]["generators"]) == []

    def test_a_run_that_goes_on_tells_what_one_at_once_tells(self, tmp_path: Path) -> None:
        chosen = ["norm=noisy_batch", *EVERY]
        experiments.run(small(tmp_path / "grown", *chosen, "steps=3"))
        grown = experiments.run(small(tmp_path / "grown", *chosen, "steps=7")).path
        whole = experiments.run(small(tmp_path / "whole", *chosen, "steps=7")).path
        assert (grown / "records.jsonl").read_bytes() == (whole / "records.jsonl").read_bytes()
        assert differences(checkpoint(grown)["network"], checkpoint(whole)["network"]) == []


def test_every_run_ends_with_population_statistics_and_says_so(tmp_path: Path) -> None:
    path = experiments.run(small(tmp_path, "norm=batch")).path
    own = [line for line in records(path) if "test_accuracy_population" in line["values"]]
    assert [line["step"] for line in own] == [6]
    assert last(path)["test_data_loss_population"] != last(path)["test_data_loss"]
    fields = json.loads((path / "fields.json").read_text())["training"]
    where = {key: (fields[key]["metric"], fields[key]["batch"], fields[key]["point"]) for key in fields}
    assert where["test_accuracy"] == ("accuracy", "test", "before")
    assert "running statistics" in fields["test_accuracy"]["reference"]
    assert where["test_accuracy_population"] == ("accuracy", "test, population", "population statistics")
    assert where["test_data_loss_population"] == ("data_loss", "test, population", "population statistics")
    none = last(experiments.run(small(tmp_path, "norm=none")).path)
    assert none["test_accuracy_population"] == none["test_accuracy"]
    values = experiments.run(
        small(tmp_path, "data=gaussian", "model=mlp", "model.widths=[8]", "optim.batch_size=100", "optim.lr=1e-3")
    )
    assert {"test_data_loss_population"} == {key for key in last(values.path) if key.endswith("population")}
    ghost = ["norm=batch", "norm.per=ghost", "norm.ghost_size=8", "data.subset=61", "steps=2"]  # 61 = 3 x 16 + 13
    assert "test_accuracy_population" in last(experiments.run(small(tmp_path, *ghost)).path)
    off = last(experiments.run(small(tmp_path, "norm=batch", "evaluation.population=false")).path)
    assert "test_accuracy_population" not in off


def test_with_noise_population_statistics_bring_batch_normalisations_accuracy_back(tmp_path: Path) -> None:
    """Running statistics follow noise that the test function does not have; the population's are of that function."""
    common = ["model=mlp", "model.widths=[64,64,64]", "steps=60", "optim.lr=0.05", "evaluation.every=60"]
    strong = ["norm=noisy_batch", "norm.n_mu=1.0", "norm.n_sigma=2.0"]
    plain, noisy = (
        last(experiments.run(small(tmp_path, *common, *chosen)).path) for chosen in (["norm=batch"], strong)
    )
    assert abs(plain["test_accuracy_population"] - plain["test_accuracy"]) < 0.02
    assert abs(noisy["test_accuracy_population"] - plain["test_accuracy_population"]) < 0.02
    assert noisy["test_accuracy"] < plain["test_accuracy"] - 0.1
    assert noisy["test_data_loss"] > 2 * noisy["test_data_loss_population"]


def test_measures_of_the_test_set_take_the_running_ones_unless_they_ask_for_others(tmp_path: Path) -> None:
    path = experiments.run(small(tmp_path, "norm=batch", *EVERY)).path
    experiments.run(small(tmp_path, "norm=batch", "optim.lr=1e25", "optim.momentum=0.9", "diverged_above=5", "seed=1"))
    runs = Runs.load(tmp_path)
    plain = [line["values"]["test_accuracy"] for line in records(path)]
    assert final("accuracy", "test").of(runs)[path.name] == plain[-1]
    for label in LABELS:
        batch = "train" if label == "again" else "test"
        found = final("accuracy", batch, statistics=label)
        assert found.of(runs)[path.name] == last(path)[f"{batch}_accuracy_{label}"]
        assert f"{label} statistics" in found.name
        assert f"{label} statistics" in found.says
        loss = final("data_loss", batch, statistics=label).of(runs)
        assert loss[path.name] == last(path)[f"{batch}_data_loss_{label}"]
    (diverged,) = runs.each.index[runs.each["state"] == "diverged"]
    untrained = final("accuracy", "test", statistics="population").of(runs)[diverged]
    assert untrained == runs.records("accuracy", "test").query("run == @diverged")["value"].iloc[0]
    assert final("accuracy", "test", statistics="running") == final("accuracy", "test")


def test_at_kept_checkpoints_they_are_had_later(tmp_path: Path) -> None:
    chosen = ["norm=noisy_batch", "steps=6", "evaluation.every=1"]
    during = experiments.run(small(tmp_path / "a", *chosen, *EVERY)).path
    kept = experiments.run(small(tmp_path / "b", *chosen, "checkpoint.keep=[2,6]", "evaluation.population=false")).path
    again = experiments.run(small(tmp_path / "b", *EVERY[:3], f"probe_again={kept}")).path
    assert not experiments.run(small(tmp_path / "b", *EVERY[:3], f"probe_again={kept}")).trained
    expected = {line["step"]: line["values"] for line in records(during)}
    assert [line["step"] for line in records(again)] == [2, 6]
    for line in records(again):
        assert len(line["values"]) == 6
        assert line["values"] == {key: expected[line["step"]][key] for key in line["values"]}
    both = experiments.run(small(tmp_path / "b", EVERY[2], "probes=gradients", f"probe_again={kept}")).path
    assert {line["probe"] for line in records(both)} == {"training", "gradients"}
    with pytest.raises(WrongInput, match=r"needs probes, .* or evaluations"):
        experiments.run(small(tmp_path / "b", f"probe_again={kept}"))


def test_they_are_measurement_and_only_what_differs_names_a_run() -> None:
    def digests(*chosen: str) -> tuple[str, str]:
        return identity_of(plain_config(small(Path("runs"), *chosen)), "").digests

    plain = plain_config(small(Path("runs")))
    older = copy.deepcopy(plain)
    for key in ("population", "kinds", "kinds_every"):
        del older["evaluation"][key]
    assert run_name(plain, identity_of(plain, ""), "digits") == run_name(older, identity_of(older, ""), "digits")
    attacked = "+evaluation.kinds.a={inputs: pgd}"
    seen = {digests()}
    for other in (
        [attacked],
        [attacked, "+evaluation.kinds.b={statistics: batch}"],
        ["+evaluation.kinds.b={inputs: pgd}"],
        ["+evaluation.kinds.a={inputs: {name: pgd, steps: 3}}"],
        ["+evaluation.kinds.a={inputs: pgd, statistics: batch}"],
        ["evaluation.population=false"],
        ["evaluation.kinds_every=1"],
    ):
        seen.add(digests(*other))
    assert len(seen) == 8
    assert {training for training, _ in seen} == {digests()[0]}
    for same in (
        "{inputs: {name: pgd, steps: 10}}",
        "{statistics: running, inputs: pgd}",
        "{statistics: {name: running}, inputs: {name: pgd}}",
    ):
        assert digests(f"+evaluation.kinds.a={same}") == digests(attacked), same
    off = "evaluation.population=false"
    assert digests(off, "evaluation.kinds_every=1") == digests(off)


WRONG = {
    "{statistics: populaton}": "evaluation.kinds.x.statistics.name=populaton: unknown source of statistics; did you",
    "{inputs: fgsm}": "evaluation.kinds.x.inputs.name=fgsm: unknown change of inputs; allowed: clean, noise, pgd",
    "{inputs: {name: pgd, radios: 1}}": "evaluation.kinds.x.inputs.radios=1: unknown option; did you mean 'radius'",
    "{inputs: {name: pgd, radius: 0}}": "evaluation.kinds.x.inputs: radius=0.0: must be more than 0",
    "{inputs: {name: pgd, steps: 0}}": "evaluation.kinds.x.inputs: steps=0: must be more than 0",
    "{inputs: {name: noise, deviation: much}}": "evaluation.kinds.x.inputs.deviation=much: must be a number, not str",
    "{inputs: {name: noise, deviation: -1}}": "evaluation.kinds.x.inputs: deviation=-1.0: must be more than 0",
    "{statistics: {name: population, batches: 5}}": "evaluation.kinds.x: batches=5: the training set has 4 batches;",
    "{statistics: {name: population, batches: 0}}": "evaluation.kinds.x.statistics: batches=0: must be at least 1, all",
    "{statistics: {name: population, batches: some}}": "evaluation.kinds.x.statistics.batches=some: must be a whole",
    "{statistics: {name: batch, batch_size: 41}}": "evaluation.kinds.x: batch_size=41: the test set has 40 samples",
    "{statistics: {name: batch, batch_size: 1}}": "evaluation.kinds.x.statistics: batch_size=1: must be at least 2",
    "{statistics: running}": "evaluation.kinds.x: running statistics on clean inputs are test_accuracy already",
    "{statistic: batch}": "evaluation.kinds.x={'statistic': 'batch'}: must say statistics, inputs, data, or several",
    "{statistics: 3}": "evaluation.kinds.x.statistics=3: must be a name, or options with a name",
    "pgd": "evaluation.kinds.x=pgd: must say statistics, inputs, data, or several",
}


@pytest.mark.parametrize("value", list(WRONG))
def test_wrong_input_is_one_line_before_anything_is_trained(tmp_path: Path, value: str) -> None:
    with pytest.raises(WrongInput) as told:
        experiments.run(small(tmp_path / "runs", "norm=batch", f"+evaluation.kinds.x={value}"))
    assert str(told.value).startswith(WRONG[value])
    assert "\n" not in str(told.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("chosen", "line"),
    [
        (
            ["norm=none", "+evaluation.kinds.x={statistics: folded}"],
            "evaluation.kinds.x: folded: no normalisation with",
        ),
        (
            ["norm=layer", "+evaluation.kinds.x={statistics: folded}"],
            "evaluation.kinds.x: folded: no normalisation with",
        ),
        (
            ["norm=batch", "model.placement=after", "+evaluation.kinds.x={statistics: folded}"],
            "evaluation.kinds.x: fold: fc1.norm does not follow a linear layer",
        ),
        (
            ["data=gaussian", "model=deep_linear", "optim.lr=1e-6", "+evaluation.kinds.x={inputs: pgd}"],
            "evaluation.kinds.x: pgd: attacks what is classified; the task of these data is regression",
        ),
        (
            ["+evaluation.kinds.population={inputs: pgd}"],
            "evaluation.kinds.population: this label is kept for population",
        ),
        (["+evaluation.kinds.running={inputs: pgd}"], "evaluation.kinds.running: this label is kept for running stat"),
        (
            ["+evaluation.kinds.redrawn={inputs: pgd}"],
            "evaluation.kinds.redrawn: this label is kept for redrawn statistics",
        ),
        (["+evaluation.kinds._x={inputs: pgd}"], "evaluation.kinds._x: a label is of letters, digits and _"),
        (["evaluation.kinds_every=-1"], "evaluation.kinds_every=-1: must be a whole number, at least 0"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, chosen: list[str], line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(WrongInput) as told:
        experiments.run(small(tmp_path / "runs", *chosen))
    assert str(told.value).startswith(line)
    assert not (tmp_path / "runs").exists()
    if "folded" in chosen[-1]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["experiments", "model=mlp", *chosen])
        assert cli.main() == 2
        assert capsys.readouterr().err.strip().splitlines()[-1].startswith(f"error: {line}")


def test_a_users_own_source_and_change_are_found(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from experiments.evaluations import Inputs, Statistics\n"
        "class Zeros(Inputs):\n"
        "    def __init__(self, *, factor: float = 0.0) -> None:\n        self.factor = factor\n"
        "    def changed(self, batch, forward, occasion, place):\n        return self.factor * batch.inputs\n"
        "class Nowhere(Statistics):\n"
        "    def prepared(self, network, occasion):\n"
        "        for module in network.modules():\n"
        "            if hasattr(module, 'running_mean'):\n                module.reset_running_stats()\n"
        "        return network\n"
        "class Broken(Inputs):\n"
        "    def changed(self, batch, forward, occasion, place):\n        return batch.inputs @ batch.inputs.nothing\n"
    )
    file = f"{tmp_path}/own.py"
    kinds = [
        f"+evaluation.kinds.x={{inputs: {{name: Zeros, file: {file}}}, statistics: {{name: Nowhere, file: {file}}}}}"
    ]
    training = built(small(tmp_path, "norm=batch", *kinds))
    found = training.evaluations.all_values(training.network, 0)
    network = copy.deepcopy(training.network).eval()
    (batch,) = training.data.test_batches(99)
    expected = torch.nn.functional.cross_entropy(network(0 * batch.inputs), batch.targets).item()
    assert found["test_data_loss_x"] == pytest.approx(expected, rel=1e-5)
    before = identity_of(plain_config(small(tmp_path, *kinds)), "").digests
    (tmp_path / "own.py").write_text((tmp_path / "own.py").read_text() + "# edited\n")
    assert identity_of(plain_config(small(tmp_path, *kinds)), "").digests[1] != before[1]
    with pytest.raises(
        WrongInput, match=r"^evaluation.kinds.x: .* raised AttributeError: .*nothing.* \(own.py, line 1"
    ):
        built(small(tmp_path, f"+evaluation.kinds.x={{inputs: {{name: Broken, file: {file}}}}}"))


UNFORGETTING = """
import torch
from torch import nn
class Own(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.register_buffer("average", torch.zeros(layer.out_features))
    def forward(self, x):
        if self.training:
            with torch.no_grad():
                self.average.lerp_(x.mean(0), 0.1)
        return x - self.average
"""


def test_what_goes_wrong_at_the_end_leaves_out_what_was_not_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise RuntimeError("out of memory")

    trainings = [built(small(tmp_path, "norm=batch", *more)) for more in ([], [EVERY[0]])]
    monkeypatch.setattr("experiments.evaluations.statistics.population.set_to_population", full)
    with caplog.at_level("INFO", "experiments"):
        assert trainings[0].evaluations.all_values(trainings[0].network, 6) == {}
    assert "no population statistics: RuntimeError: out of memory" in caplog.text
    with pytest.raises(RuntimeError, match="out of memory"):
        trainings[1].evaluations.all_values(trainings[1].network, 6)


def test_where_they_cannot_be_had_the_run_ends_without_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "own.py").write_text(UNFORGETTING)
    own = ["norm=none", "norm.name=Own", f"norm.file={tmp_path}/own.py"]
    with caplog.at_level("INFO", "experiments"):
        path = experiments.run(small(tmp_path, *own)).path
    line = "population: fc1.norm, a Own, has no attribute momentum, the weight of the newest batch"
    assert f"no population statistics: {line}" in caplog.text
    assert "test_accuracy" in last(path)
    assert "test_accuracy_population" not in last(path)
    with pytest.raises(WrongInput, match=f"^evaluation.kinds.population: {line}"):
        experiments.run(small(tmp_path, *own, "+evaluation.kinds.population={statistics: population}"))


def test_one_label_of_two_evaluations_is_no_one_measure(tmp_path: Path) -> None:
    """Of runs that were attacked within different radii; also where both are of one training."""
    for seed, radius in ((0, 0.02), (0, 0.9), (1, 0.9)):
        attacked = f"+evaluation.kinds.attacked={{inputs: {{name: pgd, steps: 1, radius: {radius}}}}}"
        experiments.run(small(tmp_path / str(radius), f"seed={seed}", "steps=2", attacked))
    measure = final("accuracy", "test", statistics="attacked")
    assert len(measure.of(Runs.of(tmp_path / "0.9"))) == 2
    with pytest.raises(Ambiguous, match=r"test, attacked: evaluated in several ways: .*radius=0.02.*radius=0.9"):
        measure.of(Runs.of(tmp_path))
