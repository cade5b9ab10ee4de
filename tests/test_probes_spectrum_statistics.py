"""The Hessian with the statistics of normalisations held, against the dense Hessian of the function that this is."""

from __future__ import annotations

import copy
import functools
from pathlib import Path

import pytest
import torch
from torch import nn

import experiments
from experiments.data import DataSpec
from experiments.models import build_model
from experiments.norms.batch import adopt
from probes import Jacobian, Objective, ProbeError, Spectrum
from tests import slow_twins as twin
from tests.runs import MLP, VGG, checkpoint, differences, refusal, small
from tests.test_probes import CROSS_ENTROPY, build, sgd, train_step
from tests.test_probes_spectrum import Small, dense_hessian

OBJECTIVE = Objective(CROSS_ENTROPY, 1e-2)
CLOSE = {"rtol": 1e-7, "atol": 1e-10}


def batch_of_images() -> tuple[torch.Tensor, torch.Tensor]:
    return twin.image_batch()[0].double(), twin.image_batch()[1]


def lived_in() -> nn.Module:
    """With running statistics that are not the batch's, in training mode."""
    network = Small().double()
    for seed in range(3):
        network(1.5 * twin.image_batch(seed=seed)[0].double() + 0.3)
    return network


class Constant(nn.Module):
    """Batch normalisation by numbers that are written down."""

    def __init__(self, norm: nn.BatchNorm2d, mean: torch.Tensor, variance: torch.Tensor) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        self.mean, self.variance = mean.detach().clone(), variance.detach().clone()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = (-1, 1, 1)
        centred = (x - self.mean.view(rows)) / (self.variance.view(rows) + self.eps).sqrt()
        return centred * self.weight.view(rows) + self.bias.view(rows)


def with_constants(network: nn.Module, x: torch.Tensor) -> nn.Module:
    """A copy whose normalisations have the batch's statistics as numbers, layer after layer."""
    found = copy.deepcopy(network)
    for place, module in enumerate(found.net):
        if isinstance(module, nn.BatchNorm2d):
            variance, mean = torch.var_mean(found.net[:place](x), (0, 2, 3), correction=0)
            found.net[place] = Constant(module, mean, variance)
    return found


def measured(network: nn.Module, chosen: Spectrum, **more: object) -> dict[str, torch.Tensor]:
    batch = batch_of_images()
    engine = build(network, OBJECTIVE, {"s": chosen}, example=batch, **more)
    with engine.around(0, batch) as forward:
        train_step(forward, network, OBJECTIVE, sgd(network), batch, 7, 0)
    return dict(engine.records[0][2])


exact = functools.partial(Spectrum, largest=3, smallest=2, tolerance=1e-8, products=300)


@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize("source", ["running", "given", "held"])
def test_it_is_the_dense_hessian_of_that_function(source: str, asks: bool) -> None:
    """torch's own, and the suite's, which ask where their statistics come from; all in training mode."""
    network = adopt(lived_in()) if asks else lived_in()
    batch, other = batch_of_images(), copy.deepcopy(network)
    given = {name: value * 1.3 + 0.1 for name, value in network.named_buffers() if "running" in name}
    if source == "given":
        other.load_state_dict({**other.state_dict(), **given})
    other = with_constants(network, batch[0]) if source == "held" else other.eval()
    h, g, w = dense_hessian(other, OBJECTIVE, batch)
    moving = torch.linalg.eigvalsh(dense_hessian(network, OBJECTIVE, batch)[0])[-1].item()
    values, vectors = torch.linalg.eigh(h)
    found = measured(network, exact(statistics=given if source == "given" else source), reuse_training_pass=True)
    torch.testing.assert_close(found["largest_eigenvalues"], values.flip(0)[:3], **CLOSE)
    torch.testing.assert_close(found["smallest_eigenvalues"], values[:2], **CLOSE)
    share = (vectors[:, -3:].T @ g).square().sum() / g.square().sum()
    for key, expected in {
        "gradient_norm": g.norm(),
        "gradient_share": share,
        "curvature_along_gradient": g @ h @ g / (g @ g),
        "spherical_sharpness": w.square().sum() * values[-1],
    }.items():
        assert found[key].item() == pytest.approx(expected.item(), rel=1e-6), key
    assert abs(values[-1].item() / moving - 1) > 0.01


def test_density_and_trace_are_of_the_same_function() -> None:
    """By the same drawn vectors: those of the network in evaluation mode, whose Hessian is the dense one's."""
    network = lived_in()
    chosen = functools.partial(Spectrum, largest=1, products=20, density_draws=2, density_steps=4, trace_draws=3)
    found = measured(copy.deepcopy(network), chosen(statistics="running"))
    tested = measured(copy.deepcopy(network).eval(), chosen())
    trained = measured(copy.deepcopy(network), chosen())
    for key in ("density_nodes", "density_weights", "trace", "trace_standard_error"):
        torch.testing.assert_close(found[key], tested[key], **CLOSE)
        assert not torch.allclose(found[key], trained[key], rtol=1e-3), key


