"""Every parameter has one place in the order, which comes from the flow of data; units are those of the layer."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from probes import Activations, Gradients, InternalCovariateShift, Objective, ProbeError
from probes.engine.flow import Recorder
from tests import slow_twins as twin
from tests.test_probes import CROSS_ENTROPY, build, sgd, train_step
from tests.test_probes_values import one_step


class Net(nn.Module):
    """A forward written out over modules and bare parameters."""

    def __init__(self, forward, **members):
        super().__init__()
        for name, member in members.items():
            setattr(self, name, member)
        self.written = forward

    def forward(self, x):
        return self.written(self, x)


class Branches(nn.Module):
    """A leaf that returns a dict, made with bare parameters."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(4, 5)), nn.Parameter(torch.randn(4, 5))

    def forward(self, x):
        return {"a": torch.tanh(x @ self.a), "b": x @ self.b}


class Doubled(torch.autograd.Function):
    """Goes through numpy, where torch does not look."""

    @staticmethod
    def forward(context, x):
        return torch.from_numpy(2 * x.detach().numpy())

    @staticmethod
    def backward(context, gradient):
        return 2 * gradient


def parameter(*shape):
    return nn.Parameter(torch.randn(*shape))


def unrolled(self, x):
    h = torch.zeros(len(x), 5, dtype=x.dtype)
    for t in range(x.shape[1]):
        h = self.norm(self.cell(x[:, t], h))
    return self.head(h)


def into_slices(self, x):
    out = torch.zeros(len(x), x.shape[1], 8, dtype=x.dtype)
    out[..., :4], out[..., 4:] = self.a(x), self.b(x)
    return self.head(out.tanh().mean(1))


def attend(self, x):
    q, k, v = functional.linear(x, self.qkv.weight, self.qkv.bias).chunk(3, -1)
    return self.head(functional.scaled_dot_product_attention(q, k, v).mean(1))


def head(width=5):
    return nn.Linear(width, 3)


PLACES = {
    "lstm": lambda: Net(lambda s, x: s.head(s.rnn(x)[0][:, -1]), rnn=nn.LSTM(4, 5, batch_first=True), head=head()),
    "gru's state": lambda: Net(lambda s, x: s.head(s.rnn(x)[1][0]), rnn=nn.GRU(4, 5, batch_first=True), head=head()),
    "attention": lambda: Net(
        lambda s, x: s.head(s.a(x, x, x)[0].mean(1)), a=nn.MultiheadAttention(4, 2, batch_first=True), head=head(4)
    ),
    "dict": lambda: Net(
        lambda s, x: (lambda o: s.head((o["a"] * o["b"]).mean(1)))(s.branches(x)), branches=Branches(), head=head()
    ),
    "unrolled cell": lambda: Net(unrolled, cell=nn.GRUCell(4, 5), norm=nn.LayerNorm(5), head=head()),
    "bare scale": lambda: Net(
        lambda s, x: s.head(torch.tanh(s.a(x) * s.scale).mean(1)), a=nn.Linear(4, 5), scale=parameter(5), head=head()
    ),
    "bare weight": lambda: Net(
        lambda s, x: s.head(torch.tanh(x @ functional.normalize(s.w) + s.b).mean(1)),
        w=parameter(4, 5), b=parameter(5), head=head(),
    ),
    "lists of parameters": lambda: Net(
        lambda s, x: s.head((x @ s.ps[0] @ s.ps[1] * s.pd["scale"]).mean(1)),
        ps=nn.ParameterList([parameter(4, 6), parameter(6, 5)]), pd=nn.ParameterDict({"scale": parameter(5)}),
        head=head(),
    ),
    "fused projections": lambda: Net(attend, qkv=nn.Linear(4, 12), head=head(4)),
    "convolution by its weight": lambda: Net(
        lambda s, x: s.head(functional.conv1d(x.transpose(1, 2), s.c.weight, s.c.bias).relu().mean(2)),
        c=nn.Conv1d(4, 5, 3), head=head(),
    ),
    "wrapped": lambda: nn.DataParallel(
        Net(lambda s, x: s.head(s.a(x).relu().mean(1)), a=nn.Linear(4, 5), head=head())
    ),
    "wrapped inside": lambda: Net(
        lambda s, x: s.head(s.body(x).mean(1)), body=nn.DataParallel(nn.Sequential(nn.Linear(4, 5), nn.Tanh())),
        head=head(),
    ),
    "checkpointed": lambda: Net(
        lambda s, x: s.head(checkpoint(s.body, x, use_reentrant=False).mean(1)),
        body=nn.Sequential(nn.Linear(4, 5), nn.Tanh()), head=head(),
    ),
    "through numpy": lambda: Net(
        lambda s, x: s.head(Doubled.apply(s.a(x)).tanh().mean(1)), a=nn.Linear(4, 5), head=head()
    ),
    "into slices": lambda: Net(into_slices, a=nn.Linear(4, 4), b=nn.Linear(4, 4), head=head(8)),
    "a block three times": lambda: Net(
        lambda s, x: s.head(s.block(s.block(s.block(x))).mean(1)),
        block=nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.ReLU()), head=head(4),
    ),
}  # fmt: skip


