"""Which layers are normalised, normalisations that stand alone or first, and how weights and scales start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from experiments.errors import WrongInput
from experiments.models import MODELS, build_model
from experiments.norms import NORMS, NormalisedLayer, apply_norm
from probes import randomness
from tests.test_identity_defaults import name as run_name
from tests.test_models import DIGITS, NONE, SPECS, VECTORS, build, inputs_for

BATCH = {"name": "batch"}


def normalised(network: nn.Module) -> list[str]:
    """The blocks that hold a normalisation, by name."""
    blocks = {name: module for name, module in network.named_modules() if isinstance(module, NormalisedLayer)}
    return [name for name, block in blocks.items() if hasattr(block, "norm")]


MLP4 = {"widths": [5, 6, 7]}
AT: dict[Any, list[str]] = {
    None: ["fc1", "fc2", "fc3"],
    "hidden": ["fc1", "fc2", "fc3"],
    "all": ["fc1", "fc2", "fc3", "head"],
    "output": ["head"],
    "last_hidden": ["fc3"],
    "all_but_last": ["fc1", "fc2"],
    "fc[13]": ["fc1", "fc3"],
    "*d": ["head"],
    ("fc2", "h*"): ["fc2", "head"],
}


@pytest.mark.parametrize("at", list(AT))
def test_what_norm_at_means(at: Any) -> None:
    chosen = list(at) if isinstance(at, tuple) else at
    network = build("mlp", BATCH, norm_at=chosen, **MLP4)
    assert normalised(network) == AT[at]
    reference = build("mlp", BATCH, **MLP4)
    for key, value in reference.state_dict().items():  # and nothing else is another
        if ".layer." in key:
            assert torch.equal(network.state_dict()[key], value), key


@pytest.mark.parametrize("model", list(SPECS))
@pytest.mark.parametrize("norm", ["batch", "weight"])
def test_every_model_has_an_output_and_hidden_layers(model: str, norm: str) -> None:
    options = {"depth": 3} if model == "deep_linear" else {}
    if model == "linear_neuron":
        assert normalised(build(model, BATCH)) == normalised(build(model, BATCH, norm_at="output")) == ["neuron"]
        return

    def of(at: str) -> list[str]:
        network = build(model, {"name": norm}, norm_at=at, **options)
        if norm == "batch":
            return normalised(network)
        rewritten = [name for name, module in network.named_modules() if hasattr(module, "parametrizations")]
        return [name.removesuffix(".layer") for name in rewritten]

    output, hidden = of("output"), of("hidden")
    if (norm, model) == ("weight", "residual_mlp"):  # what stands alone before the head is no layer to rewrite
        with pytest.raises(WrongInput, match=r"^norm=weight: the model residual_mlp normalises no layer"):
            of("last_hidden")
        last = []
    else:
        last = of("last_hidden")
        assert len(last) == 1
    assert len(output) == 1
    assert of("all") == hidden + output
    assert of("all_but_last") + last == hidden


def test_all_models_were_tried() -> None:
    assert set(SPECS) == set(MODELS.names())


def test_the_networks_output_is_normalised() -> None:
    network = build("vgg_small", BATCH, norm_at="all")
    y = network(inputs_for(DIGITS, 32))
    torch.testing.assert_close(y.mean(0), torch.zeros(10), rtol=0, atol=1e-5)
    torch.testing.assert_close(y.var(0, correction=0), torch.ones(10), rtol=0, atol=1e-2)


def test_deep_linear_keeps_its_own_option() -> None:
    for last, expected in ((True, ["layer1", "layer2"]), (False, ["layer1"])):
        assert normalised(build("deep_linear", BATCH, depth=2, norm_last=last)) == expected
        assert normalised(build("deep_linear", BATCH, depth=2, norm_last=last, norm_at="output")) == ["layer2"]


USER_FILE = """
import torch
from torch import nn
from experiments.models import Network

def Own(spec, norm):
    before = norm(units=10, dims=1)
    first = norm(nn.Linear(10, 6), activation="relu")
    last = norm(nn.Linear(6, 6), activation="relu", placement="first")
    torch.rand(3)
    return Network({"before": before, "first": first, "last": last, "head": nn.Linear(6, spec.outputs)})

def Alone(spec, norm):
    return Network({"before": norm(units=10, dims=1), "head": nn.Linear(10, spec.outputs)})
