"""Of which samples the test function is evaluated, and by statistics of each domain or each example: loops by hand."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import experiments
from analysis.measures import final
from analysis.runs import Runs
from experiments.data import Arrays, Data, HeldOut, Options, load_data
from experiments.data.arrays import check_arrays
from experiments.errors import WrongInput
from experiments.evaluations import Evaluation, plain_values
from experiments.evaluations.base import Inputs, Statistics, Tested
from experiments.evaluations.data.domain import OfDomain
from experiments.evaluations.data.named import Named
from experiments.evaluations.data.part import Part
from experiments.evaluations.data.training import Training
from experiments.evaluations.data.whole import Whole
from experiments.evaluations.statistics.batch import OfBatch
from experiments.evaluations.statistics.domain import OfDomain as StatisticsOfDomain
from experiments.evaluations.statistics.folded import Folded
from experiments.evaluations.statistics.redrawn import Redrawn
from experiments.evaluations.statistics.weighed import Weighed
from experiments.models import build_model
from probes.randomness import at_step, derived_seed
from tests.runs import MLP, refusal, small
from tests.test_evaluations import digits, network_with, occasion
from tests.test_fold import lived_in

TWO = {"name": "two_domains", "subset": 64, "test_subset": 40}


def two(batch_size: int = 16) -> Data:
    return load_data(TWO, 0, batch_size)


def values(
    network: nn.Module, data: Data, statistics: Statistics | None = None, tested: Tested | None = None
) -> dict[str, float]:
    parts = (statistics or Statistics(), Inputs(), tested or Whole())
    return Evaluation("x", *parts, ("a", "clean", "whole")).values(network, "mean", occasion(network, data))


def scored(outputs: Tensor, targets: Tensor) -> dict[str, float]:
    """Sample by sample."""
    loss = sum(nn.functional.cross_entropy(o[None], t[None]).item() for o, t in zip(outputs, targets, strict=True))
    right = sum(int(o.argmax() == t) for o, t in zip(outputs, targets, strict=True))
    return {"test_data_loss": loss / len(targets), "test_accuracy": right / len(targets)}


def whole_test(data: Data) -> Any:
    (batch,) = data.test_batches(1000)
    return batch


class TestSamples:
    def test_a_domain_is_its_test_samples_in_batches_of_its_own(self) -> None:
        data, network = two(), network_with({"name": "batch"})
        batch = whole_test(data)
        for place, name in enumerate(data.domains):
            own = batch.domain == place
            with torch.no_grad():
                expected = scored(network(batch.inputs[own]), batch.targets[own])
            assert values(network, data, tested=OfDomain(domain=name)) == pytest.approx(expected, rel=1e-5)
            by_batch = copy.deepcopy(network).train()
            with torch.no_grad():  # by the statistics of one batch, all of this domain
                expected = scored(by_batch(batch.inputs[own]), batch.targets[own])
            found = values(network, data, OfBatch(batch_size=int(own.sum())), OfDomain(domain=name))
            assert found == pytest.approx(expected, rel=1e-5)
        mixed = values(network, data, OfBatch(batch_size=len(batch.targets)))
        assert abs(mixed[f"test_data_loss_{name}"] - found["test_data_loss"]) > 1e-3

    def test_parts_are_equal_different_and_all(self) -> None:
        data, network = digits(), network_with({"name": "batch"})
        rows = whole_test(data).inputs.flatten(1)
        parts = [whole_test(Part(part=part, parts=3).of(data)) for part in (1, 2, 3)]
        assert [len(part.targets) for part in parts] == [14, 13, 13]
        together = torch.cat([part.inputs.flatten(1) for part in parts])
        assert sorted(map(tuple, together.tolist())) == sorted(map(tuple, rows.tolist()))
        assert not torch.equal(parts[0].inputs.flatten(1), rows[:14])
        found = [values(network, data, tested=Part(part=part, parts=3)) for part in (1, 2, 3)]
        mean = sum(one["test_data_loss"] * len(p.targets) for one, p in zip(found, parts, strict=True)) / 40
        assert mean == pytest.approx(values(network, data)["test_data_loss"], rel=1e-6)
        other_seed = load_data({"name": "digits", "subset": 64, "test_subset": 40}, 5, 16)
        assert torch.equal(whole_test(Part().of(other_seed)).inputs, whole_test(Part().of(data)).inputs)

    def test_the_data_themselves_stay(self) -> None:
        data = two()
        before = (data.test_size, data.training_size, data.batch(3).inputs.clone())
        for other in (data.tested_in(1), data.trained_in(0), data.tested_part(0, 2)):
            whole_test(other)
            list(other.population(1))
        assert (data.test_size, data.training_size) == before[:2]
        assert torch.equal(data.batch(3).inputs, before[2])


class TestTrainingSamples:
    @pytest.mark.parametrize("samples", [None, 20])
    def test_they_are_evaluated_as_a_test_set_is(self, samples: int | None) -> None:
        data, network = digits(augment=True), network_with({"name": "noisy_batch"})
        chosen = data.fixed_batch(samples or 64)
        with torch.no_grad():
            expected = scored(network(chosen.inputs), chosen.targets)
        found = values(network, data, tested=Training(samples=samples))
        assert found == pytest.approx(expected, rel=1e-5)
        assert found["test_data_loss"] != pytest.approx(values(network, data)["test_data_loss"], rel=1e-3)
        assert data.test_size == 40

    def test_more_than_there_are_is_refused(self) -> None:
        with pytest.raises(ValueError, match="samples=65: there are 64 training samples"):
            Training(samples=65).of(digits())
        with pytest.raises(ValueError, match="samples=0: must be at least 1, or null for all"):
            Training(samples=0)

    def test_the_records_call_them_train(self, tmp_path: Path) -> None:
        seen = ["+evaluation.kinds.off={statistics: batch, data: training}", "evaluation.kinds_every=1"]
        path = experiments.run(small(tmp_path, "norm=batch", *seen)).path
        found = Runs.load(path).records("data_loss", "train, off")
        assert list(found["step"]) == [0, 2, 4, 6]
        assert set(found["unit"]) == {"nats, mean over training samples"}
        last = json.loads((path / "status.json").read_text())["final"]
        assert last["train_data_loss_off"] == found["value"].iloc[-1]
        assert "test_data_loss_off" not in last


class TestRedrawnNoise:
    def drawn(self, network: nn.Module, data: Data, step: int = 0) -> dict[str, float]:
        kind = Evaluation("x", Redrawn(), Inputs(), Whole(), ("a", "clean", "whole"))
        return kind.values(network, "mean", occasion(network, data, step))

    def test_it_is_a_loop_in_training_mode_with_a_draw_for_each_batch(self) -> None:
        data, network = digits(), network_with({"name": "noisy_batch"})
        trained, outputs, targets = copy.deepcopy(network).train(), [], []
        for place, batch in enumerate(data.mixed_test_batches(16)):
            with at_step(derived_seed(0, 5, "redrawn", place), 0), torch.no_grad():
                outputs.append(trained(batch.inputs))
            targets.append(batch.targets)
        found = self.drawn(network, data, 5)
        assert found == pytest.approx(scored(torch.cat(outputs), torch.cat(targets)), rel=1e-5)
        assert found == self.drawn(network, data, 5)
        assert found != pytest.approx(self.drawn(network, data, 6), rel=1e-3)
        assert found != pytest.approx(values(network, data, OfBatch()), rel=1e-3)

    @pytest.mark.parametrize(
        "norm",
        [{"name": "batch", "frozen_after": 1}, {"name": "batch", "statistics": "running"}, {"name": "batch_renorm"}],
        ids=str,
    )
    def test_what_does_not_train_by_its_batch_alone_is_refused(self, norm: dict[str, Any]) -> None:
        network = network_with(norm)
        with pytest.raises(
            ValueError, match=r"^redrawn: fc1.norm, a \w+, does not train by the batch's own statistics"
        ):
            Redrawn().prepared(network, occasion(network, digits()))

    def test_noise_that_is_kept_for_ever_is_another_one_in_each_batch(self) -> None:
        network = network_with({"name": "noise", "correlation_time": float("inf"), "r_mu": 0.0, "r_sigma": 0.0})
        seen: list[Tensor] = []
        source, own = Redrawn(), occasion(network, digits())
        network.fc1.norm.register_forward_hook(lambda module, given, output: seen.append(output[0] - given[0][0]))
        prepared = source.prepared(network, own)
        for batch in source.test_batches(own):
            with source.taken():
                prepared(0 * batch.inputs)
        assert len(seen) == 2
        assert (seen[0] - seen[1]).abs().max() > 0.1

    def test_without_noise_it_is_what_the_batchs_own_statistics_give(self) -> None:
        data, network = digits(), network_with({"name": "batch"})
        before = copy.deepcopy(network.state_dict())
        assert self.drawn(network, data) == pytest.approx(values(network, data, OfBatch()), rel=1e-6)
        assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


class TestDomainStatistics:
    @pytest.mark.parametrize("batches", [1, 2, "all"])
    def test_each_sample_is_evaluated_by_the_population_of_its_domain(self, batches: Any) -> None:
        """By brute force: mean and unbiased variance of the layer's outputs over the domain's training samples."""
        data = copy.copy(two())
        order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
        data._test = data._test.at(order)  # domains side by side
        network = build_model({"name": "mlp", "widths": [12]}, {"name": "batch"}, data.spec, 0)
        network = lived_in(network, 1, 8, 8).eval()
        batch, outputs = whole_test(data), torch.zeros(40, 10)
        for place in range(2):
            drawn = list(data.trained_in(place).population(data.batches_of_all if batches == "all" else batches))
            x = torch.cat([part.inputs for part in drawn])
            assert all(bool((part.domain == place).all()) for part in drawn)
            if batches == "all":
                assert len(x) == int((data._training.domain == place).sum())
            z = network.fc1.layer(x.flatten(1))
            own = batch.domain == place
            rows = network.fc1.layer(batch.inputs[own].flatten(1))
            scale = network.fc1.norm.weight / torch.sqrt(z.var(0) + network.fc1.norm.eps)
            hidden = ((rows - z.mean(0)) * scale + network.fc1.norm.bias).relu()
            outputs[own] = network.head(hidden).detach()
        found = values(network, data, StatisticsOfDomain(batches=batches))
        expected = scored(outputs, batch.targets)
        assert {key: found[key] for key in expected} == pytest.approx(expected, rel=1e-4)
        assert found["test_data_loss"] != pytest.approx(values(network, data)["test_data_loss"], rel=1e-4)

    def test_of_networks_that_keep_each_domains_own_it_takes_the_place_of_those(self) -> None:
        """With the layers' own averages made useless first; they cannot be folded, for want of a single map."""
        data = two()
        per_domain = {"name": "batch", "per": "domain", "running": "domain"}
        network = build_model({"name": "mlp", "widths": [12]}, per_domain, data.spec, 0)
        shared = build_model({"name": "mlp", "widths": [12]}, {"name": "batch"}, data.spec, 0)
        for value in (network.fc1.norm.running_mean, network.fc1.norm.running_var):
            value.add_(7.0)
        found = values(network.eval(), data, StatisticsOfDomain())
        assert found == pytest.approx(values(shared.eval(), data, StatisticsOfDomain()), rel=1e-4)
        assert found["test_data_loss"] != pytest.approx(values(network, data)["test_data_loss"], rel=1e-3)
        with pytest.raises(WrongInput, match=r"fold: fc1.norm has statistics of each domain \(norm.running=domain\)"):
            values(network, data, Folded())

    def test_what_it_needs_is_told(self) -> None:
        with pytest.raises(ValueError, match="domain: these data have no domains"):
            StatisticsOfDomain().check(digits(), ("fc1.norm",))
        with pytest.raises(ValueError, match="no normalisation with running statistics"):
            StatisticsOfDomain().check(two(), ())
        with pytest.raises(ValueError, match="batches=3: domain 'digits' has 2 batches"):
            StatisticsOfDomain(batches=3).check(two(), ("fc1.norm",))


