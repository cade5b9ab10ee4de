"""The door to the normalisations: what it builds, what it refuses, and how each behaves outside training."""

from __future__ import annotations

import copy
import inspect
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn

from experiments.errors import WrongInput
from experiments.models import MODELS
from experiments.norms import NORMS, NormalisedLayer, OutputNormalisation, Rewritten, apply_norm
from experiments.norms.batch import BatchNorm1d
from probes import randomness

NAMES = [
    "batch",
    "batch_renorm",
    "cosine",
    "dyt",
    "group",
    "instance",
    "l1",
    "l2",
    "layer",
    "linf",
    "noise",
    "noisy_batch",
    "none",
    "weight",
    "whitening",
]
RUNNING = ["batch", "batch_renorm", "l1", "l2", "linf", "noisy_batch", "whitening"]
REWRITING = ["cosine", "none", "weight"]
CASES = [(name, kind) for name in NAMES for kind in ("linear", "convolution") if (name, kind) != ("instance", "linear")]
CONF = Path(__file__).parent.parent / "conf"


def make_layer(kind: str) -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(6, 8).double() if kind == "linear" else nn.Conv2d(3, 8, 3, padding=1).double()


def make_inputs(kind: str, samples: int = 5, seed: int = 1) -> Tensor:
    shape = (samples, 6) if kind == "linear" else (samples, 3, 4, 4)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def door(name: str, layer: nn.Module, **options: object) -> NormalisedLayer:
    """``apply_norm`` with as many groups as a Linear of 8 units can have."""
    return apply_norm(layer, name, **({"groups": 4} if name == "group" else {}), **options)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_batch_normalisation_of_vectors_takes_sequences_of_any_layout(order: tuple[int, int, int]) -> None:
    """(samples, channels, places), also where samples are neighbours in memory, as torch's own."""
    sizes, generator = (5, 6, 7), torch.Generator().manual_seed(0)
    held = torch.randn([sizes[axis] for axis in order], generator=generator, dtype=torch.float64)
    x = held.permute([order.index(axis) for axis in range(3)])
    assert x.shape == sizes
    ours, theirs = BatchNorm1d(6).double(), nn.BatchNorm1d(6).double()
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.running_var, theirs.running_var)


def test_the_built_in_names() -> None:
    assert NORMS.names() == NAMES


@pytest.mark.parametrize(("name", "kind"), CASES)
@pytest.mark.parametrize("placement", ["before", "after"])
def test_children_and_dtype(name: str, kind: str, placement: str) -> None:
    layer = make_layer(kind)
    block = door(name, layer, activation="relu", placement=placement)
    assert isinstance(block, NormalisedLayer)
    assert type(block).forward is nn.Sequential.forward
    expected = ["layer", "norm", "activation"] if placement == "before" else ["layer", "activation", "norm"]
    if name in REWRITING:
        expected.remove("norm")
    assert [key for key, _ in block.named_children()] == expected
    assert block.layer is layer
    x = make_inputs(kind)
    y = block(x)
    assert y.dtype == torch.float64
    step_by_step = x
    for child in block:
        step_by_step = child(step_by_step)
    if name not in ("noise", "noisy_batch"):  # those draw anew outside a step
        assert torch.equal(y, step_by_step)
    if name not in (*REWRITING, "noise"):
        norm = block.norm.batch if name == "noisy_batch" else block.norm
        assert torch.equal(norm.weight, torch.ones(8, dtype=torch.float64))
        assert torch.equal(norm.bias, torch.zeros(8, dtype=torch.float64))


