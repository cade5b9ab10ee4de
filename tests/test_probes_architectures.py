"""Probes on real architectures, against full copies without hooks in float64; what precedes what, by perturbing."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from probes import Gradients, InternalCovariateShift, Landscape, Objective, Theory
from tests import slow_twins as twin
from tests.architectures import IMAGES, TOKENS, made
from tests.test_probes import CROSS_ENTROPY, assert_equal_states, build, everything, sgd, train_step
from tests.test_probes_values import one_step

PENALISED = (nn.Conv2d, nn.Linear)
SAMPLED = ("densenet", "pre_activation", "swin", "lstm", "encoder")
ALL = [pytest.param(n, marks=() if n in SAMPLED else pytest.mark.long) for n in (*IMAGES, *TOKENS)]


def preceding(network, batch, places):
    """{place: names of the parameters on which the input of that module depends}, found by perturbing each.

    places: names of layers; those that are no module that is called are left out.
    """

    def copied(given):
        return torch.cat([x.flatten() for x in given]) if isinstance(given, list) else given.clone()

    def entering(model):
        found = {}
        for name, module in model.named_modules():
            module.register_forward_pre_hook(lambda m, args, n=name: found.update({n: copied(args[0])}))
        state = torch.get_rng_state()
        model(batch[0])
        torch.set_rng_state(state)
        return found

    start = entering(copy.deepcopy(network))
    places = [place for place in places if place in start]
    result = {place: set() for place in places}
    for name, _ in network.named_parameters():
        model = copy.deepcopy(network)
        with torch.no_grad():
            parameter = model.get_parameter(name)
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
        moved = entering(model)
        for place in places:
            if not torch.equal(start[place], moved[place]):
                result[place].add(name)
    return result


def shift(before, after, batch, weights, moved):
    """(difference, cosine) of the gradient at ``weights`` when ``moved`` take the values of ``after``."""
    start = before.run(batch)[2]
    there = before.run(batch, {name: after[name] for name in moved})[2]
    a, b = [start[n] for n in weights], [there[n] for n in weights]
    return twin.length([x - y for x, y in zip(b, a, strict=True)]), twin.inner(a, b) / twin.length(a) / twin.length(b)


@pytest.mark.parametrize("name", ALL)
def test_an_architecture_agrees_with_full_copies(name):
    network, batch = made(name)
    network = network.double()
    batch = (batch[0].double() if batch[0].is_floating_point() else batch[0], batch[1])
    plain = not any(p.ndim >= 2 for m in network.modules() if not isinstance(m, PENALISED) for p in m.parameters(False))
    objective = Objective(CROSS_ENTROPY, 1e-2 if plain else 0.0)  # the twin's penalty counts these alone
    probes = {
        "gradients": Gradients(),
        "theory": Theory(),
        "ics": InternalCovariateShift(),
        "landscape": Landscape(multiples=(1.0,)),
    }
    torch.manual_seed(2)
    before = twin.Snapshot(network, objective, 7, 0)
    batches = {"fixed": batch}
    named = [layer.name for layer in build(network, objective, {}, example=batch, batches=batches).view.layers]
    torch.manual_seed(2)
    engine, values = one_step(network, probes, lr=0.3, batch=batch, batches=batches, objective=objective)
    after = {n: p.detach().clone() for n, p in network.named_parameters()}
    modules = dict(before.network.named_modules())
    total, _, gradients, _ = before.run(batch)

    assert values["landscape"]["loss_before"].item() == pytest.approx(total, rel=1e-12)
    owned = {name for layer in engine.view.layers for name in layer.parameters}
    matrices = {n for n, p in network.named_parameters() if p.ndim >= 2}
    assert matrices <= owned
    assert not engine.view.unused
    for place, layer in enumerate(engine.view.layers):
        if not layer.weights:
            continue
        expected = twin.length([gradients[n] for n in layer.weights])
        assert values["gradients"]["gradient_norm"][place].item() == pytest.approx(expected, rel=1e-8, abs=1e-14)

    norms = [n for n, m in modules.items() if isinstance(m, nn.BatchNorm2d)]
    layer_of = {layer.normalisation: layer.name for layer in engine.view.layers}
    assert set(norms) <= set(layer_of)
    for norm, terms in twin.theorem_4_1(before, batch, norms).items() if norms else ():
        for quantity in terms.keys() - {"as_printed"}:
            found = values["theory"][f"{quantity}.{layer_of[norm]}"]
            torch.testing.assert_close(found, terms[quantity], rtol=1e-7, atol=1e-12)

    rows = engine.fields()["ics"]["ics_l2"]["layer"]
    simple = [layer for layer in named if not engine.view.layer(layer).compound and engine.view.layer(layer).weights]
    assert rows == simple
    above = preceding(before.network, batch, rows)
    for place, row in enumerate(rows):
        layer = engine.view.layer(row)
        moved = above[row] if row in above else set(layer.preceding)
        moved -= set(layer.parameters)
        assert moved == set(layer.preceding), row
        expected = shift(before, after, batch, layer.weights, moved)
        found = [values["ics"][f"ics_{what}"][place].item() for what in ("l2", "cosine")]
        assert found == pytest.approx(expected, rel=1e-7, abs=1e-10), row


@pytest.mark.parametrize("name", ALL)
def test_an_architecture_trains_undisturbed(name):
    states = []
    for probing in (False, True):
        network, batch = made(name)
        objective, optimiser = Objective(CROSS_ENTROPY), sgd(network, 0.05, momentum=0.9)
        chosen = {"g": Gradients(), "t": Theory(), "i": InternalCovariateShift(), "l": Landscape(multiples=(1.0,))}
        probes = build(network, objective, chosen, example=batch, batches={"fixed": batch}) if probing else None
        torch.manual_seed(1)
        for step in range(2):
            if probes is None:
                train_step(network, network, objective, optimiser, batch, 7, step)
            else:
                with probes.around(step, batch) as forward:
                    train_step(forward, network, objective, optimiser, batch, 7, step)
        states.append(everything(network, optimiser))
    assert_equal_states(*states)
