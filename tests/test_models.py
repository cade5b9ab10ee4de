"""Networks: their shapes and names, their taps, where their weights start, and a user's own."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.data.batches import DataSpec
from experiments.data.torchvision_import import import_torchvision
from experiments.errors import WrongInput
from experiments.models import MODELS, Network, build_model
from experiments.models.initialisation import initialise
from experiments.models.network import Dropout
from experiments.norms import NORMS
from probes import randomness

VECTORS = DataSpec((10,), 10, "regression")
DIGITS = DataSpec((1, 8, 8), 10, "classification")
MNIST = DataSpec((1, 28, 28), 10, "classification")
CIFAR = DataSpec((3, 32, 32), 10, "classification")
SPECS = {"deep_linear": VECTORS, "mlp": DIGITS, "vgg_small": DIGITS, "vgg11": CIFAR, "vgg13": CIFAR, "vgg16": CIFAR}
SPECS |= {"linear_neuron": VECTORS, "residual_mlp": DIGITS, "resnet": DIGITS}
SMALL: dict[str, dict[str, Any]] = {"residual_mlp": {"blocks": 3}, "resnet": {"depth": 8, "width": 0.5}}
CHAINS = [name for name in SPECS if name not in SMALL]
NONE = {"name": "none"}


def build(
    name: str, norm: dict[str, Any] = NONE, spec: DataSpec | None = None, seed: int = 0, **options: Any
) -> Network:
    if name.startswith("vgg1"):
        options = {"width": 1 / 8, **options}
    options = {**SMALL.get(name, {}), **options}
    network = build_model({"name": name, "file": None, **options}, norm, spec or SPECS[name], seed)
    assert isinstance(network, Network)
    return network


def inputs_for(spec: DataSpec, samples: int = 4) -> Tensor:
    return torch.randn(samples, *spec.input_shape, generator=torch.Generator().manual_seed(0))


def test_the_built_in_names() -> None:
    assert MODELS.names() == sorted(SPECS)


@pytest.mark.parametrize("name", list(SPECS))
@pytest.mark.parametrize("norm", ["batch", "batch_renorm", "cosine", "dyt", "group", "instance", "l1", "l2", "layer",
                                  "linf", "noise", "noisy_batch", "none", "weight", "whitening"])  # fmt: skip
def test_every_norm_in_every_model_trains_a_step(name: str, norm: str) -> None:
    norm_options: dict[str, Any] = {"name": norm, "file": None}
    if norm == "group":
        norm_options["groups"] = 2
    if norm == "instance" and name in ("deep_linear", "linear_neuron", "mlp", "residual_mlp"):
        with pytest.raises(WrongInput, match="norm=instance: does not fit a Linear"):
            build(name, norm_options)
        return
    network = build(name, norm_options)
    assert all(module.training for module in network.modules())
    x = inputs_for(SPECS[name], samples=16)
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-3)
    with randomness.at_step(0, 0):
        output = network(x)
    assert output.shape == (16, 10)
    functional.mse_loss(output, torch.ones_like(output)).backward()
    optimiser.step()
    for key, parameter in network.named_parameters():
        assert torch.isfinite(parameter).all(), key
        if not key.endswith("layer.bias"):  # redundant before a normalisation
            assert parameter.grad is not None, key
            assert parameter.grad.any(), key
    assert torch.isfinite(network.eval()(x)).all()


def test_all_norms_were_tried() -> None:
    marks = {mark.args[0]: mark.args[1] for mark in test_every_norm_in_every_model_trains_a_step.pytestmark}
    assert marks["norm"] == NORMS.names()


def leaves(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """The modules that have none within, with their names."""
    return [(name, module) for name, module in network.named_modules() if not list(module.children())]


class TestStructure:
    def test_names_of_a_vgg(self) -> None:
        network = build("vgg11", {"name": "noisy_batch"}, head_width=16, dropout=0.5)
        assert list(network._modules) == [*[f"conv{i}" for i in range(1, 9)], "flatten", "fc1", "dropout", "head"]
        names = [name for name, _ in leaves(network)]
        block = ["layer", "norm.batch", "norm.noise", "activation"]
        assert names[:10] == [f"conv1.{c}" for c in [*block, "pool"]] + [f"conv2.{c}" for c in [*block, "pool"]]
        assert [n for n in names if n.endswith("pool")] == [f"conv{i}.pool" for i in (1, 2, 4, 6, 8)]
        assert names[-7:] == ["flatten", *[f"fc1.{c}" for c in block], "dropout", "head.layer"]
        keys = network.state_dict().keys()
        assert {"conv1.layer.weight", "conv1.layer.bias", "conv1.norm.batch.weight", "head.layer.weight"} <= keys

    def test_placement_after(self) -> None:
        network = build("vgg_small", {"name": "batch"}, placement="after", activation="tanh")
        assert [name for name, _ in leaves(network)][:3] == ["conv1.layer", "conv1.activation", "conv1.norm"]
        assert isinstance(network.conv1.activation, nn.Tanh)

    @pytest.mark.parametrize(("name", "convolutions"), [("vgg11", 8), ("vgg13", 10), ("vgg16", 13)])
    def test_vgg_channels_are_torchvisions(self, name: str, convolutions: int) -> None:
        import_torchvision()
        from torchvision import models

        with torch.device("meta"):
            features = getattr(models, name)().features
        theirs = [m for m in features if isinstance(m, nn.Conv2d)]
        network = build(name, width=1.0)
        ours = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
        assert len(ours) == convolutions
        assert [m.weight.shape for m in ours] == [m.weight.shape for m in theirs]
        count = sum(p.numel() for m in ours for p in m.parameters())
        assert count == sum(p.numel() for p in features.parameters())
        kinds = {nn.Conv2d: "C", nn.MaxPool2d: "P"}
        order = [kinds[type(m)] for _, m in leaves(network) if type(m) in kinds]
        assert order == [kinds[type(m)] for m in features if type(m) in kinds]
        assert count == {"vgg11": 9_220_480, "vgg13": 9_404_992, "vgg16": 14_714_688}[name]

    @pytest.mark.parametrize(("spec", "features"), [(DIGITS, 128), (MNIST, 128 * 9), (CIFAR, 128 * 16)])
    @pytest.mark.parametrize("per_stage", [2, 3])
    def test_vgg_small(self, spec: DataSpec, features: int, per_stage: int) -> None:
        network = build("vgg_small", spec=spec, convolutions_per_stage=per_stage)
        channels = [m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d)]
        assert channels == [c for c in (32, 64, 128) for _ in range(per_stage)]
        assert network.head.layer.in_features == features
        assert sum(isinstance(m, nn.MaxPool2d) for m in network.modules()) == 3

    def test_width(self) -> None:
        network = build("vgg_small", width=0.25)
        assert [m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d)] == [8, 8, 16, 16, 32, 32]

    def test_larger_images(self) -> None:
        network = build("vgg11", spec=DataSpec((3, 64, 96), 5, "classification"))
        assert network.head.layer.in_features == 64 * 2 * 3

    @pytest.mark.parametrize("norm_last", [True, False])
    def test_deep_linear(self, norm_last: bool) -> None:
        network = build("deep_linear", {"name": "batch"}, norm_last=norm_last)
        assert list(network._modules) == [f"layer{i}" for i in range(1, 26)]
        assert [len(block) for block in network] == [2] * 24 + [1 + norm_last]
        assert all(block.layer.weight.shape == (10, 10) and block.layer.bias is None for block in network)
        plain = build("deep_linear")
        x = inputs_for(VECTORS)
        product = x.double().T
        for block in plain:
            product = block.layer.weight.double() @ product
        torch.testing.assert_close(plain(x), product.T.float(), rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("norm", ["none", "batch", "l1", "linf"])
    def test_deep_linear_keeps_the_samples_of_a_unit_side_by_side(self, norm: str) -> None:
        """Whatever lies between its layers; what it computes is what torch's own layers do."""
        network = build("deep_linear", {"name": norm}).double()
        plain = copy.deepcopy(network)
        strides: list[tuple[int, ...]] = []
        for block, other in zip(network, plain, strict=True):
            block.register_forward_hook(lambda module, inputs, output: strides.append(output.stride()))
            weight = other.layer.weight
            other.layer = nn.Linear(10, 10, bias=False)
            other.layer.weight = weight
            if norm == "batch":
                other.norm.__class__ = nn.BatchNorm1d
        x = torch.randn(50, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        outputs = [net(x) for net in (network, plain)]
        assert strides == [(1, 50)] * 25
        torch.testing.assert_close(*outputs, rtol=1e-9, atol=1e-9)
        for output in outputs:
            output.square().sum().backward()
        for one, two in zip(network.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(one.grad, two.grad, rtol=1e-7, atol=1e-7)
        for one, two in zip(network.buffers(), plain.buffers(), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-9)

    def test_deep_linear_of_other_sizes(self) -> None:
        network = build("deep_linear", spec=DataSpec((7,), 3, "regression"), depth=3, dimension=5)
        assert [tuple(block.layer.weight.shape) for block in network] == [(5, 7), (5, 5), (3, 5)]

    def test_mlp(self) -> None:
        network = build("mlp", spec=MNIST, widths=[20, 30], activation="sigmoid", dropout=0.1)
        assert [name for name, _ in leaves(network)] == [
            "flatten", "fc1.layer", "fc1.activation", "fc2.layer", "fc2.activation", "dropout", "head.layer",
        ]  # fmt: skip
        shapes = [tuple(m.weight.shape) for m in network.modules() if isinstance(m, nn.Linear)]
        assert shapes == [(20, 784), (30, 20), (10, 30)]
        assert len(list(leaves(build("mlp", widths=[])))) == 2


def outputs_of_leaves(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """What every leaf gives, by its name, in the order of the calls."""
    found: dict[str, Tensor] = {}
    hooks = [
        leaf.register_forward_hook(lambda module, inputs, output, name=name: found.update({name: output}))
        for name, leaf in leaves(network)
    ]
    network(x)
    for hook in hooks:
        hook.remove()
    return found


class TestLeaves:
    @pytest.mark.parametrize("name", CHAINS)
    def test_the_network_is_their_composition_in_order(self, name: str) -> None:
        norm = {"name": "noisy_batch"}
        network = build(name, norm, **({} if "linear" in name else {"dropout": 0.3}))
        x = inputs_for(SPECS[name])
        twin = copy.deepcopy(network)
        with randomness.at_step(0, 7):
            outputs = outputs_of_leaves(network, x)
        assert list(outputs) == [name for name, _ in leaves(network)]
        with randomness.at_step(0, 7):
            for key, value in outputs.items():
                x = twin.get_submodule(key)(x)
                assert torch.equal(x, value), key

    def test_outputs_are_not_changed_by_what_follows(self) -> None:
        outputs = outputs_of_leaves(build("vgg_small", {"name": "batch"}), inputs_for(DIGITS))
        normalised, rectified = outputs["conv1.norm"], outputs["conv1.activation"]
        assert normalised.min() < 0
        assert torch.equal(rectified, normalised.clamp(min=0))


class TestPlaces:
    def test_are_the_qualified_names(self) -> None:
        network = build("vgg_small", {"name": "noisy_batch"}, dropout=0.5)
        places = {name: m.place for name, m in network.named_modules() if hasattr(m, "place")}
        within = [f"conv{i}.norm.{part}" for i in range(1, 7) for part in ("batch", "noise")]
        assert set(places) == {*within, "dropout"}
        assert all(name == place for name, place in places.items())
        assert copy.deepcopy(network).dropout.place == "dropout"

    def test_dropout(self) -> None:
        dropout, x = Dropout(0.25), torch.ones(1000, 100)
        dropout.place = "dropout"

        def draw(step: int) -> Tensor:
            with randomness.at_step(0, step):
                return dropout(x)

        y = draw(0)
        assert torch.equal(draw(0), y)
        assert not torch.equal(draw(1), y)
        assert y.unique().tolist() == [0.0, pytest.approx(4 / 3)]
        assert (y == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
        assert torch.equal(dropout.eval()(x), x)
        assert dropout.train()(x.double()).dtype == torch.float64


class TestInitialisation:
    def weights(self, network: nn.Module) -> dict[str, Tensor]:
        return {n: m.weight.detach() for n, m in network.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))}

    @pytest.mark.parametrize(
        ("options", "deviation"),
        [
            ({}, lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out))),
            ({"initialisation": "he"}, lambda fan_in, fan_out: math.sqrt(2 / fan_in)),
            ({"initialisation": "gaussian", "init_std": 0.2}, lambda fan_in, fan_out: 0.2),
            ({"gain": 3.0}, lambda fan_in, fan_out: 3 * math.sqrt(2 / (fan_in + fan_out))),
            ({"initialisation": "gaussian", "init_std": 0.2, "gain": 2}, lambda fan_in, fan_out: 0.4),
        ],
    )
    def test_schemes(self, options: dict, deviation: Any) -> None:
        network = build("vgg_small", convolutions_per_stage=2, head_width=500, **options)
        weights = self.weights(network)
        for name in ("conv5.layer", "fc1.layer"):
            weight = weights[name]
            receptive = weight[0, 0].numel()
            expected = deviation(weight.shape[1] * receptive, weight.shape[0] * receptive)
            assert weight.std().item() == pytest.approx(expected, rel=0.02), name
            assert weight.mean().item() == pytest.approx(0, abs=0.02 * expected), name
            within = (weight.abs() < expected).float().mean().item()
            uniform = "initialisation" not in options
            assert within == pytest.approx(1 / math.sqrt(3) if uniform else 0.6827, abs=0.01), name
        for name, parameter in network.named_parameters():
            if name.endswith("layer.bias"):
                assert not parameter.any(), name

    def test_glorot_vgg16_has_the_papers_squared_norm(self) -> None:
        """3.9e3 over the convolutions, from which the weight decay of Santurkar et al. (2018) is inferred."""
        weights = self.weights(build("vgg16", width=1.0))
        assert sum(w.square().sum().item() for n, w in weights.items() if n != "head.layer") == pytest.approx(
            3.87e3, rel=0.01
        )

    @pytest.mark.parametrize("name", ["vgg_small", "deep_linear", "mlp"])
    def test_is_the_same_for_every_norm_and_a_function_of_the_seed(self, name: str) -> None:
        reference = self.weights(build(name, seed=3))
        assert len({tuple(w.flatten()[:5].tolist()) for w in reference.values()}) == len(reference)
        for norm in NORMS.names():
            if norm in ("instance", "group") and name != "vgg_small":
                continue
            for key, weight in self.weights(build(name, {"name": norm}, seed=3)).items():
                if norm == "weight":
                    torch.testing.assert_close(weight, reference[key], rtol=1e-6, atol=1e-7)
                else:
                    assert torch.equal(weight, reference[key]), (norm, key)
        other = self.weights(build(name, seed=4))
        assert all(not torch.equal(other[key], reference[key]) for key in reference)

    def test_building_leaves_the_global_random_state_alone(self) -> None:
        state = torch.get_rng_state()
        first = build("vgg_small", {"name": "noisy_batch", "noise_at_eval": True}, dropout=0.5)
        assert torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(5)
        second = build("vgg_small", {"name": "noisy_batch", "noise_at_eval": True}, dropout=0.5)
        for key, value in first.state_dict().items():
            assert torch.equal(second.state_dict()[key], value)

    def test_building_moves_no_running_statistics(self) -> None:
        for norm in ("batch", "l2", "batch_renorm"):
            network = build("mlp", {"name": norm})
            assert network.fc1.norm.num_batches_tracked == 0
            assert not network.fc1.norm.running_mean.any()

    def test_precision_changes_nothing(self) -> None:
        single, double = nn.Sequential(nn.Linear(3, 4)), nn.Sequential(nn.Linear(3, 4)).double()
        for network in (single, double):
            initialise(network, "glorot", seed=2)
        assert torch.equal(single[0].weight.double(), double[0].weight)