def test_it_is_recorded_which_they_are_and_each_has_a_pass_of_its_own() -> None:
    network, batch = lived_in(), batch_of_images()
    chosen = {s: Spectrum(largest=1, products=5, statistics=s) for s in ("moving", "running", "held")}
    engine = build(network, OBJECTIVE, chosen, example=batch)
    said = {name: fields["largest_eigenvalues"]["batch"] for name, fields in engine.fields().items()}
    assert said == {"moving": "train", "running": "train, running statistics", "held": "train, held statistics"}
    with engine.around(0, batch):
        pass
    found = [values["largest_eigenvalues"].item() for _, _, values in engine.records]
    assert len(set(found)) == 3
    assert len(engine.state_dict()["carried"]) == 3


def test_training_does_not_notice_and_a_run_goes_on(tmp_path: Path) -> None:
    few = ["probes.use.spectrum.largest=1", "probes.use.spectrum.products=4", "probes.every=2"]
    told = [*VGG, "probes=spectrum", "probes.use.spectrum.statistics=running", *few]
    plain, looked = (experiments.run(small(tmp_path / "whole", *chosen)).path for chosen in (VGG, told))
    experiments.run(small(tmp_path / "parts", *told, "steps=3"))
    parts = experiments.run(small(tmp_path / "parts", *told)).path
    for other in (plain, parts):
        assert differences(checkpoint(looked)["network"], checkpoint(other)["network"]) == []
    assert (parts / "records.jsonl").read_bytes() == (looked / "records.jsonl").read_bytes()


def test_given_ones_come_from_a_checkpoint_by_whose_contents_a_run_is_named(tmp_path: Path) -> None:
    first = experiments.run(small(tmp_path / "a", "steps=3")).path / "checkpoint.pt"
    file = tmp_path / "given.pt"
    told = ["probes=spectrum", "probes.use.spectrum.largest=1", "probes.use.spectrum.products=5", "probes.every=5"]
    told += ["probes.use.spectrum.statistics=given", f"probes.use.spectrum.statistics_file={file}"]
    state, paths = torch.load(first, weights_only=True), []
    for content in (state, {n: 2 * v for n, v in state["network"].items()}, state["network"]):
        torch.save(content, file)
        paths.append(experiments.run(small(tmp_path / "runs", *told)).path)
    assert len({path.name for path in paths}) == 3
    assert len({path.name.rpartition("-")[0] for path in paths}) == 1  # one training, measured otherwise
    lines = [(path / "records.jsonl").read_text().splitlines() for path in paths]
    spectra = [next(line for line in own if '"spectrum"' in line) for own in lines]
    assert spectra[0] == spectra[2] != spectra[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"statistics": "population"}, "statistics=population: must be moving, held, running or given"),
        ({"statistics": "given"}, "statistics=given statistics_file=None: given ones need a file"),
        ({"statistics_file": "a.pt"}, "statistics=moving statistics_file=a.pt: given ones need a file"),
        ({"statistics": {"a": torch.ones(99)}, "statistics_file": "a.pt"}, "statistics=by name statistics_file=a.pt"),
        ({"statistics": "given", "statistics_file": "no.pt"}, r"statistics_file=no.pt: cannot be read \(No such file"),
        ({"statistics": {}}, r"statistics: net.1.running_mean is not among the given ones \(none\)"),
        (
            {"statistics": {f"net.1.{n}": torch.ones(2) for n in ("running_mean", "running_var")}},
            r"net.1.running_mean is given of shape \(2,\), not \(3,\)",
        ),
    ],
)
def test_wrong_options_are_refused_before_training(options: dict[str, object], message: str) -> None:
    with pytest.raises(ProbeError, match=message) as told:
        build(lived_in(), None, {"s": Spectrum(**options)}, example=batch_of_images())
    assert "\n" not in str(told.value)


def test_a_file_that_holds_something_else_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "other.pt"
    told = [*MLP, "probes=spectrum", "probes.use.spectrum.statistics=given"]
    told += [f"probes.use.spectrum.statistics_file={file}"]
    assert "cannot be read (No such file or directory)" in refusal(told, tmp_path, monkeypatch, capsys)
    file.write_text("nothing")
    assert "cannot be read (damaged, or none of torch's)" in refusal(told, tmp_path, monkeypatch, capsys)
    torch.save([1.0], file)
    assert "must hold tensors by name, as a state dict does" in refusal(told, tmp_path, monkeypatch, capsys)