def tokens(length=6):
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(8, length, 4, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(3, (8,), generator=generator)


@pytest.mark.parametrize("name", PLACES)
def test_whatever_precedes_the_head_moves_wherever_its_parameters_are(name):
    torch.manual_seed(0)
    network, batch = PLACES[name]().double(), tokens()
    last = "module.head" if name == "wrapped" else "head"
    before = twin.Snapshot(network, Objective(CROSS_ENTROPY), 7, 0)
    probes = {"ics": InternalCovariateShift(), "gradients": Gradients()}
    engine, values = one_step(network, probes, lr=0.5, batch=batch, objective=Objective(CROSS_ENTROPY))
    gradients = before.run(batch)[2]
    moved = {n: p.detach() for n, p in network.named_parameters() if not n.startswith(f"{last}.")}
    expected = twin.length([before.run(batch, moved)[2][f"{last}.weight"] - gradients[f"{last}.weight"]])
    place = engine.fields()["ics"]["ics_l2"]["layer"].index(last)
    assert expected > 1e-4
    assert values["ics"]["ics_l2"][place].item() == pytest.approx(expected, rel=1e-9)
    owned = [name for layer in engine.view.layers for name in layer.weights]
    assert sorted(owned) == sorted(n for n, p in network.named_parameters() if p.ndim >= 2)  # each once
    for layer, found in zip(engine.view.layers, values["gradients"]["gradient_norm"], strict=True):
        if layer.weights:
            assert found.item() == pytest.approx(twin.length([gradients[n] for n in layer.weights]), rel=1e-9)


def test_describe_says_what_is_not_seen():
    network = Net(
        lambda s, x: s.head(s.rnn(x * s.scale)[0].mean(1)) if x.sum() < torch.inf else x,
        scale=parameter(4), rnn=nn.LSTM(4, 5, batch_first=True), head=head(), spare=nn.Linear(2, 2),
    ).double()  # fmt: skip
    printed = build(network, None, {"ics": InternalCovariateShift()}, example=tokens()).describe()
    assert "outputs that cannot be read, as functions use the weights: scale\n" in printed
    assert "several weights, one layer (no row of ics): rnn" in printed
    assert "trained, but not used by forward: spare.weight, spare.bias" in printed


def tied(forward, **members):
    network = Net(forward, **members)
    network.b.weight = network.a.weight
    return network


def test_tied_weights_are_refused_where_others_are_trained_between():
    ends = tied(
        lambda s, x: s.head(s.b(s.m(s.a(x)).relu()).mean(1)),
        a=nn.Linear(4, 4), m=nn.Linear(4, 4), b=nn.Linear(4, 4), head=head(4),
    )  # fmt: skip
    language = Net(
        lambda s, x: functional.linear(s.m(s.e(x)).tanh().mean(1), s.e.weight), e=nn.Embedding(9, 5), m=nn.Linear(5, 5)
    )
    ids = torch.randint(9, (8, 6)), torch.randint(9, (8,))
    for network, batch, names in ((ends, tokens(), "'a.weight' is used in several"), (language, ids, "'e.weight' is")):
        with pytest.raises(ProbeError, match=f"probe ics: layer .* has no one place in the order: {names}"):
            build(network.double(), None, {"ics": InternalCovariateShift()}, example=batch)
        engine, values = one_step(network.double(), {"g": Gradients()}, batch=batch)
        norms = dict(zip(engine.fields()["g"]["weight_norm"]["layer"], values["g"]["weight_norm"], strict=True))
        assert len(set(norms)) == len(engine.view.layers)
    ends_probe = {"ics": InternalCovariateShift(layers=("head",))}  # all of what is tied precedes it
    one_step(ends, ends_probe, batch=tokens())


def test_the_penalty_counts_a_tied_weight_once():
    plain = nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 5))
    plain[2].weight = plain[0].weight
    factors = nn.Sequential(*(nn.utils.parametrizations.weight_norm(nn.Linear(5, 5)) for _ in range(2)))
    factors[1].parametrizations.weight = factors[0].parametrizations.weight
    for network in (plain, factors):
        loss = Objective(CROSS_ENTROPY, 0.1)(network, network, torch.randn(4, 5), torch.randint(5, (4,)))
        assert loss.penalty.item() == pytest.approx(0.05 * float(network[0].weight.detach().square().sum()))