@pytest.mark.parametrize(
    ("name", "spec", "options", "line"),
    [
        ("vgg12", CIFAR, {}, r"model=vgg12: unknown model; did you mean 'vgg1\d'\? allowed: deep_linear, linear_n"),
        ("vgg11", DIGITS, {}, r"needs images of 32x32 or more, not 8x8 .*models that fit: vgg_small, mlp"),
        ("vgg_small", DataSpec((1, 4, 4), 2, ""), {}, r"images of 8x8 or more, not 4x4 .*models that fit: mlp$"),
        ("vgg16", VECTORS, {}, r"needs images, not inputs of shape 10; models that fit: mlp, deep_linear"),
        ("deep_linear", CIFAR, {}, r"needs vectors, not inputs of shape 3x32x32; models that fit: mlp, vgg_small"),
        ("vgg11", CIFAR, {"width": 0.0}, r"model\.width=0.0: must be more than 0"),
        ("vgg11", CIFAR, {"widht": 0.5}, r"model\.widht=0.5: unknown option; did you mean 'width'\?"),
        ("vgg11", CIFAR, {"head_width": 0}, r"model\.head_width=0: must be null or at least 1"),
        ("vgg11", CIFAR, {"activation": "gelu"}, r"model\.activation=gelu: did you mean 'relu'"),
        ("vgg11", CIFAR, {"placement": "over"}, r"model\.placement=over: allowed: after, before"),
        ("vgg_small", DIGITS, {"convolutions_per_stage": 4}, r"model\.convolutions_per_stage=4: must be 1, 2 or 3"),
        ("vgg_small", DIGITS, {"dropout": 1.0}, r"model\.dropout=1.0: must be at least 0 and less than 1"),
        ("resnet", DIGITS, {"depth": 12}, r"model\.depth=12: must be 6n \+ 2: 8, 14, 20, 32, 44, 56, 110, \.\.\."),
        ("resnet", DIGITS, {"depth": 2}, r"model\.depth=2: must be 6n \+ 2"),
        ("resnet", VECTORS, {}, r"model=resnet: needs images, not inputs of shape 10; models that fit: mlp, res"),
        ("resnet", DataSpec((1, 8, 4), 2, ""), {}, r"needs images of 8x8 or more, not 1x8x4; models that fit"),
        ("residual_mlp", DIGITS, {"blocks": 0}, r"model\.blocks=0: must be at least 1"),
        ("residual_mlp", DIGITS, {"branch": "half"}, r"model\.branch=half: allowed: plain, scaled, skipinit, undone"),
        ("mlp", DIGITS, {"widths": [10, 0]}, r"model\.widths=\[10, 0\]: must all be at least 1"),
        ("mlp", DIGITS, {"widths": ["a"]}, r"model\.widths=\['a'\]: must be"),
        ("deep_linear", VECTORS, {"depth": 0}, r"model\.depth=0: must be at least 1"),
        ("deep_linear", VECTORS, {"dimension": 2.5}, r"model\.dimension=2.5: must be a whole number"),
        ("mlp", DIGITS, {"initialisation": "xavier"}, r"model\.initialisation=xavier: must be one of glorot, he"),
        ("mlp", DIGITS, {"gain": 0.0}, r"model\.gain=0.0: must be more than 0"),
        ("mlp", DIGITS, {"initialisation": "gaussian", "init_std": -1.0}, r"model\.init_std=-1.0: must be more than 0"),
    ],
)  # fmt: skip
def test_wrong_input(name: str, spec: DataSpec, options: dict, line: str) -> None:
    with pytest.raises(WrongInput, match=line) as caught:
        build_model({"name": name, "file": None, **options}, NONE, spec, 0)
    assert "\n" not in str(caught.value)


