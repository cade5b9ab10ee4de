"""What evaluations cannot follow is refused in one line, and what a researcher's step may do is right or refused."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from probes import (
    Before,
    Declaration,
    Field,
    Gradients,
    InternalCovariateShift,
    Landscape,
    Need,
    Objective,
    ProbeError,
    Probes,
    Theory,
)
from probes.reductions import GradientNorms, LossParts, Reduction
from tests.made_networks import Scaled, Skips, sequential

CROSS_ENTROPY = nn.functional.cross_entropy
STATE = {"scale": 1.0, "calls": 0}
DEEP = lambda: sequential(nn.ReLU(), nn.Linear(6, 6), nn.Tanh())  # noqa: E731


def batch(seed=0):
    drawn = torch.Generator().manual_seed(seed)
    return torch.randn(12, 6, generator=drawn), torch.randint(3, (12,), generator=drawn)


def build(network, probes=None, loss=CROSS_ENTROPY, **options):
    options = {"learning_rate": 0.1, "every": 1, **options}
    return Probes(network, Objective(loss), probes or {"l": Landscape()}, batch(), **options)


def step(network, probes, train=None, loss=CROSS_ENTROPY, t=0):
    """One step of plain gradient descent with probes around it."""
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    with probes.around(t, batch()) as forward:
        optimiser.zero_grad()
        if train is None:
            loss(forward(batch()[0]), batch()[1]).backward()
        else:
            train(forward)
        optimiser.step()
    return probes


def refused(match, network, train=None, before=lambda n: None, **options):
    probes = build(network, **options)
    before(network)
    with pytest.raises(ProbeError, match=match) as caught:
        step(network, probes, train)
    assert "\n" not in str(caught.value)


# ---- what the guard sees


class OfAGlobal(nn.Module):
    def forward(self, x):
        return STATE["scale"] * x


class OfAFile(nn.Module):
    def __init__(self, path):
        super().__init__()
        self.path = path

    def forward(self, x):
        return float(self.path.read_text()) * x


@pytest.mark.parametrize("part", [lambda: OfAGlobal(), lambda: nn.Sequential(OfAGlobal(), nn.Tanh())])
@pytest.mark.parametrize("reuse", [False, True])
def test_a_value_in_a_global_that_the_step_changes_is_refused(part, reuse):
    STATE["scale"] = 1.0

    def train(forward):
        CROSS_ENTROPY(forward(batch()[0]), batch()[1]).backward()
        STATE["scale"] = 2.0

    if reuse:  # the leaf is compared while training runs it: only what changes in between is left
        network = sequential(part())
        probes = build(network, reuse_training_pass=True)
        assert step(network, probes).records
    else:
        refused("computed again at theta_t: the outputs differ by .* a global", sequential(part()), train)


def test_a_value_in_a_file_that_the_step_changes_is_refused(tmp_path):
    (tmp_path / "scale").write_text("1.0")

    def train(forward):
        CROSS_ENTROPY(forward(batch()[0]), batch()[1]).backward()
        (tmp_path / "scale").write_text("0.5")

    refused("outputs differ", sequential(OfAFile(tmp_path / "scale")), train)


class Counts(nn.Module):
    """Another factor at every call, from a global."""

    def forward(self, x):
        STATE["calls"] += 1
        return x * (1.0 if STATE["calls"] < 60 else 2.0)


def test_a_leaf_of_a_reused_pass_that_computes_something_else_again_is_named():
    STATE["calls"] = 0
    network = sequential(Counts())
    probes = build(network, reuse_training_pass=True)
    STATE["calls"] = 58
    with pytest.raises(ProbeError, match="leaf '1': what it computed in training is not what it computes again"):
        step(network, probes)


@pytest.mark.parametrize("make", [DEEP, Skips])
def test_a_hook_that_changes_the_output_is_refused_by_name(make):
    def doubles(module, args, output):
        return 2 * output

    network = make()
    next(m for m in network.modules() if isinstance(m, nn.Linear)).register_forward_hook(doubles)
    refused("the forward hook doubles of '(0|first)', which evaluations do not call", network)


@pytest.mark.parametrize("make", [DEEP, lambda: Skips(lambda: 1.0)])
@pytest.mark.parametrize("reuse", [False, True])
def test_the_users_own_hooks_are_called_by_training_alone(make, reuse):
    seen = []
    network = make()
    for module in network.modules():
        module.register_forward_hook(lambda *_: seen.append("forward"))
        module.register_forward_pre_hook(lambda *_: seen.append("before"))
    plain = len([network(batch()[0]), *seen]) - 1
    handle = nn.modules.module.register_module_forward_hook(lambda *_: seen.append("all"))
    seen.clear()
    probes = build(network, reuse_training_pass=reuse)
    assert seen == []
    handle.remove()
    step(network, probes)
    assert len(seen) == plain


def test_torchs_own_hooks_are_part_of_the_network():
    network = DEEP()
    prune.random_unstructured(network[2], "weight", 0.5)
    nn.utils.spectral_norm(network[0])
    probes = build(network)
    losses = []
    for t in range(2):
        step(
            network,
            probes,
            lambda f: losses.append(CROSS_ENTROPY(f(batch()[0]), batch()[1])) or losses[-1].backward(),
            t=t,
        )
    assert [v["loss_before"].item() for _, _, v in probes.records] == pytest.approx([x.item() for x in losses])


# ---- what reads the network that is trained


def test_a_loss_that_names_the_live_network_is_refused_or_right():
    network = DEEP()

    def of_a_closure(net):
        return lambda o, t: CROSS_ENTROPY(o, t) + 0.1 * sum(p.square().sum() for p in net.parameters())

    loss = of_a_closure(network)
    probes = build(network, {"l": Landscape(), "g": Gradients()}, loss)
    before = [p.detach().clone() for p in network.parameters()]
    step(network, probes, loss=loss)
    values = {name: v for name, _, v in probes.records}
    data = CROSS_ENTROPY(network(batch()[0]), batch()[1]) + 0.1 * sum(p.square().sum() for p in network.parameters())
    after = [p.detach() for p in network.parameters()]
    distance = math.sqrt(sum((a - b).double().square().sum().item() for a, b in zip(after, before, strict=True)))
    lipschitz = abs(data.item() - values["l"]["loss_before"].item()) / distance
    assert values["g"]["lipschitz"].item() == pytest.approx(lipschitz, rel=1e-4)

    globals()["LIVE"] = network
    named = lambda o, t: CROSS_ENTROPY(o, t) + LIVE[0].weight.square().sum()  # noqa: E731, F821
    with pytest.raises(ProbeError, match=r"still reads '0.weight' of the network that is trained"):
        build(network, loss=named)


class ReadsLive(nn.Module):
    def forward(self, x):
        return x * globals()["LIVE"][0].bias.mean()


def test_a_part_that_names_the_live_network_is_refused():
    network = sequential(ReadsLive())
    globals()["LIVE"] = network
    with pytest.raises(ProbeError, match=r"still reads '0.bias'"):
        build(network)


# ---- the step


def test_a_step_that_runs_the_network_on_other_inputs_is_refused():
    for train in (
        lambda f: CROSS_ENTROPY(f(batch()[0] + 1), batch()[1]).backward(),
        lambda f: [CROSS_ENTROPY(f(x), y).backward() for x, y in zip(*(b.split(6) for b in batch()), strict=True)],
    ):
        refused("never on the inputs of its batch", DEEP(), train)


def test_a_step_that_looks_at_other_inputs_too_is_right():
    network, losses = sequential(nn.Dropout(0.5), nn.ReLU()), []

    def train(forward):
        with torch.no_grad():
            network(batch()[0])
        forward(torch.randn(4, 6))
        losses.append(CROSS_ENTROPY(forward(batch()[0]), batch()[1]))
        losses[0].backward()

    probes = step(network, build(network), train)
    assert probes.records[0][2]["loss_before"].item() == losses[0].item()


def test_a_step_without_an_update_is_refused_where_the_update_is_asked_for():
    def no_update(network, **options):
        probes = build(network, **options)
        with probes.around(0, batch()) as forward:
            CROSS_ENTROPY(forward(batch()[0]), batch()[1]).backward()
        return probes

    for probe in (Gradients(), InternalCovariateShift(), Landscape(update=True)):
        for network in (DEEP(), Skips(lambda: 1.0)):
            with pytest.raises(ProbeError, match="no parameter moved within the block"):
                no_update(network, probes={"p": probe})
    assert no_update(DEEP(), probes={"p": Landscape()}).records
    values = no_update(DEEP(), probes={"p": Gradients()}, learning_rate=0.0).records[0][2]  # of a warm-up
    assert values["update_norm"] == 0
    values = no_update(DEEP(), probes={"p": Gradients()}, learning_rate=1e-30).records[0][2]  # below all rounding
    assert values["update_norm"] == 0
    assert bool((values["gradient_norm"] > 0).all())


def test_the_learning_rate_is_that_of_the_blocks_begin():
    network, rate = DEEP(), [0.5]
    probes = build(network, learning_rate=lambda step: rate[0])
    step(network, probes, lambda f: (CROSS_ENTROPY(f(batch()[0]), batch()[1]).backward(), rate.__setitem__(0, 0.1)))
    assert probes.records[0][2]["learning_rate"] == 0.5


REUSED = {
    "had a gradient before the backward pass": lambda f: (
        CROSS_ENTROPY(f(batch()[0]), batch()[1]).backward(), None
    ),
    "descends another loss": lambda f: (1024 * CROSS_ENTROPY(f(batch()[0]), batch()[1])).backward(),
    r"descends another loss.*": lambda f: CROSS_ENTROPY(f(batch()[0]), batch()[1], label_smoothing=0.2).backward(),
}  # fmt: skip


@pytest.mark.parametrize("message", list(REUSED))
@pytest.mark.parametrize("network", [DEEP, lambda: sequential(Scaled(2.0))])
def test_a_gradient_that_is_not_the_objectives_is_noticed(network, message):
    network = network()
    if "before" in message:
        for p in network.parameters():
            p.grad = torch.ones_like(p)
    probes = build(network, reuse_training_pass=True)
    with pytest.raises(ProbeError, match=message), probes.around(0, batch()) as forward:
        REUSED[message](forward)


def test_a_reused_pass_under_autocast_or_with_hooked_parameters_is_refused():
    def under_autocast(forward):
        with torch.autocast("cpu", torch.bfloat16):
            forward(batch()[0])

    refused("training runs under autocast", DEEP(), under_autocast, reuse_training_pass=True)
    clip = lambda n: n[0].weight.register_hook(lambda g: g.clamp(-1e-3, 1e-3))  # noqa: E731
    refused("a hook on '0.weight' may change its gradient", DEEP(), before=clip, reuse_training_pass=True)


@pytest.mark.parametrize("network", [DEEP, lambda: Skips(lambda: 1.0)])
def test_a_pass_under_autocast_is_compared_to_its_rounding(network):
    network = network()
    probes = build(network)

    def train(forward):
        with torch.autocast("cpu", torch.bfloat16):
            loss = CROSS_ENTROPY(forward(batch()[0]), batch()[1])
        loss.backward()

    full = CROSS_ENTROPY(network(batch()[0]), batch()[1]).item()
    step(network, probes, train)
    assert probes.records[0][2]["loss_before"].item() == pytest.approx(full, rel=1e-6)
    assert "autocast off" in probes.describe()


def test_other_modules_or_hooks_than_when_built_are_refused():
    refused("other modules", DEEP(), before=lambda n: n.__setitem__(1, nn.Sigmoid()))
    refused(
        "was hooked since", DEEP(), before=lambda n: n.register_forward_hook(lambda *_: None), reuse_training_pass=True
    )


# ---- what is given to Probes


class Alone(Reduction):
    def shape(self, view, names, samples):
        return ()

    def join(self, asked):
        pass


class Asks:
    def __init__(self, *needs, step_before=(), measure=lambda at: {}, fields=None):
        self.declaration = Declaration(tuple(needs), fields or {}, step_before=tuple(step_before))
        self.measured = measure

    def declare(self, network):
        return self.declaration

    def measure(self, at):
        return self.measured(at)


GIVEN = {
    r"objective cross_entropy: must be an Objective: Objective\(cross_entropy\)": lambda: Probes(
        DEEP(), CROSS_ENTROPY, {}, batch(), learning_rate=0.1
    ),
    r"probe l: is the class Landscape; give an instance: Landscape\(\)": lambda: build(DEEP(), {"l": Landscape}),
    r"probe l: int has no declare": lambda: build(DEEP(), {"l": 3}),
    r"probe u: reduction Alone: nothing answers": lambda: build(DEEP(), {"u": Asks(Need("train", Before(), Alone()))}),
    r"probe u: reduction LossParts: nothing answers it.*instance": lambda: build(
        DEEP(), {"u": Asks(Need("train", Before(), LossParts))}
    ),
    r"the loss gives a tensor of shape \(12,\)": lambda: build(
        DEEP(), loss=lambda o, t: CROSS_ENTROPY(o, t, reduction="none")
    ),
    r"the loss gives tuple": lambda: build(DEEP(), loss=lambda o, t: (CROSS_ENTROPY(o, t), {})),
    r"network \w*ScriptModule: a scripted module": lambda: build(torch.jit.script(DEEP())),
    r"batch dict of x, y": lambda: Probes(
        DEEP(), Objective(CROSS_ENTROPY), {}, {"x": 1, "y": 2}, learning_rate=0.1
    ),
    r"batch: its inputs hold no tensor": lambda: Probes(
        DEEP(), Objective(CROSS_ENTROPY), {}, ([1.0], [2]), learning_rate=0.1
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
@pytest.mark.parametrize("message", list(GIVEN))
def test_what_cannot_be_measured_is_one_line(message):
    with pytest.raises(ProbeError, match=message) as caught:
        GIVEN[message]()
    assert "\n" not in str(caught.value)


def test_theory_without_batch_normalisation_says_so():
    assert "t: no layer has a batch normalisation" in build(DEEP(), {"t": Theory()}).describe()


@pytest.mark.parametrize("every", [1, 3])
def test_a_probe_is_told_of_the_training_step_before(every):
    need = Need("train", Before(), GradientNorms())
    network = DEEP()
    fields = {k: Field(k, "1", "", dims=("u",), shape=(6,)) for k in ("now", "before")}
    probe = Asks(need, step_before=[need], fields=fields,
                 measure=lambda at: {"now": at[need], "before": at.step_before(need)})  # fmt: skip
    probes, norms = build(network, {"u": probe}, every=every), {}
    for t in range(7):
        step(network, probes, t=t)
        norms[t] = torch.stack([p.grad.double().norm() for p in network.parameters()])
        if t == 2:
            resumed = build(network, {"u": probe}, every=every)
            resumed.load_state_dict(probes.state_dict())
            resumed.records, probes = probes.records, resumed
    assert [t for _, t, _ in probes.records] == list(range(0, 7, every))
    for _, t, values in probes.records:
        torch.testing.assert_close(values["now"], norms[t], rtol=1e-5, atol=1e-8)
        if t:
            torch.testing.assert_close(values["before"], norms[t - 1], rtol=1e-5, atol=1e-8)
        else:
            assert values["before"].isnan().all()
    assert probes.share_of_training() == pytest.approx((1.0, 1.0) if every == 1 else (2 / 3, 2 / 3))