def test_tied_weights_side_by_side_have_one_place():
    torch.manual_seed(0)
    network = tied(
        lambda s, x: s.head((s.a(x) + s.b(x.flip(2))).tanh().mean(1)),
        a=nn.Linear(4, 5), b=nn.Linear(4, 5), head=head(),
    ).double()  # fmt: skip
    before, batch = twin.Snapshot(network, Objective(CROSS_ENTROPY), 7, 0), tokens()
    size = network.a.weight.detach().norm()
    probes = {"ics": InternalCovariateShift(), "g": Gradients()}
    engine, values = one_step(network, probes, lr=0.5, batch=batch, objective=Objective(CROSS_ENTROPY))
    assert engine.fields()["g"]["weight_norm"]["layer"] == ["a", "b", "head"]
    torch.testing.assert_close(values["g"]["weight_norm"][:2], size.expand(2))
    after = {n: p.detach() for n, p in network.named_parameters()}
    moved = {n: after[n] for n in ("a.weight", "a.bias", "b.bias")} | {"b.weight": after["a.weight"]}
    difference = before.run(batch, moved)[2]["head.weight"] - before.run(batch)[2]["head.weight"]
    assert values["ics"]["ics_l2"].tolist() == pytest.approx([0, 0, twin.length([difference])], rel=1e-9)


# ---- order


class Block(nn.Module):
    """A residual block; its shortcut is called first or last."""

    def __init__(self, first):
        super().__init__()
        self.first = first
        self.c1, self.b1 = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.c2, self.b2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.short, self.b = nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        early = self.b(self.short(x)) if self.first else None
        y = self.b2(self.c2(self.relu(self.b1(self.c1(x)))))
        y += self.b(self.short(x)) if early is None else early
        return self.relu(y)


@pytest.mark.parametrize("ordered", [True, False])
def test_the_order_of_calls_says_nothing_and_the_last_relu_belongs_to_the_sum(ordered):
    found = []
    for first in (True, False):
        torch.manual_seed(0)
        body = nn.Sequential(nn.Conv2d(2, 2, 1), Block(first), nn.Flatten(), nn.Linear(144, 3)).double()
        network = body if ordered else twin.Unordered(body)
        batch = twin.image_batch()
        probes = {"ics": InternalCovariateShift(), "a": Activations(batches=("train",))}
        engine, values = one_step(network, probes, batch=(batch[0].double(), batch[1]))
        assert engine.view.ordered == ordered
        layers = {layer.name.removeprefix("inner."): layer for layer in engine.view.layers}
        assert [x.removeprefix("inner.") for x in engine.fields()["a"]["dead.train"]["layer"]] == ["1.c1"]
        assert {n: x.normalisation for n, x in layers.items() if x.normalisation} == {
            n: x.name.replace("short", "b").replace("c", "b") for n, x in layers.items() if n.startswith("1.")
        }
        places = engine.fields()["ics"]["ics_l2"]["layer"]
        found.append({name: value.item() for name, value in zip(places, values["ics"]["ics_l2"], strict=True)})
    assert found[0] == pytest.approx(found[1], rel=1e-12)


def test_a_normalisation_belongs_to_what_it_feeds_where_the_two_stand_in_one_block():
    def normalised(*parts):
        layers = build(nn.Sequential(*parts, nn.Flatten(), nn.Linear(64, 3)), None, {}).view.layers
        return [(layer.name, layer.normalisation, layer.activation) for layer in layers]

    first, batch, relu, second = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1)
    head = ("5", None, None)
    assert normalised(first, batch, relu, second) == [("0", "1", "2"), ("3", None, None), head]
    assert normalised(first, nn.Sequential(batch, relu, second))[:2] == [("0", None, None), ("1.2", "1.0", "1.1")]
    entering = nn.BatchNorm2d(2)  # of the data: the convolution feeds one of its own, so it is a layer by itself
    assert normalised(entering, first, batch, relu)[:2] == [("0", "0", None), ("1", "2", "3")]