def test_a_norm_that_does_not_fit_is_named() -> None:
    with pytest.raises(WrongInput, match=r"norm\.groups=8: does not divide the 10 units"):
        build("deep_linear", {"name": "group"})
    with pytest.raises(WrongInput, match=r"norm=bathc: unknown norm; did you mean 'batch'\?"):
        build("mlp", {"name": "bathc"})
    with pytest.raises(WrongInput, match=r"unknown initialisation"):
        initialise(nn.Linear(1, 1), "xavier")  # type: ignore[arg-type]


USER_FILE = '''
import torch
from torch import nn

from experiments.models import Network


def wide(spec, norm, *, width: int = 12):
    """One hidden layer."""
    hidden = norm(nn.Linear(spec.input_shape[0], width), activation="relu")
    return Network({"hidden": hidden, "head": nn.Linear(width, spec.outputs)})


class Residual(nn.Module):
    def __init__(self, spec, norm):
        super().__init__()
        self.first = norm(nn.Linear(spec.input_shape[0], 12))
        self.skip = nn.Linear(spec.input_shape[0], 12)
        self.free = nn.Parameter(torch.randn(12))
        self.head = nn.Linear(12, spec.outputs)

    def forward(self, x):
        return self.head(self.first(x) + self.skip(x) * self.free)


def number(spec, norm):
    return 3


def scalar(spec, norm):
    return nn.Sequential(nn.Linear(10, 1), nn.Flatten(0))


class Pair(Residual):
    def forward(self, x):
        return x, x


def mismatched(spec, norm):
    return nn.Linear(11, 10)
'''


