"""Where running averages lie between two domains, against plain arithmetic; closed forms; refusals."""

from __future__ import annotations

import math
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from experiments.norms.batch import batch as batch_norm
from probes import Objective, ProbeError, statistics
from probes.domains import Domains
from tests.runs import assert_unnoticed_and_carried_on
from tests.test_probes import CROSS_ENTROPY, build, sgd, train_step


class Batch(NamedTuple):
    """Inputs and targets, with a domain of each sample."""

    inputs: Tensor
    targets: Tensor
    domain: Tensor

    def __iter__(self) -> Any:
        return iter((self.inputs, self.targets))


def batch_of(seed: int, domain: list[int], shift: float = 2.0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    domains = torch.tensor(domain)
    x = torch.randn(len(domain), 2, 4, 4, generator=generator).double()
    return Batch(x + shift * domains[:, None, None, None], domains % 3, domains)


def network_of(**options: Any) -> nn.Sequential:
    torch.manual_seed(0)
    convolution, linear = nn.Conv2d(2, 5, 3), nn.Linear(20, 4)
    first, second = (batch_norm(layer, **options) for layer in (convolution, linear))
    blocks = [
        nn.Sequential(OrderedDict(layer=convolution, norm=first, activation=nn.ReLU())),
        nn.Flatten(),
        nn.Sequential(OrderedDict(layer=linear, norm=second)),
        nn.Linear(4, 3),
    ]
    network = nn.Sequential(*blocks).double()
    for norm in (first, second):
        with torch.no_grad():
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    return network


STEP, FIXED = batch_of(1, [0, 1, 1, 0, 0, 1]), batch_of(2, [1, 0, 0, 1, 1, 0, 0, 0])


def measured(network: nn.Module, probe: Domains, batch: Batch = STEP, **options: Any) -> dict[str, list[float]]:
    objective = Objective(CROSS_ENTROPY)
    with statistics.in_domain_of(batch):
        engine = build(network, objective, {"d": probe}, example=batch, batches={"fixed": FIXED}, **options)
        with engine.around(0, batch) as forward:
            train_step(forward, network, engine.objective, sgd(network, 0.1), tuple(batch), 7, 0)
    return {key: value.tolist() for key, value in engine.records[0][2].items()}


@pytest.mark.parametrize("per", ["batch", "domain"])
@pytest.mark.parametrize("where", ["fixed", "train"])
def test_it_is_plain_arithmetic_of_what_the_running_averages_were_before_the_step(where: str, per: str) -> None:
    network, batch = network_of(per=per), FIXED if where == "fixed" else STEP
    held = [(network[i].norm.running_mean.clone(), network[i].norm.running_var.clone()) for i in (0, 2)]
    with torch.no_grad(), statistics.in_domain(batch.domain), statistics.taken_from("batch"):
        taps = [network[0].layer(batch.inputs), network[2].layer(network[:2](batch.inputs))]
    found = measured(network, Domains(batch=where))
    for place, ((r, s), tap) in enumerate(zip(held, taps, strict=True)):
        sums = dict.fromkeys(("mean", "mean line", "variance", "variance line", "s", "w", "between"), 0.0)
        for unit in range(tap.shape[1]):
            own = [tap[batch.domain == domain, unit].flatten() for domain in (0, 1)]
            (m0, m1), (v0, v1) = ([x.mean() for x in own], [x.var(correction=0) for x in own])
            sums["mean"] += float((r[unit] - m0) * (m1 - m0))
            sums["mean line"] += float((m1 - m0) ** 2)
            sums["variance"] += float((s[unit] - v0) * (v1 - v0))
            sums["variance line"] += float((v1 - v0) ** 2)
            sums["s"] += float(s[unit])
            even = torch.cat([own[0].repeat(len(own[1])), own[1].repeat(len(own[0]))])  # as many of each
            sums["w"] += float(even.var(correction=0))
            sums["between"] += float(((m0 + m1) / 2 - m0) ** 2)
        expected = {
            "running_mean_position": sums["mean"] / sums["mean line"],
            "running_variance_position": sums["variance"] / sums["variance line"],
            "running_variance_share": sums["s"] / sums["w"],
            "between_domains_share": sums["between"] / sums["w"],
        }
        assert set(found) == set(expected)
        for key, value in expected.items():
            assert found[key][place] == pytest.approx(value, rel=1e-9), key


def test_averages_at_one_domain_lie_at_its_end_and_those_of_both_halfway() -> None:
    with torch.no_grad(), statistics.in_domain(FIXED.domain):
        z = network_of()[0].layer(FIXED.inputs)
    means, variances = zip(
        *((z[FIXED.domain == k].mean((0, 2, 3)), z[FIXED.domain == k].var((0, 2, 3), correction=0)) for k in (0, 1)),
        strict=True,
    )
    for share in (0.0, 0.5, 1.0):
        network = network_of()
        network[0].norm.running_mean.copy_(means[0].lerp(means[1], share))
        network[0].norm.running_var.copy_(variances[0].lerp(variances[1], share))
        found = measured(network, Domains(layers=("0",)))
        assert [found[f"running_{what}_position"] for what in ("mean", "variance")] == [[pytest.approx(share)]] * 2
        if share == 0.5:  # the variance within domains and that between them are all there is
            assert found["running_variance_share"][0] + found["between_domains_share"][0] == pytest.approx(1)
            assert found["between_domains_share"][0] > 0.1


def test_a_batch_of_one_domain_has_no_line_to_lie_on() -> None:
    found = measured(network_of(), Domains(batch="train"), batch_of(3, [1, 1, 1, 1]))
    assert all(math.isnan(value) for values in found.values() for value in values)


def test_averages_of_each_domain_and_networks_without_any_have_no_fields() -> None:
    assert measured(network_of(per="domain", running="domain"), Domains()) == {}
    plain = nn.Sequential(nn.Flatten(), nn.Linear(32, 3)).double()
    assert measured(plain, Domains()) == {}


def test_samples_of_no_domain_or_of_a_third_are_refused() -> None:
    network = network_of()
    engine = build(network, Objective(CROSS_ENTROPY), {"d": Domains(batch="train")}, example=tuple(STEP))
    with pytest.raises(ProbeError, match="domains: the samples of this batch belong to no domain"):  # noqa: SIM117
        with engine.around(0, tuple(STEP)) as forward:
            train_step(forward, network, engine.objective, sgd(network, 0.1), tuple(STEP), 7, 0)
    with pytest.raises(ProbeError, match="domains: a sample is of domain 2; there must be two"):
        measured(network_of(), Domains(batch="train"), batch_of(4, [0, 1, 2, 0]))


def test_training_does_not_notice(tmp_path: Path) -> None:
    given = ["data=two_domains", "norm=batch", "norm.per=domain", "data.order=blocks", "optim.momentum=0.9"]
    assert_unnoticed_and_carried_on(tmp_path, *given, probes="domains")