@pytest.mark.parametrize("wrap", [lambda network: network, twin.Unordered])
def test_what_precedes_a_layer_is_what_its_input_is_computed_from(wrap):
    def preceding(forward, layer, **members):
        network = Net(forward, **members).double()
        prefix = "inner." if wrap is twin.Unordered else ""
        view = build(wrap(network), None, {}, example=tokens()).view
        return {name.removeprefix(prefix) for name in view.layer(prefix + layer).preceding}

    def computed(s, x):
        return s.head((s.a(x) @ functional.normalize(s.w)).mean(1))

    members = {"a": nn.Linear(4, 5), "w": parameter(5, 5), "head": head()}
    assert preceding(computed, "w", **members) == {"a.weight", "a.bias"}  # where it meets the data
    assert preceding(computed, "head", **members) == {"a.weight", "a.bias", "w"}

    def shared(s, x):
        y, z = s.b(s.c1(x.transpose(1, 2))), s.b(s.c2(x.transpose(1, 2)))
        return s.head((y + s.c3(z)).mean(2))

    members = {f"c{i}": nn.Conv1d(4 if i < 3 else 5, 5, 1, bias=False) for i in (1, 2, 3)}
    members |= {"b": nn.BatchNorm1d(5, affine=False), "head": head()}
    assert preceding(shared, "c3", **members) == {"c2.weight"}  # not through the statistics that the first call moved


@pytest.mark.parametrize("wrap", [lambda network: network, twin.Unordered])
def test_a_normalisation_sees_units_along_its_own_axis(wrap):
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(4, 7), nn.BatchNorm1d(6), nn.ReLU(), nn.Flatten(), nn.Linear(42, 3)).double()
    before, batch = copy.deepcopy(body), tokens()
    engine, values = one_step(wrap(body), {"a": Activations(batches=("train",))}, batch=batch)
    name = engine.view.layers[0].name
    found = values["a"][f"unit_mean_before_normalisation.train.{name}"]
    torch.testing.assert_close(found, before[0](batch[0]).mean((0, 2)))  # the six tokens are its channels


class Columns(nn.Module):
    """S W x of samples that stand as rows or as columns, S diagonal; its units are the rows of the product."""

    def __init__(self, inputs, outputs, back):
        super().__init__()
        self.weight, self.scale, self.back = parameter(outputs, inputs), parameter(outputs, 1), back

    def forward(self, x):
        product = (self.scale * self.weight) @ x.t()
        return product.t() if self.back else product


@pytest.mark.parametrize("chosen", ["squeeze", "select"])
@pytest.mark.parametrize("wrap", [lambda network: network, twin.Unordered])
def test_units_of_a_weight_times_columns_are_its_rows(wrap, chosen):
    """Whether the layer turns its output round itself or leaves it to what follows."""
    torch.manual_seed(0)

    def forward(s, x):
        y = s.b(s.first(x).t()[None])  # (1, units, samples): the samples stand where pixels do
        return s.head(s.second((y.squeeze(0) if chosen == "squeeze" else y[0]).t()).t())

    members = {"first": Columns(4, 5, True), "b": nn.BatchNorm1d(5), "second": Columns(5, 6, False)}
    network = Net(forward, **members, head=nn.Linear(6, 3)).double()
    before = copy.deepcopy(network)
    x, y = torch.randn(7, 4, dtype=torch.float64), torch.arange(7) % 3
    _, values = one_step(wrap(network), {"a": Activations(batches=("train",))}, batch=(x, y))
    wrapped = "inner." if wrap is twin.Unordered else ""
    first = before.first(x)
    second = before.second(before.b(first.t()[None])[0].t())
    found = values["a"]
    for layer, expected in {"first": first.mean(0), "second": second.mean(1)}.items():
        torch.testing.assert_close(found[f"unit_mean_before_normalisation.train.{wrapped}{layer}"], expected)


def test_a_constant_matrix_on_the_left_of_the_samples_makes_no_units():
    """It mixes samples: units stay the layer's, the last axis."""
    torch.manual_seed(0)
    network = Net(
        lambda s, x: s.head(s.b((torch.eye(len(x)).double() + 0.1) @ s.a(x)).relu()),
        a=nn.Linear(4, 5), b=nn.BatchNorm1d(5), head=nn.Linear(5, 3),
    ).double()  # fmt: skip
    x = torch.randn(7, 4, dtype=torch.float64)
    recorder = Recorder(network, (x,))
    with recorder:
        network(x)
    shapes = [(node.shape, node.axis) for node in recorder.nodes if node.shape == (7, 5)]
    assert shapes
    assert {axis % 2 for _, axis in shapes if axis is not None} == {1}


