"""Groups of parameters with rates and decays of their own, or frozen: training, penalty and walks read them alike."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import experiments
from experiments.cli import main
from experiments.configuration import plain_config
from experiments.data import DataSpec
from experiments.errors import WrongInput
from experiments.models import build_model
from experiments.parameter_groups import parameter_groups
from probes import (
    Along,
    Declaration,
    Dynamics,
    Field,
    InternalCovariateShift,
    Landscape,
    Need,
    Objective,
    ProbeError,
    Probes,
    Spectrum,
)
from probes.objective import Decay
from probes.reductions import UpdateNorms
from tests.runs import MLP, checkpoint, refusal, small

GROUPS = (
    "optim.groups=[{match:gamma,lr:x10,decay:0.1,decay_towards:1},{match:'fc1.layer.*',lr:x0.5},"
    "{match:beta,train:false}]"
)


def start_and_batches(*overrides: str) -> tuple[nn.Module, list[Any]]:
    """The network that a run begins with, and its batches."""
    from experiments.building import build_training
    from experiments.data import load_data
    from experiments.runs.records import ProbeRecorder

    config = plain_config(small(Path("nowhere"), *overrides))
    data = load_data(config["data"], config["seed"], config["optim"]["batch_size"], torch.device("cpu"))
    training = build_training(config, data, torch.device("cpu"), ProbeRecorder())
    return training.network, [data.batch(step) for step in range(config["steps"])]


def test_training_is_that_of_a_loop_written_by_hand(tmp_path: Path) -> None:
    usual = ["optim.weight_decay=0.01", "optim.schedule=step", "optim.milestones=[2]", "steps=4"]
    network, batches = start_and_batches(*usual)
    begun = copy.deepcopy(network.state_dict())
    for step, batch in enumerate(batches):
        lr = 0.1 * (0.1 if step >= 2 else 1.0)
        network.zero_grad()
        loss = cross_entropy(network(batch.inputs), batch.targets)
        for name, p in network.named_parameters():
            if name.endswith("layer.weight"):
                loss = loss + 0.005 * (p**2).sum()
            if name.endswith("norm.weight"):
                loss = loss + 0.05 * ((p - 1) ** 2).sum()
        loss.backward()
        with torch.no_grad():
            for name, p in network.named_parameters():
                factor = 10 if name.endswith("norm.weight") else 0.5 if name.startswith("fc1.layer") else 1
                if not name.endswith("norm.bias"):
                    p -= lr * factor * p.grad
    found = checkpoint(experiments.run(small(tmp_path, GROUPS, *usual)).path)["network"]
    for name, p in network.state_dict().items():
        assert torch.allclose(found[name].double(), p.double(), rtol=1e-5, atol=1e-7), name
    assert torch.equal(found["fc1.norm.bias"], begun["fc1.norm.bias"])
    assert not torch.allclose(found["fc1.norm.weight"], begun["fc1.norm.weight"], atol=1e-3)


def test_probes_change_no_bit_and_a_killed_run_goes_on(tmp_path: Path) -> None:
    probed = ["probes=[landscape,ics,gradients]", "probes.every=1"]
    for more in ([], probed):  # two of one training must end with equal bits, or the second fails
        experiments.run(small(tmp_path / "whole", GROUPS, "optim=adam", *more))
    whole = [checkpoint(path)["network"] for path in sorted((tmp_path / "whole").glob("digits*"))]
    assert len(whole) == 2
    experiments.run(small(tmp_path / "parts", GROUPS, "optim=adam", "steps=3"))
    parts = checkpoint(experiments.run(small(tmp_path / "parts", GROUPS, "optim=adam")).path)["network"]
    for name, value in parts.items():
        assert torch.equal(value, whole[0][name]), name


def test_an_optimisers_own_groups_keep_their_rates_under_a_schedule(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import torch\ndef Own(network, lr):\n    heads = list(network.head.parameters())\n"
        "    others = [p for n, p in network.named_parameters() if not n.startswith('head')]\n"
        "    return torch.optim.SGD([{'params': others}, {'params': heads, 'lr': 4 * lr}], lr=lr)\n"
    )
    own = ["optim.name=Own", f"optim.file={tmp_path / 'own.py'}", "~optim.momentum", "~optim.nesterov"]
    usual = ["optim.schedule=step", "optim.milestones=[2]", "steps=3"]
    gammas = "optim.groups=[{match:[gamma,head.layer.bias],lr:x3}]"
    found = checkpoint(experiments.run(small(tmp_path, *own, *usual, gammas)).path)["network"]
    by_group = ["optim.groups=[{match:head.layer.weight,lr:x4},{match:head.layer.bias,lr:x12},{match:gamma,lr:x3}]"]
    expected = checkpoint(experiments.run(small(tmp_path, *by_group, *usual)).path)["network"]
    plain = checkpoint(experiments.run(small(tmp_path, *usual)).path)["network"]
    for name in found:
        assert torch.equal(found[name], expected[name]), name
    assert not torch.equal(found["head.layer.weight"], plain["head.layer.weight"])


# Walks


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)).double()


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(12, 5, generator=generator).double(), torch.randint(0, 3, (12,), generator=generator)


RATES = {"0.weight": 0.3, "0.bias": 0.3, "1.weight": 2.0, "1.bias": 0.0, "3.weight": 0.05, "3.bias": 0.05}


def probed(net: nn.Module, chosen: dict[str, Any], **options: Any) -> dict[str, dict[str, torch.Tensor]]:
    """One step of SGD with RATES and a scheduler that steps within the block; what the probes recorded."""
    named = dict(net.named_parameters())
    optimiser = torch.optim.SGD([{"params": [named[name]], "lr": rate} for name, rate in RATES.items()])
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimiser, 0.1)
    if options.pop("hand_over", False):
        options["optimiser"] = optimiser
    x, y = batch()
    objective = options.pop("objective", Objective(cross_entropy))
    probes = Probes(net, objective, chosen, (x, y), every=1, **options)
    with probes.around(0, (x, y)):
        optimiser.zero_grad()
        objective(net, net, x, y).total.backward()
        optimiser.step()
        scheduler.step()
    return {name: values for name, _, values in probes.records}


def loss_and_gradient(net: nn.Module, moved: dict[str, torch.Tensor]) -> tuple[float, dict[str, torch.Tensor]]:
    copied = copy.deepcopy(net)
    with torch.no_grad():
        for name, p in copied.named_parameters():
            p += moved.get(name, torch.zeros(()))
    loss = cross_entropy(copied(batch()[0]), batch()[1])
    loss.backward()
    return loss.item(), {name: p.grad for name, p in copied.named_parameters()}


class Walked:
    """How far the points of a random line lie from theta_t."""

    def __init__(self, multiples: tuple[float, ...]) -> None:
        self.needs = tuple(Need("train", Along(multiple, "random"), UpdateNorms()) for multiple in multiples)
        self.fields = {"walked": Field("walked", "parameter", "", "train", "along", dims=("x",), x=multiples)}

    def declare(self, network: Any) -> Declaration:
        return Declaration(self.needs, self.fields)

    def measure(self, at: Any) -> dict[str, torch.Tensor]:
        return {"walked": torch.stack([at[need].norm() for need in self.needs])}


@pytest.mark.parametrize("how", [{"hand_over": True}, {"learning_rate": lambda step: RATES}])
def test_walks_go_by_each_groups_rate(how: dict[str, Any]) -> None:
    net, multiples = network(), (0.5, 1.0, 3.0)
    begun = copy.deepcopy(net)
    both = probed(net, {"l": Landscape(multiples, update=True, random=1), "w": Walked(multiples)}, **how)
    found, walked = both["l"], both["w"]["walked"]
    _, g = loss_and_gradient(begun, {})
    for place, c in enumerate(multiples):
        step = {name: -c * RATES[name] * g[name] for name in g}
        loss, there = loss_and_gradient(begun, step)
        difference = math.sqrt(sum(((there[n] - g[n]) ** 2).sum().item() for n in g))
        distance = math.sqrt(sum((s**2).sum().item() for s in step.values()))
        for suffix in ("", "_along_update"):  # plain descent: the update is the walk of one learning rate
            assert found[f"landscape_loss{suffix}"][place].item() == pytest.approx(loss, rel=1e-12)
            assert found[f"effective_beta{suffix}"][place].item() == pytest.approx(difference / distance, rel=1e-9)
        # a random direction is as long, so its quotient has the same denominator
        random = found["gradient_difference_along_random_0"][place] / found["effective_beta_along_random_0"][place]
        assert random.item() == pytest.approx(distance, rel=1e-9)
        assert walked[place].item() == pytest.approx(distance, rel=1e-9)
    assert found["learning_rate"].item() == 0.3  # of the first group, on entering


def test_one_rate_for_all_is_read_from_the_optimiser_too() -> None:
    net = network()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.2)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimiser, 0.5)
    probes = Probes(net, Objective(cross_entropy), {"l": Landscape((1.0,))}, batch(), optimiser=optimiser, every=1)
    for step in range(3):
        with probes.around(step, batch()):
            optimiser.zero_grad()
            cross_entropy(net(batch()[0]), batch()[1]).backward()
            optimiser.step()
            scheduler.step()
    assert [values["learning_rate"].item() for _, _, values in probes.records] == [0.2, 0.1, 0.05]


def test_wrong_rates_are_refused_in_one_line() -> None:
    with pytest.raises(ProbeError, match=r"^learning_rate: must be given, or an optimiser"):
        Probes(network(), Objective(cross_entropy), {"l": Landscape()}, batch())
    with pytest.raises(ProbeError, match=r"^learning_rate: gives none for the trained parameter '0.bias'"):
        probed(network(), {"l": Landscape()}, learning_rate=lambda step: {"0.weight": 0.1})


# The penalty


class Tied(nn.Module):
    def __init__(self, *, embedded: bool) -> None:
        super().__init__()
        self.first = nn.Embedding(5, 4) if embedded else nn.Linear(4, 5, bias=False)
        self.last = nn.Linear(4, 5, bias=False)
        self.last.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.first(x) if isinstance(self.first, nn.Embedding) else self.first(x)[:, :4]
        return self.last(torch.relu(first))


@pytest.mark.parametrize("embedded", [False, True])
def test_a_shared_weight_is_penalised_once(embedded: bool) -> None:
    net = Tied(embedded=embedded)
    x = torch.arange(5) if embedded else torch.randn(5, 4)
    loss = Objective(cross_entropy, 0.1)(net, net, x, torch.arange(5))
    assert loss.penalty.item() == pytest.approx(0.05 * (net.last.weight**2).sum().item(), rel=1e-6)
    (gradient,) = torch.autograd.grad(loss.penalty, [net.first.weight])
    assert torch.allclose(gradient, 0.1 * net.first.weight)


def test_weights_with_shared_factors_are_penalised_once() -> None:
    one, other = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
    for layer in (one, other):
        nn.utils.parametrizations.weight_norm(layer)
    for name in ("original0", "original1"):
        setattr(other.parametrizations.weight, name, getattr(one.parametrizations.weight, name))
    net = nn.Sequential(one, other)
    loss = Objective(cross_entropy, 0.1)(net, net, torch.randn(3, 4), torch.arange(3))
    assert loss.penalty.item() == pytest.approx(0.05 * (one.weight**2).sum().item(), rel=1e-6)


@pytest.mark.parametrize("usual", [0.0, 0.2])
def test_decays_of_ones_own_reach_every_evaluation(usual: float) -> None:
    decays = {"1.weight": Decay(0.7, 1.5), "3.weight": Decay(0.0), "0.bias": Decay(0.3)}
    objective = Objective(cross_entropy, usual, decays)
    net, (x, y) = network(), batch()
    begun = copy.deepcopy(net)

    def total(n: nn.Module) -> torch.Tensor:
        p = dict(n.named_parameters())
        penalty = 0.35 * ((p["1.weight"] - 1.5) ** 2).sum() + 0.15 * (p["0.bias"] ** 2).sum()
        return cross_entropy(n(x), y) + penalty + usual / 2 * (p["0.weight"] ** 2).sum()

    assert objective(net, net, x, y).total.item() == pytest.approx(total(begun).item(), rel=1e-12)
    chosen = {"i": InternalCovariateShift(), "l": Landscape((1.0,))}
    found = probed(net, chosen, objective=objective, learning_rate=lambda step: RATES)
    before, hybrid = copy.deepcopy(begun), copy.deepcopy(begun)
    with torch.no_grad():
        for name, p in hybrid.named_parameters():
            if not name.startswith("3."):
                p.copy_(dict(net.named_parameters())[name])
    gradients = [torch.autograd.grad(total(n), [n[3].weight])[0] for n in (before, hybrid)]
    assert found["i"]["ics_l2"][-1].item() == pytest.approx((gradients[0] - gradients[1]).norm().item(), rel=1e-9)
    stepped = copy.deepcopy(begun)
    g = dict(zip(RATES, torch.autograd.grad(total(stepped), list(stepped.parameters())), strict=True))
    with torch.no_grad():
        for name, p in stepped.named_parameters():
            p -= RATES[name] * g[name]
    assert found["l"]["landscape_loss"].item() == pytest.approx(total(stepped).item(), rel=1e-12)


def test_a_rate_is_its_share_of_the_learning_rate(tmp_path: Path) -> None:
    (group,) = parameter_groups(network(), [{"match": "gamma", "lr": 0.1}], lr=0.4)
    assert group.factor == 0.25
    usual = ["optim.schedule=step", "optim.milestones=[2]", "optim.lr=0.4", "steps=4"]
    ends = [
        checkpoint(experiments.run(small(tmp_path, *usual, f"optim.groups=[{{match:gamma,lr:{lr}}}]")).path)["network"]
        for lr in ("0.1", "x0.25", "x1")
    ]
    same, other = (all(torch.equal(ends[0][name], end[name]) for name in end) for end in ends[1:])
    assert same
    assert not other


# Wrong input

WRONG: dict[str, tuple[Any, str]] = {
    "no list": ({"match": "gamma"}, "must be a list of groups"),
    "nothing": (
        [{"match": "norm*", "lr": "x2"}],
        "match=norm*: matches no parameter; there are 0.weight, 0.bias, 1.w",
    ),
    "overlap": (
        [{"match": "1.*", "lr": "x2"}, {"match": "gamma", "decay": 0}],
        "groups.1: overlaps with optim.groups.0 in 1.weight",
    ),
    "no rate": ([{"match": "gamma", "lr": -0.1}], "optim.groups.0.lr=-0.1: must be above 0: a factor on optim.lr, for"),
    "no factor": ([{"match": "gamma", "lr": "xx"}], "optim.groups.0.lr=xx: must be above 0: a factor"),
    "negative": ([{"match": "gamma", "decay": -1}], "optim.groups.0.decay=-1: must be a number, at least 0"),
    "misspelt": ([{"match": "gamma", "decai": 1}], "optim.groups.0.decai=1: unknown option; did you mean 'decay'?"),
    "without match": ([{"lr": "x2"}], "optim.groups.0.match: must be given"),
    "without effect": ([{"match": "gamma"}], "optim.groups.0: changes nothing"),
    "all frozen": ([{"match": "*", "train": False}], "optim.groups: freeze every parameter"),
    "frozen decay": ([{"match": "gamma", "train": False, "decay": 1}], "optim.groups.0.train=false: what is frozen"),
    "towards": ([{"match": "gamma", "decay_towards": 1, "lr": "x2"}], "optim.groups.0.decay_towards=1: needs a decay"),
    "nothing left": ([{"match": "gamma", "except": "1.*", "lr": "x2"}], "optim.groups.0.except=1.*: leaves nothing"),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_one_line(case: str) -> None:
    described, line = WRONG[case]
    with pytest.raises(WrongInput) as caught:
        parameter_groups(network(), described, lr=0.2)
    assert line in str(caught.value)


def test_a_pattern_that_matches_nothing_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for groups in ("[{match: beta, decay: 0.1}]", "[{match: '*.gama', lr: x2}]"):
        monkeypatch.setattr("sys.argv", ["experiments", "model=mlp", "optim=adamw", f"optim.groups={groups}"])
        assert main() == 2
        error = capsys.readouterr().err
        assert error.startswith("error: optim.groups")
        assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("groups", "line"),
    [
        ("[{match: 'fc*', train: false}]", "optim.groups: freeze every parameter; nothing would be trained"),
        (
            "[{match: 'head*', lr: x10}]",
            "optim.groups.0.match=head*: matches only what is not trained: head.layer.bias,",
        ),
        (
            "[{match: 'head*', train: false}]",
            "optim.groups.0.match=head*: matches only what is not trained: head.layer.bias,",
        ),
    ],
)
def test_what_the_model_fixes_is_no_group_and_not_left_to_train(
    groups: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*MLP, "norm=none", "model.fixed_output=10", f"optim.groups={groups}"]
    assert line in refusal(given, tmp_path, monkeypatch, capsys)


def test_the_number_that_skipinit_and_dyt_learn_is_of_a_kind_of_its_own() -> None:
    options = {"name": "residual_mlp", "width": 8, "blocks": 1, "branch": "skipinit"}
    net = build_model(options, {"name": "dyt"}, DataSpec((4,), 3, "classification"), 0)
    alphas = {name for name, _ in net.named_parameters() if name.endswith("alpha")}
    assert len(alphas) >= 2
    (group,) = parameter_groups(net, [{"match": "alpha", "lr": "x2"}])
    assert group.names == alphas
    others = parameter_groups(net, [{"match": ["biases", "beta", "weights", "gamma"], "lr": "x2"}])[0].names
    assert others == {name for name, _ in net.named_parameters()} - alphas


def test_what_a_pattern_means() -> None:
    net = network()
    names = {
        kind: sorted(parameter_groups(net, [{"match": kind, "lr": "x2"}])[0].names)
        for kind in ("weights", "biases", "gamma", "beta")
    }
    assert names == {
        "weights": ["0.weight", "3.weight"],
        "biases": ["0.bias", "3.bias"],
        "gamma": ["1.weight"],
        "beta": ["1.bias"],
    }
    (only,) = parameter_groups(net, [{"match": "*", "except": ["gamma", "beta"], "train": False}])
    assert only.names == {"0.weight", "0.bias", "3.weight", "3.bias"}
    (tied,) = parameter_groups(Tied(embedded=False), [{"match": "last.*", "lr": "x2"}])
    assert tied.names == {"first.weight", "last.weight"}


def test_effective_rates_and_sharpness_go_by_the_rates_of_their_parameters():
    """Where parameters that are looked at together have several rates, there is no such number: NaN."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    batch = (torch.randn(8, 5), torch.randint(3, (8,)))
    optimiser = torch.optim.SGD([{"params": network[0].parameters(), "lr": 0.5}, {"params": network[2].weight}], lr=0.1)
    probes = {"d": Dynamics(), "first": Spectrum(largest=1, parameters=("0.*",)), "all": Spectrum(largest=1)}
    probes["last"] = Spectrum(largest=1, parameters=("2.weight",))
    engine = Probes(network, Objective(cross_entropy), probes, batch, optimiser=optimiser, every=1)
    sizes = [float(network[i].weight.detach().double().square().sum()) for i in (0, 2)]
    with engine.around(0, batch) as forward:
        cross_entropy(forward(batch[0]), batch[1]).backward()
        optimiser.step()
    found = {name: values for name, _, values in engine.records}
    assert found["d"]["effective_rate"].tolist() == pytest.approx([0.5 / sizes[0], 0.1 / sizes[1]])
    for name, rate in (("first", 0.5), ("last", 0.1)):
        sharpness = float(found[name]["largest_eigenvalues"][0])
        assert float(found[name]["sharpness_times_rate"]) == pytest.approx(rate * sharpness)
    assert math.isnan(float(found["all"]["sharpness_times_rate"]))
    assert not math.isnan(float(found["all"]["largest_eigenvalues"][0]))