class TestExampleWeighing:
    @pytest.mark.parametrize("model", ["mlp", "vgg_small"])
    @pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
    def test_it_is_the_mix_of_first_and_second_moments(self, model: str, weight: float) -> None:
        """Example by example and unit by unit, as it is published; 0 gives the running statistics."""
        data = digits()
        network = network_with({"name": "batch"}, model, **({"width": 0.125} if model == "vgg_small" else {}))
        trial, batch = copy.deepcopy(network), whole_test(data)

        def mixed(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
            (x,) = given
            found = torch.zeros_like(x)
            for i in range(len(x)):
                for unit in range(x.shape[1]):
                    own = x[i, unit].double()
                    m, v = module.running_mean[unit].double(), module.running_var[unit].double()
                    mean = (1 - weight) * m + weight * own.mean()
                    square = (1 - weight) * (v + m**2) + weight * (own**2).mean()
                    scaled = (own - mean) / torch.sqrt(square - mean**2 + module.eps)
                    found[i, unit] = scaled * module.weight[unit] + module.bias[unit]
            return found

        for module in trial.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.register_forward_hook(mixed)
        few = replace_test(data, 6)
        with torch.no_grad():
            expected = scored(trial(batch.inputs[:6]), batch.targets[:6])
        found = values(network, few, Weighed(weight=weight))
        assert found == pytest.approx(expected, rel=1e-3 if weight == 1 else 1e-4)
        plain = values(network, few)
        assert (found == pytest.approx(plain, rel=1e-4)) == (weight == 0)
        assert not any(m._forward_hooks for m in network.modules())

    def test_only_torchs_batch_normalisations_are_weighed(self) -> None:
        data, network = digits(), network_with({"name": "l2"})
        with pytest.raises(ValueError, match=r"weighed: fc1.norm, a \w+, is no batch normalisation as published"):
            values(network, data, Weighed(weight=0.1))


def replace_test(data: Data, count: int) -> Data:
    found = copy.copy(data)
    found._test = data._test.at(slice(0, count))
    return found


# ---- data of one's own: numbers, vectors, further test sets


def vectors(**more: Any) -> Arrays:
    generator = torch.Generator().manual_seed(0)
    x = 3 * torch.randn(50, 4, generator=generator) + torch.arange(4.0)
    targets = torch.arange(50) % 2
    sets = {"far": HeldOut(x[:7] + 5, targets[:7]), "near": HeldOut(x[:5] - 1, targets[:5])}
    return Arrays(x[:30], targets[:30], x[30:], targets[30:], ("a", "b"), **{"test_sets": sets, **more})


@pytest.mark.parametrize("images", [False, True])
@pytest.mark.parametrize("standardise", [True, False, "centred", "whitened"])
def test_numbers_are_standardised_by_channel_and_not_divided_by_255(standardise: Any, images: bool) -> None:
    arrays = vectors(test_sets={})
    if images:
        parts = {f"inputs_{part}": getattr(arrays, f"inputs_{part}").view(-1, 1, 2, 2) for part in ("train", "test")}
        arrays = replace(arrays, **{k: torch.cat([x, x**2], 1) for k, x in parts.items()})
    raw = arrays.inputs_train.clone()
    data = Data(check_arrays("data", arrays), 0, None, "cpu", Options(standardise=standardise))
    x, given = data.batch(0).inputs.double().numpy(), raw.double().numpy()
    axes = (0, 2, 3) if images else (0,)
    if standardise is True:
        expected = (given - given.mean(axes, keepdims=True)) / given.std(axes, keepdims=True)
    elif standardise == "centred":
        expected = given - given.mean(axes, keepdims=True)
    else:
        expected = given
    if standardise == "whitened":
        covariance = np.cov(x.reshape(len(x), -1).T, bias=True)
        np.testing.assert_allclose(covariance, np.eye(len(covariance)), atol=1e-3)
    else:
        np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(arrays.inputs_train, raw)
    assert data.valid_range is None
    assert data.spec.task == "classification"
    with pytest.raises(WrongInput, match="augment=true: only images"):
        Data(arrays, 0, None, "cpu", Options(augment=True))


def test_every_further_test_set_is_evaluated_by_itself() -> None:
    data = Data(check_arrays("data", vectors()), 0, 10)
    network = build_model({"name": "mlp", "widths": [6]}, {"name": "batch"}, data.spec, 0)
    for step in range(3):
        network(data.batch(step).inputs)
    found = plain_values(network, "mean", occasion(network, data))
    assert network.training
    network.eval()
    mean, deviation = data._training.inputs.mean(0), data._training.inputs.std(0, correction=0)
    arrays = vectors()
    sets = {"": (arrays.inputs_test, arrays.targets_test)}
    sets |= {f"_{name}": (held.inputs, held.targets) for name, held in arrays.test_sets.items()}
    assert set(sets) == {"", "_far", "_near"}
    for ending, (x, targets) in sets.items():
        with torch.no_grad():
            expected = scored(network((x - mean) / deviation), targets)
        assert {key: found[f"{key}{ending}"] for key in expected} == pytest.approx(expected, rel=1e-5)
    own = values(network, data, tested=Named(test_set="far"))
    assert own["test_data_loss"] == pytest.approx(found["test_data_loss_far"])


def test_the_fingerprint_is_of_the_further_test_sets_too_and_what_it_was_without() -> None:
    plain, with_sets = vectors(test_sets={}), vectors()
    far = with_sets.test_sets["far"]
    changed = vectors(test_sets={**with_sets.test_sets, "far": HeldOut(far.inputs + 1, far.targets)})
    renamed = vectors(test_sets={"further": far, "near": with_sets.test_sets["near"]})
    turned = vectors(test_sets=dict(reversed(with_sets.test_sets.items())))
    hashes = [arrays.content_hash() for arrays in (plain, with_sets, changed, renamed)]
    assert len(set(hashes)) == 4
    assert turned.content_hash() == hashes[1]


X = torch.zeros(4, 4)
WRONG = {
    "test_sets must map names to experiments.data.HeldOut": {"test_sets": {"a": (X, torch.zeros(4))}},
    "test_sets: 'a b': a name is of letters": {"test_sets": {"a b": HeldOut(X, torch.zeros(4).long())}},
    "inputs_of test_sets['a'] has 4 samples but targets_of test_sets['a'] has 3": {
        "test_sets": {"a": HeldOut(X, torch.zeros(3).long())}
    },
    "targets_of test_sets['a'] must be in 0..1": {"test_sets": {"a": HeldOut(X, torch.full((4,), 2))}},
    "inputs_train and inputs_of test_sets['a'] must have equal shapes per sample and equal types, not (4,) float32": {
        "test_sets": {"a": HeldOut(torch.zeros(4, 5), torch.zeros(4).long())}
    },
    "domains_of test_sets['far'] must be int64 (7,)": {
        "domains": ("u", "v"), "domains_train": torch.arange(30) % 2, "domains_test": torch.arange(20) % 2,
    },
    "'far' names a domain and a test set": {
        "domains": ("far", "v"), "domains_train": torch.arange(30) % 2, "domains_test": torch.arange(20) % 2,
    },
    "domains must be a tuple of texts where samples have domains": {
        "test_sets": {"a": HeldOut(X, torch.zeros(4).long(), torch.zeros(4).long())}
    },
}  # fmt: skip


@pytest.mark.parametrize("line", list(WRONG))
def test_wrong_test_sets_are_one_line(line: str) -> None:
    with pytest.raises(WrongInput) as told:
        check_arrays("data.name=x", vectors(**WRONG[line]))
    assert str(told.value).startswith("data.name=x: ")
    assert line in str(told.value)
    assert "\n" not in str(told.value)


# ---- in runs


def test_what_they_are_is_recorded_and_the_usual_ones_keep_their_names(tmp_path: Path) -> None:
    told = ["data=two_domains", "data.subset=64", "data.test_subset=40", "model=mlp", "model.widths=[16]"]
    told += ["optim.batch_size=16", "+evaluation.kinds.own={statistics: domain}"]
    told += ["+evaluation.kinds.apart={statistics: batch, data: {name: domain, domain: digits}}"]
    told += ["+evaluation.kinds.few={inputs: noise, data: part}"]
    path = experiments.run(small(tmp_path, *told)).path
    fields = json.loads((path / "fields.json").read_text())["training"]
    points = {key: (entry["batch"], entry["point"]) for key, entry in fields.items() if "accuracy" in key}
    assert points["test_accuracy_own"] == ("test, own", "domain statistics")
    assert points["test_accuracy_digits_own"] == ("test_digits, own", "domain statistics")
    assert points["test_accuracy_apart"] == ("test, apart", "batch statistics, domain(domain=digits) data")
    assert points["test_accuracy_few"] == ("test, few", "running statistics, noise inputs, part data")
    assert "test_accuracy_digits_apart" not in points
    assert points["test_accuracy_digits"] == ("test_digits", "before")
    measured = json.loads((path / "config.json").read_text())["measurement"]["evaluation"]["kinds"]
    assert measured["own"] == {"statistics": {"name": "domain"}}
    assert len(final("accuracy", "test", statistics="apart").of(Runs.load(tmp_path))) == 1


REFUSED = {
    "{data: {name: domain, domain: x}}": "evaluation.kinds.x: domain=x: unknown domain; these data have no domains",
    "{data: domain}": "evaluation.kinds.x.data.domain: must be given (a text)",
    "{data: {name: named, test_set: far}}": "test_set=far: unknown test set; these data have the usual one only",
    "{data: {name: part, part: 3}}": "evaluation.kinds.x.data: part=3: must be from 1 to parts=2",
    "{data: {name: part, parts: 1}}": "evaluation.kinds.x.data: parts=1: must be at least 2",
    "{data: {name: part, parts: 50}}": "evaluation.kinds.x: parts=50: the test set has 40 samples",
    "{data: half}": "evaluation.kinds.x.data.name=half: unknown choice of test samples; allowed: domain,",
    "{data: whole}": "running statistics on clean inputs are test_accuracy already",
    "{statistics: domain}": "evaluation.kinds.x: domain: these data have no domains",
    "{statistics: weighed}": "evaluation.kinds.x.statistics.weight: must be given (a number)",
    "{statistics: {name: weighed, weight: 2}}": "evaluation.kinds.x.statistics: weight=2: must be from 0 to 1",
}  # fmt: skip


def test_wrong_input_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for value, line in REFUSED.items():
        assert line in refusal([*MLP, f"+evaluation.kinds.x={value}"], tmp_path, monkeypatch, capsys)
    no_norm = [*MLP, "norm=none", "+evaluation.kinds.x={statistics: {name: weighed, weight: 0.5}}"]
    assert "weighed: no normalisation with running" in refusal(no_norm, tmp_path, monkeypatch, capsys)