class TestUsersOwn:
    @pytest.fixture
    def file(self, tmp_path: Path) -> str:
        path = tmp_path / "mine.py"
        path.write_text(USER_FILE)
        return str(path)

    def test_network(self, file: str) -> None:
        options = {"name": "wide", "file": file, "width": 5, "initialisation": "he"}
        network = build_model(options, {"name": "noisy_batch"}, VECTORS, 0)
        assert isinstance(network, Network)
        assert network.hidden.norm.noise.place == "hidden.norm.noise"
        assert network(inputs_for(VECTORS)).shape == (4, 10)
        with pytest.raises(WrongInput, match=r"model\.widthh=5: unknown option; did you mean 'width'\?"):
            build_model({"name": "wide", "file": file, "widthh": 5}, NONE, VECTORS, 0)

    def test_any_module(self, file: str) -> None:
        def make(seed: int, **options: Any) -> nn.Module:
            return build_model({"name": "Residual", "file": file, **options}, {"name": "noise"}, VECTORS, seed)

        state = torch.get_rng_state()
        network = make(0)
        assert network.first.norm.place == "first.norm"
        for key, value in network.state_dict().items():
            assert torch.equal(make(0).state_dict()[key], value)  # also what the user's own code draws
        assert torch.equal(torch.get_rng_state(), state)
        assert not torch.equal(make(1).free, network.free)
        assert not network.head.bias.any()
        assert make(0, initialisation=None).head.bias.any()

    @pytest.mark.parametrize(
        ("name", "line"),
        [
            ("number", r"model\.name=number: gives int; must give a torch.nn.Module"),
            ("scalar", r"model\.name=scalar: gives \(2,\) for inputs of shape \(2, 10\); must give .* \(2, 10\)$"),
            ("Pair", r"model\.name=Pair: gives tuple for inputs of shape \(2, 10\)"),
            ("mismatched", r"model\.name=mismatched: fails on inputs of shape \(2, 10\): RuntimeError: "),
            ("missing", r"model\.name=missing: not in "),
        ],
    )
    def test_wrong(self, file: str, name: str, line: str) -> None:
        with pytest.raises(WrongInput, match=line) as caught:
            build_model({"name": name, "file": file}, NONE, VECTORS, 0)
        assert "\n" not in str(caught.value)


def test_network_slices_and_restores() -> None:
    network = build("mlp", {"name": "batch"})
    assert isinstance(network[:2], Network)
    twin = build("mlp", {"name": "batch"}, seed=1)
    twin.load_state_dict(network.state_dict())
    x = inputs_for(DIGITS)
    assert torch.equal(twin(x), network(x))
    assert isinstance(Network(OrderedDict(a=nn.ReLU())), nn.Sequential)