def test_activations() -> None:
    x = make_inputs("linear")
    for name, function in {"relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh}.items():
        block = apply_norm(make_layer("linear"), "none", activation=name)
        assert torch.equal(block(x), function(block.layer(x)))
    for name in ("none", None):
        assert len(apply_norm(make_layer("linear"), "none", activation=name)) == 1


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_copies_saves_and_trains_deterministically(name: str, kind: str) -> None:
    """A step under deterministic algorithms moves every parameter; a copy and a restored state go the same way."""

    def step(block: nn.Module, number: int) -> Tensor:
        optimiser = torch.optim.SGD(block.parameters(), lr=1e-3)
        optimiser.zero_grad()
        with randomness.at_step(0, number):
            output = block(make_inputs(kind, seed=number))
        (
            output * torch.linspace(0.5, 2.0, output.numel(), dtype=output.dtype).view_as(output)
        ).square().sum().backward()
        optimiser.step()
        return output.detach()

    block = door(name, make_layer(kind))
    torch.use_deterministic_algorithms(True)
    try:
        before = [p.clone() for p in block.parameters()]
        step(block, 1)
        moved = [name for (name, p), old in zip(block.named_parameters(), before, strict=True) if torch.equal(p, old)]
        assert not [m for m in moved if m != "layer.bias"]  # which batch normalisation makes redundant
        twin = copy.deepcopy(block)
        restored = door(name, make_layer(kind))
        restored.load_state_dict(block.state_dict())
        outputs = [step(b, 2) for b in (block, twin, restored)]
    finally:
        torch.use_deterministic_algorithms(False)
    for other, output in zip((twin, restored), outputs[1:], strict=True):
        assert torch.equal(output, outputs[0])
        for key, value in block.state_dict().items():
            assert torch.equal(other.state_dict()[key], value), key


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_evaluation_mode(name: str, kind: str) -> None:
    """With running statistics, which are buffers, samples do not depend on the batch; the others do as in training."""
    block = door(name, make_layer(kind))
    buffers = [key.rpartition(".")[2] for key, _ in block.named_buffers()]
    assert ("num_batches_tracked" in buffers) == (name in RUNNING)
    for i in range(3):
        block(make_inputs(kind, seed=i))
    training = block(make_inputs(kind))
    block.eval()
    state = copy.deepcopy(block.state_dict())
    x = make_inputs(kind)
    y = block(x)
    torch.testing.assert_close(block(x[:1]), y[:1], rtol=1e-12, atol=1e-12)
    assert torch.equal(block(x), y)
    for key, value in block.state_dict().items():
        assert torch.equal(value, state[key]), key
    if name in (*RUNNING, "noise"):
        assert (y - training).abs().max() > 1e-3
    else:
        assert torch.equal(y, training)
    if name == "noise":
        assert torch.equal(y, block.layer(x))


@pytest.mark.parametrize("name", ["noise", "noisy_batch"])
def test_noise_at_eval(name: str) -> None:
    x = make_inputs("linear")
    quiet = apply_norm(make_layer("linear"), name).eval()
    noisy = apply_norm(make_layer("linear"), name, noise_at_eval=True).eval()
    with randomness.at_step(0, 0):
        assert (noisy(x) - quiet(x)).abs().max() > 0.05


@pytest.mark.parametrize("name", RUNNING)
def test_a_training_batch_of_one_value_per_unit_is_refused(name: str) -> None:
    linear = apply_norm(make_layer("linear"), name)
    with pytest.raises(WrongInput, match=r"shape \(1, 8\) has one value per unit.*a larger batch"):
        linear(make_inputs("linear", samples=1))
    assert all(
        torch.equal(b, torch.eye(8).to(b) if "covariance" in k else torch.full_like(b, "var" in k or "denom" in k))
        for k, b in linear.named_buffers()
    )
    linear.eval()(make_inputs("linear", samples=1))
    convolution = apply_norm(make_layer("convolution"), name)
    convolution(make_inputs("convolution", samples=1))  # 16 values per channel
    with pytest.raises(WrongInput, match="one value per"):
        convolution(make_inputs("convolution", samples=1)[:, :, :1, :1])


def test_an_image_of_one_pixel_is_refused_where_it_is_all_there_is() -> None:
    pixel = make_inputs("convolution")[:, :, :1, :1]
    for name, options in (("instance", {}), ("group", {"groups": 8})):
        for training in (True, False):
            with pytest.raises(WrongInput, match="one value per"):
                apply_norm(make_layer("convolution"), name, **options).train(training)(pixel)
    apply_norm(make_layer("convolution"), "layer")(pixel)  # eight channels are eight values


@pytest.mark.parametrize(
    ("kind", "name", "options", "line"),
    [
        ("linear", "bach", {}, r"norm=bach: unknown norm; did you mean 'batch'\? allowed: batch, batch_renorm,"),
        ("linear", "batch", {"momentun": 0.1}, r"norm.momentun=0.1: unknown option; did you mean 'momentum'\?"),
        ("linear", "batch", {"eps": "small"}, "norm.eps=small: must be a number, not str"),
        ("linear", "batch", {"eps": 0.0}, "norm.eps=0.0: must be more than 0"),
        ("linear", "l1", {"eps": -1.0}, "norm.eps=-1.0: must be at least 0"),
        ("linear", "l2", {"momentum": 2.0}, "norm.momentum=2.0: must be from 0 to 1"),
        ("linear", "l1", {"centered": 1}, "norm.centered=1: must be true or false"),
        ("linear", "noise", {"n_sigma": 0.5}, "norm.n_sigma=0.5: must be at least 1"),
        ("linear", "noise", {"correlation_time": 0.5}, "norm.correlation_time=0.5: must be from 1 to 10000"),
        (
            "linear",
            "noise",
            {"correlation_time": 1e12},
            "norm.correlation_time=1000000000000.0: must be from 1 to 10000",
        ),
        (
            "linear",
            "noisy_batch",
            {"correlation_time": 2.0, "noise_per": "sample"},
            "norm.correlation_time=2: must be 1 with norm.noise_per=sample, for no unit keeps what is drawn",
        ),
        ("linear", "dyt", {"alpha": -0.5}, "norm.alpha=-0.5: must be at least 0"),
        ("linear", "cosine", {"eps": 0.0}, "norm.eps=0.0: must be more than 0"),
        ("linear", "whitening", {"eps": 0.0}, "norm.eps=0.0: must be more than 0"),
        ("linear", "whitening", {"group_size": 0}, "norm.group_size=0: must be at least 1"),
        ("linear", "whitening", {"iterations": 0}, "norm.iterations=0: must be at least 1"),
        ("linear", "whitening", {"detach": "all"}, "norm.detach=all: allowed: both, mean, none, std"),
        ("linear", "noisy_batch", {"r_sigma": -0.5}, "norm.r_sigma=-0.5: must be at least 0"),
        ("linear", "batch_renorm", {"r_max": 0.5}, "norm.r_max=0.5: must be at least 1"),
        ("linear", "batch_renorm", {"warmup": -1}, "norm.warmup=-1: must be at least 0"),
        ("linear", "batch_renorm", {"ghost_size": 0}, "norm.ghost_size=0: must be at least 1"),
        ("linear", "none", {"eps": 1e-5}, "norm.eps=1e-05: unknown option; it has none"),
        ("linear", "instance", {}, "norm=instance: does not fit a Linear: it normalises each channel"),
        ("convolution", "group", {"groups": 3}, r"norm.groups=3: does not divide the 8 units of a Conv2d.*1, 2, 4, 8$"),
        ("linear", "group", {"groups": 8}, r"norm.groups=8: .* groups of 2 or more; allowed: 1, 2, 4$"),
        ("linear", "group", {"groups": 0}, "norm.groups=0: "),
        ("linear", "none", {"activation": "rely"}, r"activation=rely: unknown activation; did you mean 'relu'\?"),
        ("linear", "none", {"placement": "between"}, "placement=between: must be before or after"),
    ],
)
def test_wrong_options(kind: str, name: str, options: dict, line: str) -> None:
    with pytest.raises(WrongInput, match=line) as caught:
        apply_norm(make_layer(kind), name, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_other_layers_are_refused(name: str) -> None:
    with pytest.raises(WrongInput, match="layer=Conv1d: cannot be normalised; allowed: Linear, Conv2d"):
        apply_norm(nn.Conv1d(2, 2, 1), name)


def test_layer_normalisation_of_one_unit_is_refused() -> None:
    with pytest.raises(WrongInput, match="one value per sample"):
        apply_norm(nn.Linear(3, 1), "layer")


USER_FILE = '''
import torch
from torch import nn

from experiments.norms import OutputNormalisation, Rewritten


class Spread(OutputNormalisation):
    """y = gamma (x - mean) / (max - min + eps) + beta."""

    def __init__(self, layer: nn.Module, *, factor: float = 1.0, eps: float = 1e-3):
        super().__init__(layer, eps=eps)
        self.factor = factor

    def statistics(self, x):
        return x.mean(self.dims), self.factor * (x.amax(self.dims) - x.amin(self.dims)) + self.eps


class Halve(nn.Module):
    def __init__(self, layer):
        super().__init__()

    def forward(self, x):
        return x / 2


def unit_rows(layer):
    with torch.no_grad():
        layer.weight /= layer.weight.flatten(1).norm(dim=1).view(-1, *[1] * (layer.weight.ndim - 1))
    return Rewritten(layer)


def wrong(layer):
    return 3


def refuses(layer):
    raise ValueError("not today")
'''


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    file = tmp_path / "mine.py"
    file.write_text(USER_FILE)
    return file


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_a_users_own_normalisation(user_file: Path, kind: str) -> None:
    block = apply_norm(make_layer(kind), "Spread", file=user_file, factor=2)
    dims = (0, 2, 3) if kind == "convolution" else (0,)
    x = make_inputs(kind)
    z = block.layer(x)
    mean = z.mean(dims, keepdim=True)
    spread = 2 * (z.amax(dims, keepdim=True) - z.amin(dims, keepdim=True)) + 1e-3
    torch.testing.assert_close(block(x), (z - mean) / spread, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(block.norm.running_mean, 0.1 * mean.flatten(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(block.norm.running_denominator, 0.9 + 0.1 * spread.flatten(), rtol=1e-12, atol=1e-12)
    assert block.norm.num_batches_tracked == 1
    if kind == "linear":
        with pytest.raises(WrongInput, match=r"norm=Spread: a batch of shape .* has one value per unit"):
            block(x[:1])
    halved = apply_norm(make_layer(kind), "Halve", file=user_file)
    assert torch.equal(halved(x), halved.layer(x) / 2)
    rewritten = apply_norm(make_layer(kind), "unit_rows", file=user_file, activation="tanh")
    assert [key for key, _ in rewritten.named_children()] == ["layer", "activation"]
    torch.testing.assert_close(rewritten.layer.weight.flatten(1).norm(dim=1), torch.ones(8, dtype=torch.float64))


def test_a_class_instead_of_a_name() -> None:
    class Identity(nn.Module):
        def __init__(self, layer: nn.Module, *, times: int = 1) -> None:
            super().__init__()
            self.times = times

        def forward(self, x: Tensor) -> Tensor:
            return x * self.times

    assert apply_norm(make_layer("linear"), Identity, times=3).norm.times == 3
    with pytest.raises(WrongInput, match=r"norm\.times=x: must be a whole number"):
        apply_norm(make_layer("linear"), Identity, times="x")


def test_a_users_file_that_does_not_fit(user_file: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match=r"norm.name=Spred: not in .*; did you mean 'Spread'\?"):
        apply_norm(make_layer("linear"), "Spred", file=user_file)
    with pytest.raises(WrongInput, match=r"norm.name=wrong: gives int; must give a torch.nn.Module"):
        apply_norm(make_layer("linear"), "wrong", file=user_file)
    with pytest.raises(WrongInput, match="norm: not today"):
        apply_norm(make_layer("linear"), "refuses", file=user_file)
    with pytest.raises(WrongInput, match=r"norm\.file=.*other\.py: "):
        apply_norm(make_layer("linear"), "Spread", file=tmp_path / "other.py")


def test_the_base_class_asks_for_statistics() -> None:
    with pytest.raises(NotImplementedError, match=r"must define statistics\(x\)"):
        OutputNormalisation(nn.Linear(2, 2))(torch.zeros(3, 2))


def test_public_pieces() -> None:
    layer = nn.Linear(2, 2)
    assert Rewritten(layer).layer is layer
    assert isinstance(apply_norm(layer, "batch").norm, (BatchNorm1d, nn.BatchNorm1d))


@pytest.mark.parametrize("kind", ["norm", "model"])
def test_yaml_states_every_option_with_its_default(kind: str) -> None:
    registry, positional = (NORMS, 1) if kind == "norm" else (MODELS, 2)
    files = {path.stem: path for path in (CONF / kind).glob("*.yaml")}
    assert set(registry.names()) <= set(files)
    for stem, path in files.items():
        assert path.read_text().startswith("# "), path
        content = yaml.safe_load(path.read_text())
        assert content.pop("file") is None
        name = content.pop("name")
        entry = inspect.signature(registry.get(name))
        defaults = {p.name: p.default for p in list(entry.parameters.values())[positional:]}
        if kind == "model":
            defaults |= {"initialisation": "glorot", "gain": 1.0, "init_std": 0.01}
        assert set(content) == set(defaults), path
        if stem in registry.names():
            assert name == stem
            assert content == {k: list(v) if isinstance(v, tuple) else v for k, v in defaults.items()}, path