def test_values_that_only_have_a_tensors_shape_are_not_computed_from_it():
    network = Net(
        lambda s, x: s.head(s.b(s.c(x.transpose(1, 2)) + torch.zeros_like(x[:, :1, :1])).relu().mean(2)),
        c=nn.Conv1d(4, 5, 1), b=nn.BatchNorm1d(5), head=head(),
    ).double()  # fmt: skip
    assert build(twin.Unordered(network), None, {}, example=tokens()).view.layers[0].normalisation == "inner.b"


def test_a_residual_block_is_one_link_of_the_chain():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 2, 1), Block(True), nn.Conv2d(4, 2, 1), nn.Flatten(), nn.Linear(72, 3))
    numbers = {}
    for wrap in (lambda n: n, twin.Unordered):
        probe = {"ics": InternalCovariateShift()}
        batch = twin.image_batch()
        engine, values = one_step(wrap(copy.deepcopy(network).double()), probe, batch=(batch[0].double(), batch[1]))
        numbers[engine.view.ordered] = values["ics"], engine.plan.passes
    for key, value in numbers[True][0].items():
        torch.testing.assert_close(value, numbers[False][0][key], rtol=1e-12, atol=0)
    entries = {layer.name: layer.entry for layer in build(network, None, {}).view.layers}
    assert entries["1.c1"] == entries["1.c2"] == entries["1.short"] == 1
    assert numbers[True][1] < 0.75 * numbers[False][1]


# ---- units


def over_tokens(values):
    return values.reshape(-1, values.shape[-1])


def over_images(values):
    return values.transpose(0, 1).flatten(1).T


UNITS = {
    "linear": (lambda: nn.Linear(4, 7), over_tokens),
    "layer normalisation": (lambda: nn.Sequential(nn.Linear(4, 7), nn.LayerNorm(7)), over_tokens),
    "embedding": (
        lambda: Net(lambda s, x: s.e((3 * x[..., 0]).long().clamp(-4, 4) + 4), e=nn.Embedding(9, 7)),
        over_tokens,
    ),
    "recurrent": (lambda: Net(lambda s, x: s.rnn(x)[0], rnn=nn.GRU(4, 7, batch_first=True)), over_tokens),
    "own": (lambda: Net(lambda s, x: torch.einsum("ntf,fo->nto", x, s.w), w=parameter(4, 7)), over_tokens),
    "convolution": (lambda: Net(lambda s, x: s.c(x.transpose(1, 2)), c=nn.Conv1d(4, 7, 3)), over_images),
    "convolution, turned": (
        lambda: Net(lambda s, x: s.c(x.transpose(1, 2)).transpose(1, 2), c=nn.Conv1d(4, 7, 3)),
        over_tokens,
    ),
    "batch normalisation": (
        lambda: Net(lambda s, x: s.b(s.a(x).transpose(1, 2)), a=nn.Linear(4, 7), b=nn.BatchNorm1d(7)),
        over_images,
    ),
}


class Units(nn.Module):
    """Three of the seven units of the body never fire."""

    def __init__(self, body, last):
        super().__init__()
        self.body, self.act, self.head, self.axis = body, nn.ReLU(), head(7), 1 if last else 2
        low = 9.0 * (torch.arange(7) < 3)
        self.register_buffer("low", low if last else low[:, None])

    def forward(self, x):
        return self.head(self.act(self.body(x) - self.low).mean(self.axis))


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_a_unit_of_the_layer_and_other_axes_may_vary(name, ordered):
    torch.manual_seed(0)
    made, rows = UNITS[name]
    network = Units(made(), rows is over_tokens).double()
    batch, before = tokens(), copy.deepcopy(network)
    trained = network if ordered else twin.Unordered(network)
    engine, values = one_step(trained, {"a": Activations(batches=("train",))}, batch=batch)
    assert engine.view.ordered == ordered
    active = rows(before.act(before.body(batch[0]) - before.low))
    assert values["a"]["dead.train"].tolist() == [(active == 0).all(0).double().mean().item()]
    layer = next(x for x in engine.view.layers if x.activation is not None)
    name = layer.name.removeprefix("inner.")
    if name in ("body", "body.0", "body.a"):  # a module or its normalisation gives the body's output
        side = "after" if layer.normalisation else "before"
        expected = rows(before.body(batch[0])).mean(0)
        torch.testing.assert_close(values["a"][f"unit_mean_{side}_normalisation.train.{layer.name}"], expected)
    with engine.around(1, tokens(9)):
        train_step(trained, trained, engine.objective, sgd(trained, 0.1), tokens(9), 7, 1)
    assert len(engine.records) == 2