"""


@pytest.fixture
def own(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "own.py").write_text(USER_FILE)
    return {"name": "Own", "file": str(tmp_path / "own.py")}


def test_a_users_model(own: dict[str, Any]) -> None:
    assert normalised(build_model(own, BATCH, VECTORS, 0)) == ["before", "first", "last"]
    network = build_model({**own, "norm_at": "last*"}, BATCH, VECTORS, 0)
    assert normalised(network) == ["last"]
    plain = build_model({**own, "initialisation": None}, NONE, VECTORS, 0)
    placed = build_model({**own, "initialisation": None, "norm_at": "hidden"}, NONE, VECTORS, 0)
    assert all(map(torch.equal, plain.state_dict().values(), placed.state_dict().values()))  # made twice, drawn alike
    for at in ("all", "output"):
        with pytest.raises(WrongInput, match=f"^model.norm_at={at}: this model does not say which layer is its output"):
            build_model({**own, "norm_at": at}, BATCH, VECTORS, 0)


def test_a_model_with_no_layer_to_rewrite_takes_no_normalisation_that_rewrites(own: dict[str, Any]) -> None:
    alone = {**own, "name": "Alone"}
    assert normalised(build_model(alone, BATCH, VECTORS, 0)) == ["before"]
    for norm in ("weight", "cosine"):
        with pytest.raises(WrongInput, match=f"^norm={norm}: the model Alone normalises no layer"):
            build_model(alone, {"name": norm}, VECTORS, 0)


class TestAlone:
    @pytest.mark.parametrize("dims", [1, 2])
    @pytest.mark.parametrize("norm", NORMS.names())
    def test_is_the_normalisation_of_a_layer_that_gives_its_input(self, norm: str, dims: int) -> None:
        if norm == "instance" and dims == 1:
            with pytest.raises(WrongInput, match="norm=instance: does not fit a Linear"):
                apply_norm(None, norm, units=8, dims=dims)
            return
        options = {"groups": 4} if norm == "group" else {}
        state = torch.get_rng_state()
        block = apply_norm(None, norm, units=8, dims=dims, activation="tanh", **options)
        assert torch.equal(torch.get_rng_state(), state)
        layer = nn.Linear(3, 8) if dims == 1 else nn.Conv2d(3, 8, 1)
        x = torch.randn(6, *layer.weight.shape[1:2], *[4] * (2 * dims - 2))
        beside = apply_norm(layer, norm, activation="tanh", **options)
        assert list(block._modules) == [key for key in beside._modules if key != "layer"]
        if hasattr(block, "norm"):
            with randomness.at_step(0, 0):
                assert torch.equal(block(layer(x)), beside(x))

    def test_first_it_acts_on_what_the_layer_takes(self) -> None:
        for layer, shape in ((nn.Linear(4, 3), (6, 4)), (nn.Conv2d(4, 3, 3), (2, 4, 5, 5))):
            block = apply_norm(layer.double(), "batch", activation="relu", placement="first")
            assert list(block._modules) == ["norm", "activation", "layer"]
            assert block.norm.weight.shape == (4,)
            x = torch.randn(*shape, dtype=torch.float64)
            normal = nn.functional.batch_norm(x, None, None, training=True)
            assert torch.equal(block(x), layer(normal.relu()))
        weight = apply_norm(nn.Linear(4, 3), "weight", activation="relu", placement="first")
        assert list(weight._modules) == ["activation", "layer"]
        assert weight.layer.weight.shape == (3, 4)
        assert hasattr(weight.layer, "parametrizations")

    @pytest.mark.parametrize(
        ("layer", "options", "line"),
        [
            (None, {}, "norm: needs a layer, or without one both units and dims"),
            (None, {"units": 3}, "norm: needs a layer, or without one both units and dims"),
            (nn.Linear(2, 2), {"units": 3, "dims": 1}, "norm: needs a layer, or without one"),
            (None, {"units": 3, "dims": 3}, r"norm\(units=3, dims=3\): units must be at least 1, dims 1"),
            (None, {"units": 0, "dims": 1}, r"norm\(units=0, dims=1\): units must be"),
            (nn.Conv1d(2, 2, 1), {"placement": "first"}, "layer=Conv1d: cannot be normalised"),
        ],
    )
    def test_wrong(self, layer: nn.Module | None, options: dict[str, Any], line: str) -> None:
        with pytest.raises(WrongInput, match=f"^{line}"):
            apply_norm(layer, "batch", **options)


class TestStart:
    def test_positive_breaks_the_symmetry_about_0(self) -> None:
        reference = build("mlp", BATCH).fc2.layer.weight
        for a in (0.5, 1.0):
            network = build("mlp", BATCH, positive=a, gain=2.0)
            torch.testing.assert_close(network.fc2.layer.weight, 2 * (reference + a * reference.abs()))
        assert network.fc2.layer.weight.min() == 0
        assert reference.min() < 0

    @pytest.mark.parametrize("norm", ["none", "weight"])
    def test_gains_by_layer(self, norm: str) -> None:
        gains = [{"match": "fc[12]", "gain": 3}, {"match": "head", "gain": 0.5}]
        one, other = build("mlp", {"name": norm}), build("mlp", {"name": norm}, gains=gains)
        for layer, factor in {"fc1": 3, "fc2": 3, "fc3": 1, "head": 0.5}.items():
            expected = factor * one.get_submodule(layer).layer.weight
            torch.testing.assert_close(other.get_submodule(layer).layer.weight, expected, rtol=1e-5, atol=1e-7)

    def test_gamma_is_uniform(self) -> None:
        network = build("mlp", {"name": "noisy_batch"}, gamma="uniform", widths=[4000, 4000], seed=3)
        first, second = (network.get_submodule(f"fc{i}.norm.batch") for i in (1, 2))
        assert not torch.equal(first.weight, second.weight)
        ordered = first.weight.detach().sort().values
        assert (ordered - torch.linspace(0, 1, 4000)).abs().max() < 1.63 / 4000**0.5  # Kolmogorov-Smirnov at 1 %
        assert not first.bias.any()
        again = build("mlp", {"name": "batch"}, gamma="uniform", widths=[4000, 4000], seed=4)
        assert not torch.equal(again.fc1.norm.weight, first.weight)
        build("mlp", {"name": "none"}, gamma="uniform")  # beside others in a sweep

    @pytest.mark.parametrize("norm_at", ["hidden", "all"])
    def test_a_fixed_output_makes_the_network_fully_scale_invariant(self, norm_at: str) -> None:
        """All that is trained is: other lengths, the same function, and gradients across."""
        norm = {"name": "batch", "affine": False, "eps": 1e-12}
        network = build("mlp", norm, norm_at=norm_at, fixed_output=10.0, widths=[6, 5]).double()
        assert network.head.layer.weight.norm().item() == pytest.approx(10)
        assert not network.head.layer.weight.requires_grad
        assert not network.head.layer.bias.requires_grad
        x = inputs_for(DIGITS, 20).double()
        y = network(x)
        y.square().mul(torch.arange(200.0).view(20, 10)).sum().backward()
        assert network.head.layer.weight.grad is None
        weights = {k: p for k, p in network.named_parameters() if p.requires_grad and not k.endswith("bias")}
        assert list(weights) == ["fc1.layer.weight", "fc2.layer.weight"]
        for weight in weights.values():
            cosine = (weight * weight.grad).sum() / weight.norm() / weight.grad.norm()
            assert abs(cosine.item()) < 1e-8
            with torch.no_grad():
                weight.mul_(3.0)
        torch.testing.assert_close(network(x), y)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"norm_at": "fc9"}, r"model.norm_at=fc9: matches nothing; did you mean '.*'\? allowed: all, all_but_"),
        ({"norm_at": "last_hiden"}, "model.norm_at=last_hiden: matches nothing; did you mean 'last_hidden'"),
        ({"norm_at": ["fc1", "x*"]}, r"model.norm_at=x\*: matches nothing; allowed: all"),
        ({"norm_at": 3}, "model.norm_at=3: must be a text or a list of texts or null"),
        ({"norm_at": "last_hidden", "widths": []}, "model.norm_at=last_hidden: this model has no such layer; .* head"),
        ({"gains": [{"match": "conv*", "gain": 2}]}, r"model.gains=conv\*: matches nothing; allowed: fc1, fc2"),
        ({"gains": [{"match": "fc1", "gain": 2}, {"match": "f*", "gain": 2}]}, r"model.gains=f\*: fc1 is matched"),
        ({"gains": [{"match": "fc1", "gain": 0}]}, "model.gains=fc1: gain=0 must be a number above 0"),
        ({"gains": [{"match": "fc1"}]}, r"model.gains=\{'match': 'fc1'\}: must be \{match: "),
        ({"positive": -1.0}, "model.positive=-1.0: must be at least 0"),
        ({"positive": 1.0, "initialisation": None}, "model.positive=1.0: needs an initialisation"),
        ({"gamma": "normal"}, "model.gamma=normal: "),
        ({"gamma": "uniform", "norm": "weight"}, "model.gamma=uniform: this normalisation has no gamma"),
        ({"fixed_output": 0.0}, "model.fixed_output=0.0: must be more than 0"),
        ({"fixed_output": 1.0, "norm": "weight", "norm_at": "all"}, "model.fixed_output=1.0: the output layer's"),
    ],
)  # fmt: skip
def test_wrong_input(options: dict[str, Any], line: str) -> None:
    norm = {"name": options.pop("norm", "batch")} if "norm" in options else BATCH
    with pytest.raises(WrongInput, match=f"^{line}") as told:
        build_model({"name": "mlp", **options}, norm, DIGITS, 0)
    assert "\n" not in str(told.value)


def test_fixed_output_needs_a_model_that_says_which_it_is(own: dict[str, Any]) -> None:
    with pytest.raises(WrongInput, match=r"^model.fixed_output=1.0: this model does not say which layer is its output"):
        build_model({**own, "fixed_output": 1.0}, BATCH, VECTORS, 0)


def test_where_there_is_no_normalisation_its_place_names_nothing() -> None:
    plain = run_name("norm=none")
    assert run_name("norm=none", "model.norm_at=output", "model.gamma=uniform") == plain
    assert run_name("norm=batch", "model.norm_at=output") != run_name("norm=batch")
    assert run_name("norm=none", "model.gains=[{match: head, gain: 2}]") != plain
