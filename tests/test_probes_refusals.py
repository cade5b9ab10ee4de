"""What is refused, and in which words; a user's own probe."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from probes import (
    Activations,
    After,
    Along,
    Before,
    Field,
    Gradients,
    Hybrid,
    InternalCovariateShift,
    Landscape,
    Need,
    Objective,
    ProbeError,
    Schedule,
    Theory,
)
from probes.reductions import GradientNorms, GradientValues, LossParts, Moments, TapGradient, TapValues
from tests import slow_twins as twin
from tests.test_probes import CROSS_ENTROPY, Custom, build
from tests.test_probes_values import bn_gradients, one_step, taps_by_hooks


def test_a_users_probe_gets_whole_tensors_that_it_declares():
    batch = (twin.image_batch()[0].double(), twin.image_batch()[1])
    network = twin.conv_net().double()
    needs = [
        Need("train", Before(), r)
        for r in (TapValues("c1.layer"), TapGradient("c1.norm"), GradientValues("head.layer.bias"))
    ]
    shapes = [(8, 4, 6, 6), (8, 4, 6, 6), (3,)]
    fields = {str(i): Field("held", "1", "", dims=("a",), shape=shape) for i, shape in enumerate(shapes)}
    hooked, y = (
        bn_gradients(network, batch, Objective(CROSS_ENTROPY, 1e-2))["c1.norm"],
        taps_by_hooks(network, batch, ["c1.layer"]),
    )
    probe = Custom(needs, fields, lambda at: {str(i): at[need] for i, need in enumerate(needs)})
    _, values = one_step(network, {"u": probe}, batch=batch, reuse_training_pass=True)
    torch.testing.assert_close(values["u"]["0"], y["c1.layer"])
    torch.testing.assert_close(values["u"]["1"], hooked[2])
    torch.testing.assert_close(values["u"]["2"], network.head.layer.bias.grad)


ONE = {"k": Field("k", "1", "")}


def writes_by_data(network):
    network.c1.layer.weight.data[0, 0, 0, 0] += 1
    return {"k": torch.tensor(1.0)}


def writes_in_place(network):
    with torch.no_grad():
        network.c1.norm.running_mean.add_(1)
    return {"k": torch.tensor(1.0)}


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (writes_by_data, r"probe u wrote to the network: 'c1.layer.weight' changed"),
        (writes_in_place, r"probe u wrote to the network: 'c1.norm.running_mean' changed"),
        (lambda n: n.zero_grad() or {"k": torch.tensor(1.0)}, r"probe u wrote to the network: '.*\.grad' changed"),
        (lambda n: n.eval() and {"k": torch.tensor(1.0)}, r"probe u wrote to the network: 'training' changed"),
        (lambda n: {"k": torch.ones(2)}, r"probe u returned 'k' of shape \(2,\), but declared \(\)"),
        (lambda n: {"k": 1.0}, r"probe u returned 'k' of shape float"),
        (lambda n: {}, r"probe u declared 'k', but did not return it"),
        (lambda n: {"k": torch.tensor(1.0), "l": torch.tensor(1.0)}, r"probe u returned 'l', which it did not declare"),
    ],
)
@pytest.mark.parametrize("late", [False, True])
def test_a_users_probe_that_breaks_its_word_is_refused(measure, message, late):
    """Before training; and at the probed step where it kept its word when it was tried."""
    network = twin.conv_net()
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    training = []

    def measured(at):
        return {"k": torch.tensor(1.0)} if late and not training else measure(network)

    def engine():
        return build(network, None, {"u": Custom((), ONE, measured)})

    if late:
        engine = engine()
        training.append(True)
        with pytest.raises(ProbeError, match=message), engine.around(0, twin.image_batch()):
            pass
    else:
        with pytest.raises(ProbeError, match=message):
            engine()


def test_a_probe_that_asks_for_what_it_did_not_declare_is_refused_before_training():
    need = Need("train", Before(), LossParts())
    with pytest.raises(ProbeError, match="asked in measure, but not declared"):
        build(twin.conv_net(), None, {"u": Custom((), ONE, lambda at: {"k": at[need][0]})})


def test_a_probe_that_cannot_do_with_made_up_values_is_heard_at_the_first_step():
    need = Need("train", Before(), GradientNorms())

    def measure(at):
        if (at[need] == 1).all():
            raise ZeroDivisionError("no network has such a gradient")
        return {"k": at[need].sum()}

    _, values = one_step(twin.conv_net(), {"u": Custom([need], ONE, measure)})
    assert values["u"]["k"] > 0


def test_a_trial_of_the_probes_gives_every_answer_its_true_shape():
    """Whatever is asked: what the probes are tried with before training has the shapes that they are given in it."""
    network, seen = twin.conv_net("batch"), []

    class Seeing:
        def __init__(self, probe):
            self.probe = probe

        def declare(self, view):
            return self.probe.declare(view)

        def measure(self, at):
            seen.append({need: (tuple(value.shape), value.dtype) for need, value in at.values.items()})
            return self.probe.measure(at)

    needs = [Need(b, Before(), r) for b in ("train", "fixed") for r in (TapValues("c1.norm"), TapGradient("c2.layer"))]
    needs += [Need("train", Before(), GradientValues("c1.norm.bias"))]
    probes = [Activations(), Landscape(update=True, limit="hessian"), Landscape(limit="difference"), Gradients()]
    probes += [InternalCovariateShift(), Theory(curvature=True), Custom(needs)]
    for probe in probes:
        seen.clear()
        one_step(network, {"p": Seeing(probe)}, batches={"fixed": twin.image_batch(5)})
        tried, measured = seen
        assert tried == measured


def test_a_probe_that_draws_random_numbers_does_not_disturb_training():
    network = twin.conv_net(dropout=0.5)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    engine = build(network, None, {"u": Custom((), ONE, lambda at: {"k": torch.rand(())})})
    with engine.around(0, twin.image_batch()):
        pass
    assert torch.equal(state, torch.get_rng_state())


class Restless(nn.Module):
    """Draws from a generator that belongs to no module, so that nobody can put it back."""

    generator = torch.Generator().manual_seed(0)

    def forward(self, x):
        return x + torch.rand(x.shape, generator=self.generator).to(x)


def test_a_network_that_is_not_deterministic_is_refused_and_the_module_named():
    network = twin.conv_net()
    network.c2.add_module("restless", Restless())
    with pytest.raises(ProbeError, match=r"two evaluations differ; the first leaf .* is 'c2.restless'"):
        build(network)


def test_nothing_is_asked_of_a_network_without_probes():
    network = twin.conv_net()
    network.c2.add_module("restless", Restless())
    engine = build(network, None, {})
    with engine.around(0, twin.image_batch()) as forward:
        assert forward is network


WRONG = {
    "layers are c1, c2, c3, head": lambda: build(
        twin.conv_net(), None, {"i": InternalCovariateShift(layers=("conv9",))}
    ),
    r"probe g: layer 'heads': .*did you mean 'head'": lambda: build(
        twin.conv_net(), None, {"g": Gradients(layers=("heads",))}
    ),
    r"landscape multiples=\[\]": lambda: Landscape(multiples=()),
    r"landscape multiples=\[2.0, 1.0\].*ascending": lambda: Landscape(multiples=(2.0, 1.0)),
    r"landscape multiples=\[-1.0, 1.0\].*not negative": lambda: Landscape(multiples=(-1.0, 1.0)),
    r"landscape multiples=\[nan\]": lambda: Landscape(multiples=(float("nan"),)),
    "landscape limit='exact'": lambda: Landscape(limit="exact"),  # type: ignore[arg-type]
    "landscape random=-1": lambda: Landscape(random=-1),
    "ics moves='gamma'": lambda: InternalCovariateShift(moves="gamma"),  # type: ignore[arg-type]
    r"schedule at=\[\]": lambda: Schedule.of([]),
    r"schedule at=\[3, 1\]": lambda: Schedule.of([3, 1]),
    "schedule every=0": lambda: Schedule.of(0),
    "past the end, the last step of this run is 9": lambda: build(twin.conv_net(), every=[0, 10], steps=10),
    "probe a: batch 'fixed': not given; there are train ": lambda: build(twin.conv_net(), None, {"a": Activations()}),
    "batch 'far': not given; there are train, near, next": lambda: build(
        twin.conv_net(),
        None,
        {"a": Activations(batches=("train", "far"))},
        batches={"near": twin.image_batch(), "next": twin.image_batch()},
    ),
    "batches: 'train' is the step's own": lambda: build(twin.conv_net(), batches={"train": twin.image_batch()}),
    r"activations batches=\[\]": lambda: Activations(batches=()),
    r"activations batches=\['train', 'train'\]": lambda: Activations(batches=("train", "train")),
    "activations low=1.0 high=1.0": lambda: Activations(low=1.0, high=1.0),
    "activations levels=": lambda: Activations(levels=(0.5, 0.1)),
    "activations units=0": lambda: Activations(units=0),
    "probe l: every=0 must be": lambda: build(twin.conv_net(), None, {"l": Landscape(every=0)}),
    "has no parameter that requires a gradient": lambda: build(twin.conv_net().requires_grad_(False)),
    r"batch int: must be \(inputs, targets\)": lambda: build(twin.conv_net(), example=3),
    "tap 'nowhere': not in this network": lambda: build(
        twin.conv_net(), None, {"u": Custom([Need("train", Before(), Moments("nowhere"))])}
    ),
    "LossParts at a hybrid": lambda: build(
        twin.conv_net(), None, {"u": Custom([Need("train", Hybrid("c2"), LossParts())])}
    ),
    "step length -1: must be": lambda: build(
        twin.conv_net(), None, {"u": Custom([Need("train", Along(-1), LossParts())])}
    ),
    "batch 'test': not given": lambda: build(
        twin.conv_net(), None, {"u": Custom([Need("test", After(), LossParts())])}
    ),
    "remembers": lambda: build(
        twin.conv_net(), None, {"u": Custom(remember=[Need("train", Before(), GradientNorms())])}
    ),
    "give its shape": lambda: build(
        twin.conv_net(), None, {"u": Custom((), {"k": Field("k", "1", "", dims=("unit",))})}
    ),
}  # fmt: skip


@pytest.mark.parametrize("message", list(WRONG))
def test_wrong_input_is_one_clear_line(message):
    with pytest.raises(ProbeError, match=message) as caught:
        WRONG[message]()
    assert "\n" not in str(caught.value)


def test_reusing_the_training_pass_is_refused_where_the_step_does_not_keep_to_it():
    network, batch = twin.conv_net(), twin.image_batch()
    engine = build(network, reuse_training_pass=True)

    def step(train):
        with engine.around(0, batch) as forward:
            train(forward)

    wrong = (lambda f: None, lambda f: (f(batch[0]), f(batch[0])), lambda f: f(batch[0] * 2))
    for train_wrongly in wrong:
        with pytest.raises(ProbeError, match="exactly once"):
            step(train_wrongly)
    with pytest.raises(ProbeError, match="there is none"):
        step(lambda forward: forward(batch[0]))


def test_a_network_that_changed_is_refused():
    def change(changes, message):
        network = twin.conv_net()
        engine = build(network)
        changes(network)
        with pytest.raises(ProbeError, match=message), engine.around(0, twin.image_batch()):
            pass

    change(lambda network: setattr(network.head, "layer", nn.Linear(36, 4)), "build it anew")
    change(lambda network: network.c1.requires_grad_(False), "trains other parameters")


def test_an_error_in_the_step_is_the_users_own():
    engine = build(twin.conv_net())
    with pytest.raises(KeyError, match="mine"), engine.around(0, twin.image_batch()):
        raise KeyError("mine")


def test_a_diverged_step_is_recorded_as_it_is():
    network = twin.conv_net("none")
    with torch.no_grad():
        network.c1.layer.weight.fill_(float("nan"))
    probes = {"l": Landscape(), "a": Activations(batches=("train",)), "i": InternalCovariateShift(), "g": Gradients()}
    _, values = one_step(network, probes)
    assert math.isnan(values["l"]["loss_before"])
    assert values["l"]["effective_beta"].isnan().all()