def test_statistics_that_cannot_be_had_are_refused() -> None:
    without = Small()
    without.net[1] = nn.BatchNorm2d(3, track_running_stats=False)
    with pytest.raises(ProbeError, match=r"statistics=running: normalisation 'net.1' keeps no running ones"):
        build(without, None, {"s": Spectrum(statistics="running")})

    class Slow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("running_size", torch.ones(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / self.running_size

    without.net[1] = Slow()
    with pytest.raises(ProbeError, match=r"statistics=running: normalisation 'net.1' \(Slow\) is none of torch's"):
        build(without, None, {"s": Spectrum(statistics="running")})
    with pytest.raises(ProbeError, match=r"statistics=held: normalisation 'net.1' \(Slow\) is none of torch's"):
        build(without, None, {"j": Jacobian(statistics="held")})


class ByTheBatch(nn.Module):
    """Statistics of the batch, of which no buffer and no class of torch's tells."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - x.mean(0)) / (x.std(0) + 1e-3)


class Both(nn.Module):
    """Outputs whose sum is 0 whatever enters."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, -x], 1)


@pytest.mark.parametrize("first", [nn.Linear(4, 8), nn.Embedding(4, 8)])
def test_samples_that_see_each_other_all_the_same_are_refused(first: nn.Module) -> None:
    """Held statistics would be moving ones, and one product for all samples would mix their Jacobians."""
    inputs = torch.randn(16, 4) if isinstance(first, nn.Linear) else torch.arange(16) % 4
    targets = torch.arange(16) % 3
    for norm in (ByTheBatch(), nn.BatchNorm1d(8)):
        network = nn.Sequential(first, norm, nn.ReLU(), nn.Linear(8, 3))
        refused = isinstance(norm, ByTheBatch)
        probes: list[object] = [Jacobian(taps=("0", "2"), statistics="held"), Spectrum(1, statistics="held")]
        if refused:
            probes.append(Spectrum(1, statistics="running"))
        for probe in probes:
            if refused:
                with pytest.raises(
                    ProbeError, match=r"statistics=(held|running): the samples of a batch see each other"
                ):
                    build(network, probes={"probe": probe}, example=(inputs, targets))
            else:
                build(network, probes={"probe": probe}, example=(inputs, targets))
    constant_sum = nn.Sequential(first, ByTheBatch(), nn.Linear(8, 3), Both())
    with pytest.raises(ProbeError, match="see each other"):
        build(constant_sum, probes={"s": Spectrum(1, statistics="held")}, example=(inputs, targets))
    if isinstance(first, nn.Linear):  # the module that mixes them is the first
        with pytest.raises(ProbeError, match="see each other"):
            build(
                nn.Sequential(ByTheBatch(), nn.Linear(4, 3)),
                probes={"s": Spectrum(1, statistics="held")},
                example=(inputs, targets),
            )
    moving = nn.Sequential(first, ByTheBatch(), nn.Linear(8, 3))
    build(moving, probes={"s": Spectrum(1)}, example=(inputs, targets))


class Mixed(nn.Module):
    """Embedded labels, normalised by `norm`, and vectors; a number that belongs to no sample scales both."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.words, self.norm, self.layer, self.head = nn.Embedding(4, 8), norm, nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: dict[str, torch.Tensor]) -> torch.Tensor:
        words = self.norm(self.words(x["ids"].long()))
        return self.head(x["scale"] * (words + self.layer(x["vectors"])))


@pytest.mark.parametrize("as_floats", [False, True])
def test_samples_are_told_apart_among_several_inputs(as_floats: bool) -> None:
    ids = torch.arange(16) % 4
    inputs = {"ids": ids.float() if as_floats else ids, "vectors": torch.randn(16, 4), "scale": torch.tensor(2.0)}
    example = (inputs, torch.arange(16) % 3)
    build(Mixed(nn.BatchNorm1d(8)), probes={"s": Spectrum(1, statistics="held")}, example=example)
    with pytest.raises(ProbeError, match="the samples of a batch see each other"):
        build(Mixed(ByTheBatch()), probes={"s": Spectrum(1, statistics="held")}, example=example)


def test_what_stops_gradients_in_training_mode_alone_has_a_hessian_by_its_running_statistics() -> None:
    """Batch renormalisation's r and d are constants of the batch; by running statistics there are none."""
    spec, drawn = DataSpec((5,), 3, "classification"), torch.Generator().manual_seed(0)
    model = {"name": "mlp", "widths": [6, 6], "activation": "tanh"}
    network = build_model(model, {"name": "batch_renorm"}, spec, 0).double()
    batch = torch.randn(20, 5, generator=drawn).double(), torch.arange(20) % 3
    network(2 * batch[0] + 1)
    with pytest.raises(ProbeError, match="stops gradients"):
        build(network, None, {"s": Spectrum()}, example=batch)
    h, *_ = dense_hessian(copy.deepcopy(network).eval(), OBJECTIVE, batch)
    engine = build(network, OBJECTIVE, {"s": exact(smallest=0, statistics="running")}, example=batch)
    with engine.around(0, batch):
        pass
    found = engine.records[0][2]["largest_eigenvalues"]
    torch.testing.assert_close(found, torch.linalg.eigvalsh(h).flip(0)[:3], rtol=1e-6, atol=1e-9)
