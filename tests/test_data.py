"""Data sets as arrays, and batches as a function of (seed, step)."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from experiments.data import DATA, Arrays, Batch, Data, Options, load_data, stratified_draw
from experiments.data.batches import crop_and_flip
from experiments.errors import WrongInput
from probes.randomness import seeded_generator

CONF = Path(__file__).parents[1] / "conf" / "data"
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def images(train: int = 50, test: int = 20, shape: tuple[int, int, int] = (3, 7, 5), classes: int = 4) -> Arrays:
    """Random images, no two alike, with labels 0 1 2 3 0 1 ..."""
    generator = torch.Generator().manual_seed(5)

    def draw(samples: int) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = torch.randint(256, (samples, *shape), generator=generator, dtype=torch.uint8)
        return pixels, torch.arange(samples) % classes

    return Arrays(*draw(train), *draw(test), tuple("abcdefgh"[:classes]))


def same(a: Batch, b: Batch) -> bool:
    return a.step == b.step and torch.equal(a.inputs, b.inputs) and torch.equal(a.targets, b.targets)


def raw(batch: Batch, data: Data) -> list[bytes]:
    """Each sample of an unaugmented batch of plain [0, 1] images, as its former bytes."""
    assert data.spec.task == "classification"
    return [sample.numpy().tobytes() for sample in (batch.inputs.cpu() * 255).round().to(torch.uint8)]


# Digits


def test_digits_are_scikit_learns_split_once_and_for_all():
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    arrays = [DATA.get("digits")(seed) for seed in (0, 1)]
    assert arrays[0].fingerprint == arrays[1].fingerprint
    assert len(arrays[0].inputs_train) == 1437
    assert len(arrays[0].inputs_test) == 360
    ours = torch.cat([arrays[0].inputs_train, arrays[0].inputs_test]).numpy().reshape(-1, 64)
    targets = torch.cat([arrays[0].targets_train, arrays[0].targets_test]).numpy()
    expected = np.rint(pixels * 255 / 16).astype(np.uint8)
    assert sorted(map(bytes, np.c_[ours, targets].astype(np.uint8))) == sorted(
        map(bytes, np.c_[expected, labels].astype(np.uint8))
    )
    share = np.bincount(labels) * 360 / 1797
    assert np.abs(arrays[0].targets_test.bincount().numpy() - share).max() <= 1


def test_the_split_of_the_digits_never_changes():
    """Results on the digits compare across versions only as long as this holds."""
    test = DATA.get("digits")(0).inputs_test.numpy().tobytes()
    assert hashlib.sha256(test).hexdigest() == "1b85f859b56015a16cdf0b8c25aca6f49a0817f2cf770bf074b45b4f163af30b"


# The Gaussian regression


def test_gaussian_targets_are_a_linear_map_of_the_inputs():
    arrays = DATA.get("gaussian")(3, dimension=6, samples=5000, test_samples=40, x_variance=4.0, a_variance=0.25)
    x, y = arrays.inputs_train.double().numpy(), arrays.targets_train.double().numpy()
    a = np.linalg.lstsq(x, y, rcond=None)[0]
    assert np.abs(x @ a - y).max() < 1e-5
    assert np.abs(arrays.inputs_test.numpy() @ a - arrays.targets_test.numpy()).max() < 1e-5, (
        "the test set has the same A"
    )
    assert x.var() == pytest.approx(4.0, rel=0.05)
    entries = [DATA.get("gaussian")(seed, dimension=40, samples=40, a_variance=0.25) for seed in range(3)]
    for drawn in entries:
        solved = np.linalg.solve(drawn.inputs_train.double().numpy(), drawn.targets_train.double().numpy())
        assert solved.var() == pytest.approx(0.25, rel=0.15)


def test_gaussian_is_drawn_from_the_seed_and_more_samples_leave_the_rest():
    load = DATA.get("gaussian")
    assert torch.equal(load(1).inputs_train, load(1).inputs_train)
    assert not torch.equal(load(1).inputs_train, load(2).inputs_train)
    assert not torch.equal(load(1).inputs_train, load(1).inputs_test)
    more = load(1, samples=1500)
    assert torch.equal(more.inputs_test, load(1).inputs_test)
    assert torch.equal(more.targets_test, load(1).targets_test)


def test_least_squares_has_the_condition_mean_and_noise_asked_for():
    load = DATA.get("least_squares")
    arrays = load(3, dimension=4, samples=20000, test_samples=50, condition=100.0, mean=2.0, noise=0.5)
    x, y = arrays.inputs_train, arrays.targets_train
    torch.testing.assert_close(x.mean(0), torch.full((4,), 2.0), rtol=0.02, atol=0)
    expected = torch.diag(torch.tensor([1.0, 100 ** (-1 / 3), 100 ** (-2 / 3), 0.01]))
    torch.testing.assert_close(torch.cov(x.T), expected, rtol=0.05, atol=0.01)
    residual = y - x @ torch.linalg.lstsq(x, y).solution
    assert residual.std().item() == pytest.approx(0.5, rel=0.03)
    clean = load(3, dimension=4, samples=20000, test_samples=50, condition=100.0, mean=2.0)
    assert torch.equal(clean.inputs_train, x)
    w = torch.linalg.lstsq(clean.inputs_train.double(), clean.targets_train.double()).solution
    torch.testing.assert_close(clean.inputs_test.double() @ w, clean.targets_test.double(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        load(3, dimension=4, samples=20000, condition=1.0).inputs_train.var(0), torch.ones(4), rtol=0.05, atol=0
    )
    assert not torch.equal(load(4, dimension=4, samples=50).inputs_train, load(3, dimension=4, samples=50).inputs_train)


def test_least_squares_has_the_correlation_asked_for():
    load, options = DATA.get("least_squares"), {"dimension": 3, "samples": 40000, "condition": 4.0, "mean": 1.0}
    x = load(3, correlation=0.6, **options).inputs_train
    expected = torch.full((3, 3), 0.6).fill_diagonal_(1.0)
    torch.testing.assert_close(torch.corrcoef(x.T), expected, rtol=0, atol=0.02)
    torch.testing.assert_close(x.var(0), torch.tensor([1.0, 0.5, 0.25]), rtol=0.03, atol=0)
    torch.testing.assert_close(x.mean(0), torch.ones(3), rtol=0.02, atol=0)
    assert torch.equal(load(3, correlation=0.0, **options).inputs_train, load(3, **options).inputs_train)


def test_least_squares_of_several_outputs_are_problems_of_their_own_with_the_same_inputs():
    load = DATA.get("least_squares")
    options = {"dimension": 3, "samples": 400, "test_samples": 5, "condition": 1.0, "noise": 0.5}
    one, two = load(2, **options), load(2, outputs=2, **options)
    assert torch.equal(one.inputs_train, two.inputs_train)
    x, y = two.inputs_train.double(), two.targets_train.double()
    w = torch.linalg.lstsq(x, y).solution
    assert not torch.allclose(w[:, 0], w[:, 1], atol=0.1)
    residual = y - x @ w
    assert residual.std(0).tolist() == pytest.approx([0.5, 0.5], rel=0.1)
    assert abs(torch.corrcoef(residual.T)[0, 1]) < 0.2
    assert load_data({"name": "least_squares", **options, "outputs": 2}, 0, None).spec.outputs == 2
    with pytest.raises(WrongInput, match=r"data.outputs=0: must be a whole number of at least 1"):
        load(0, outputs=0)


def test_gaussian_data_reach_the_network_as_they_are():
    data = load_data({"name": "gaussian"}, 0, None)
    arrays = DATA.get("gaussian")(0)
    assert data.spec == dataclasses.replace(data.spec, input_shape=(10,), outputs=10, task="regression")
    assert torch.equal(data.batch(7).inputs, arrays.inputs_train)
    assert torch.equal(data.batch(7).targets, arrays.targets_train)
    assert data.fingerprint == ""
    part = load_data({"name": "gaussian", "subset": 10}, 0, None)
    assert {tuple(row) for row in part.batch(0).inputs.tolist()} <= {tuple(row) for row in arrays.inputs_train.tolist()}
    assert part.training_size == 10


# Batches


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("augment", [False, True])
def test_batch_is_a_function_of_seed_and_step_in_whatever_order_it_is_asked(augment: bool, device: str):
    options = Options(augment=augment)
    data = Data(images(), 3, 8, device, options)
    forward = [data.batch(step) for step in range(40)]
    steps = list(range(40)) * 2
    random.Random(0).shuffle(steps)
    other = Data(images(), 3, 8, device, options)
    assert all(same(other.batch(step), forward[step]) for step in steps)
    assert all(batch.inputs.dtype == torch.float32 and batch.inputs.shape == (8, 3, 7, 5) for batch in forward)
    assert all(batch.step == step for step, batch in enumerate(forward))
    different = Data(images(), 4, 8, device, options)
    assert not any(same(different.batch(step), forward[step]) for step in range(40))
    on_cpu = Data(images(), 3, 8, "cpu", options)
    assert all(torch.equal(on_cpu.batch(t).inputs, forward[t].inputs.cpu()) for t in range(40)), (
        "the same on every device"
    )


def test_each_epoch_has_each_sample_at_most_once_in_an_order_of_its_own():
    arrays = images()
    data = Data(arrays, 0, 8, options=Options(standardise=False))
    assert data.steps_per_epoch == 6
    samples = (arrays.inputs_train, arrays.targets_train)
    known = {sample.numpy().tobytes(): int(label) for sample, label in zip(*samples, strict=True)}
    orders = []
    for epoch in range(5):
        batches = [data.batch(epoch * 6 + place) for place in range(6)]
        drawn = [sample for batch in batches for sample in raw(batch, data)]
        labels = torch.cat([batch.targets for batch in batches]).tolist()
        assert len(set(drawn)) == 48
        assert [known[sample] for sample in drawn] == labels
        orders.append(drawn)
    assert len({tuple(order) for order in orders}) == 5
    assert len({sample for order in orders for sample in order}) == 50, "who is left out changes"


def test_the_order_is_the_permutation_of_seed_and_epoch():
    data = Data(images(), 11, 8, options=Options(standardise=False))
    order = torch.randperm(50, generator=seeded_generator("cpu", 11, 2, "data order"))
    assert torch.equal(data.batch(2 * 6 + 4).targets, images().targets_train[order[32:40]])


def test_full_batch_is_all_data_in_their_own_order_at_every_step():
    data = Data(images(), 0, None, options=Options(standardise=False))
    assert raw(data.batch(0), data) == [image.numpy().tobytes() for image in images().inputs_train]
    assert torch.equal(data.batch(0).inputs, data.batch(9).inputs)
    augmented = Data(images(), 0, None, options=Options(augment=True))
    assert not torch.equal(augmented.batch(0).inputs, augmented.batch(9).inputs)
    assert torch.equal(augmented.batch(9).targets, images().targets_train)


def test_standardised_by_channel_over_the_training_data_in_use():
    arrays = images()
    data = Data(arrays, 0, 8, options=Options(subset=30))
    chosen = stratified_draw(arrays.targets_train, 30, True)
    train = arrays.inputs_train[chosen].numpy().astype(np.float64)
    mean, deviation = train.mean((0, 2, 3), keepdims=True), train.std((0, 2, 3), keepdims=True)
    everything = Data(arrays, 0, None, options=Options(subset=30)).batch(0).inputs.numpy()
    np.testing.assert_allclose(everything, (train - mean) / deviation, rtol=1e-5, atol=1e-6)
    test = torch.cat([batch.inputs for batch in data.test_batches(7)]).numpy()
    np.testing.assert_allclose(test, (arrays.inputs_test.numpy() - mean) / deviation, rtol=1e-5, atol=1e-6)
    plain = Data(arrays, 0, None, options=Options(standardise=False)).batch(0).inputs
    np.testing.assert_allclose(plain.numpy(), arrays.inputs_train.numpy() / 255, rtol=1e-6)


def test_a_channel_of_one_value_becomes_zero():
    arrays = images()
    arrays.inputs_train[:, 1] = 77
    inputs = Data(arrays, 0, None).batch(0).inputs
    assert (inputs[:, 1] == 0).all()
    assert inputs.isfinite().all()


def test_crop_and_flip_equal_a_loop_over_images():
    data = images(train=300)
    batch = Data(data, 2, 100, options=Options(augment=True, standardise=False)).batch(4)
    place = torch.randperm(300, generator=seeded_generator("cpu", 2, 1, "data order"))[100:200]
    generator = seeded_generator("cpu", 2, 4, "augmentation")
    top, left = torch.randint(9, (2, 100), generator=generator).tolist()
    flip = torch.randint(2, (100,), generator=generator).tolist()
    for image, index, y, x, mirrored in zip(batch.inputs, place, top, left, flip, strict=True):
        padded = np.pad(data.inputs_train[index].numpy(), ((0, 0), (4, 4), (4, 4)))
        cut = padded[:, y : y + 7, x : x + 5]
        expected = cut[:, :, ::-1] if mirrored else cut
        np.testing.assert_allclose(image.numpy(), expected / 255, rtol=1e-6)
    assert {*top} == {*left} == set(range(9))
    assert 30 < sum(flip) < 70


def test_augmentation_leaves_its_input_alone():
    pixels = images().inputs_train
    before = pixels.clone()
    centred = torch.full((50,), 4)
    unchanged = crop_and_flip(pixels, centred, centred, torch.zeros(50, dtype=torch.bool))
    assert torch.equal(unchanged, pixels)
    assert unchanged.data_ptr() != pixels.data_ptr()
    assert torch.equal(pixels, before)


def test_test_batches_cover_the_test_set_once_in_order():
    data = Data(images(), 0, 8, options=Options(standardise=False, augment=True))
    batches = list(data.test_batches(8))
    assert [len(batch.inputs) for batch in batches] == [8, 8, 4]
    assert [raw_sample for batch in batches for raw_sample in raw(batch, data)] == [
        image.numpy().tobytes() for image in images().inputs_test
    ]
    assert torch.cat([batch.targets for batch in batches]).tolist() == images().targets_test.tolist()
    assert {batch.step for batch in batches} == {-1}


def test_fixed_batch_is_of_the_seed_and_not_augmented():
    data = Data(images(), 0, 8, options=Options(augment=True, standardise=False))
    fixed = raw(data.fixed_batch(20), data)
    known = {image.numpy().tobytes() for image in images().inputs_train}
    assert len(set(fixed)) == 20
    assert set(fixed) <= known
    assert raw(data.fixed_batch(10), data) == fixed[:10]
    other = Data(images(), 1, 16, options=Options(standardise=False))
    assert raw(other.fixed_batch(20), other) != fixed
    with pytest.raises(WrongInput, match=r"fixed batch of 51: must be from 1 to 50"):
        data.fixed_batch(51)


def test_global_random_states_stay():
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    for name in ("digits", "gaussian", "cifar10"):
        options = {"name": name, "augment": name != "gaussian", "subset": 100}
        data = load_data(options, 0, 10, stand_in=True)
        data.batch(3)
        data.fixed_batch(5)
        list(data.test_batches(50))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert random.getstate() == states[2]


# Subsets


def test_subsets_keep_the_shares_of_the_classes_and_grow_by_additions():
    labels = torch.tensor([0] * 600 + [1] * 300 + [2] * 100)[
        torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    ]
    before: set[int] = set()
    for size in (10, 50, 250, 1000):
        chosen = stratified_draw(labels, size, True)
        assert chosen.tolist() == sorted(set(chosen.tolist()))
        assert len(chosen) == size
        assert (labels[chosen].bincount(minlength=3) - size * torch.tensor([0.6, 0.3, 0.1])).abs().max() <= 1
        assert before <= set(chosen.tolist())
        before = set(chosen.tolist())
    assert stratified_draw(labels, 100, True).tolist() != list(range(100))


def test_no_seed_changes_a_subset():
    sets = [load_data({"name": "digits", "subset": 200, "test_subset": 50}, seed, None) for seed in (0, 1)]
    assert torch.equal(sets[0].batch(0).inputs, sets[1].batch(0).inputs)
    assert (sets[0].training_size, sets[0].test_size) == (200, 50)


# Wrong input


@pytest.mark.parametrize(
    ("options", "batch_size", "line"),
    [
        ({"name": "digit"}, 8, "data=digit: unknown data; did you mean 'digits'?"),
        ({}, 8, "data.name=None: must be given; allowed: cifar10"),
        ({"name": "digits", "subest": 5}, 8, "data.subest=5: unknown option of digits; did you mean 'subset'?"),
        ({"name": "gaussian", "sample": 5}, 8, "data.sample=5: unknown option of gaussian; did you mean 'samples'?"),
        ({"name": "digits", "augment": "yes"}, 8, "data.augment=yes: must be true or false, not str"),
        ({"name": "gaussian", "samples": 1.5}, 8, "data.samples=1.5: must be a whole number, not float"),
        ({"name": "digits", "subset": 0}, 8, "data.subset=0: must be a whole number of at least 1"),
        ({"name": "digits", "subset": 1438}, 8, "data.subset=1438: must be from 1 to 1437, the samples of digits"),
        ({"name": "digits", "test_subset": 361}, 8, "data.test_subset=361: must be from 1 to 360"),
        ({"name": "digits"}, 1438, "optim.batch_size=1438: must be a whole number from 1 to 1437"),
        ({"name": "digits", "subset": 100}, 101, "optim.batch_size=101: must be a whole number from 1 to 100"),
        ({"name": "digits"}, 0, "optim.batch_size=0: must be a whole number from 1 to 1437"),
        ({"name": "gaussian", "augment": True}, 8, "data.augment=true: only images"),
        ({"name": "least_squares", "condition": 0.5}, 8, "data.condition=0.5: must be a number of at least 1"),
        (
            {"name": "least_squares", "correlation": 1},
            8,
            "data.correlation=1.0: must be at least 0 and less than 1",
        ),
        ({"name": "least_squares", "noise": -1}, 8, "data.noise=-1.0: must be a number of at least 0"),
        ({"name": "gaussian", "samples": 0}, 8, "data.samples=0: must be"),
        ({"name": "gaussian", "x_variance": -1}, 8, "data.x_variance=-1.0: must be a positive number"),
        ({"name": "gaussian", "a_variance": float("nan")}, 8, "data.a_variance=nan: must be a positive number"),
        ({"name": "mine", "file": "no_such.py"}, 8, "data.file=no_such.py: "),
    ],
)
def test_wrong_options(options: dict[str, Any], batch_size: int, line: str):
    with pytest.raises(WrongInput) as caught:
        load_data(options, 0, batch_size)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


# A user's own


OWN = """
import torch
from experiments.data import Arrays

def mine(seed, *, size: int = 4):
    inputs = torch.arange(12 * size * size, dtype=torch.uint8).view(12, 1, size, size)
    targets = torch.arange(12) % 3
    return Arrays(inputs, targets, inputs[:6], targets[:6], ("a", "b", "c"))

def broken(seed):
    return {}["nothing"]

def changed(seed, *, what: str):
    arrays = dict(mine(seed).__dict__)
    arrays.update(CHANGES[what](arrays))
    return Arrays(**arrays)

def not_arrays(seed):
    return [1, 2]

CHANGES = {
    "list": lambda a: {"inputs_train": [1]},
    "float": lambda a: {"inputs_train": a["inputs_train"].double()},
    "flat": lambda a: {"inputs_test": a["inputs_test"].flatten(1)},
    "range": lambda a: {"targets_train": a["targets_train"] + 1},
    "negative": lambda a: {"targets_test": a["targets_test"] - 1},
    "length": lambda a: {"targets_train": a["targets_train"][:-1]},
    "labels": lambda a: {"targets_train": a["targets_train"].int()},
    "size": lambda a: {"inputs_test": a["inputs_test"][:, :, 1:]},
    "empty": lambda a: {"inputs_test": a["inputs_test"][:0], "targets_test": a["targets_test"][:0]},
    "classes": lambda a: {"classes": 3},
    "regression": lambda a: {"classes": None},
    "nan": lambda a: {
        "classes": None, "inputs_train": torch.full((3, 2), torch.nan), "targets_train": torch.zeros(3, 1),
        "inputs_test": torch.zeros(3, 2), "targets_test": torch.zeros(3, 1),
    },
}
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    file = tmp_path / "own.py"
    file.write_text(OWN)
    return file


def test_a_users_own_data_set(own: Path):
    data = load_data({"name": "mine", "file": str(own), "size": 3, "label": "ours"}, 0, 4)
    assert data.spec.input_shape == (1, 3, 3)
    assert data.spec.outputs == 3
    assert data.label == "ours"
    assert load_data({"name": "mine", "file": str(own)}, 0, 4).label == "mine"
    assert len(data.fingerprint) == 64, "files that the function reads are not in the hash of its source"
    assert data.fingerprint != load_data({"name": "mine", "file": str(own), "size": 2}, 0, 4).fingerprint


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"name": "min"}, "data.name=min: not in"),
        ({"name": "mine", "sise": 3}, "data.sise=3: unknown option of mine; did you mean 'size'?"),
        ({"name": "broken"}, "broken raised KeyError: 'nothing' ("),
        ({"name": "not_arrays"}, "must return experiments.data.Arrays, not list"),
        ({"name": "changed", "what": "list"}, "inputs_train must be a torch tensor, not list"),
        (
            {"name": "changed", "what": "float"},
            "must be uint8 (samples, channels, height, width), or float32 (samples, values) or "
            "(samples, channels, height, width), without zeros, not float64 (12, 1, 4, 4)",
        ),
        ({"name": "changed", "what": "flat"}, "inputs_test of a classification data set must be uint8"),
        ({"name": "changed", "what": "range"}, "targets_train must be in 0..2 for 3 classes, not 1..3"),
        ({"name": "changed", "what": "negative"}, "targets_test must be in 0..2 for 3 classes, not -1..1"),
        ({"name": "changed", "what": "length"}, "inputs_train has 12 samples but targets_train has 11"),
        ({"name": "changed", "what": "labels"}, "targets_train of a classification data set must be int64 (samples,)"),
        ({"name": "changed", "what": "size"}, "inputs_train and inputs_test must have equal shapes per sample"),
        ({"name": "changed", "what": "empty"}, "without zeros, not uint8 (0, 1, 4, 4)"),
        ({"name": "changed", "what": "classes"}, "classes must be a tuple of texts, or None for regression, not 3"),
        ({"name": "changed", "what": "regression"}, "of a regression data set must be float32 (samples, values)"),
        ({"name": "changed", "what": "nan"}, "inputs_train must be finite"),
    ],
)
def test_what_a_users_function_returns_is_checked(own: Path, options: dict[str, Any], line: str):
    with pytest.raises(WrongInput) as caught:
        load_data({**options, "file": str(own)}, 0, 4)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


# Configuration and stand-ins


def test_each_data_set_has_a_file_with_every_option_at_its_default():
    assert sorted(file.stem for file in CONF.glob("*.yaml")) == DATA.names()
    for file in CONF.glob("*.yaml"):
        assert file.read_text().startswith("# ")
        stored = OmegaConf.to_container(OmegaConf.load(file))
        assert isinstance(stored, dict)
        assert list(stored)[:2] == ["name", "file"]
        assert (stored.pop("name"), stored.pop("file")) == (file.stem, None)
        parameters = list(inspect.signature(DATA.get(file.stem)).parameters.values())[1:]
        expected = {parameter.name: parameter.default for parameter in parameters}
        common = dataclasses.asdict(Options())
        assert stored == expected | (
            common if file.stem not in ("gaussian", "gaussian_signs", "least_squares") else {"label": None}
        )


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("cifar10", (3, 32, 32), 10),
        ("cifar100", (3, 32, 32), 100),
        ("mnist", (1, 28, 28), 10),
        ("fashion_mnist", (1, 28, 28), 10),
        ("svhn", (3, 32, 32), 10),
        ("image_folder", (3, 32, 32), 10),
    ],
)
def test_random_images_stand_in_for_files_that_are_not_there(name: str, shape: tuple[int, ...], classes: int):
    options = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    assert isinstance(options, dict)
    data = load_data({**options, "root": "/no/such/place", "subset": 700, "test_subset": 300}, 0, 600, stand_in=True)
    assert data.spec == dataclasses.replace(data.spec, input_shape=shape, outputs=classes)
    assert data.batch(0).inputs.shape == (600, *shape)
    assert (data.training_size, data.test_size) == (700, 300)
    with pytest.raises(WrongInput, match="unknown option"):
        load_data({**options, "rot": "x"}, 0, 4, stand_in=True)
    with pytest.raises(WrongInput, match="must be a text"):
        load_data({**options, "root": 3}, 0, 4, stand_in=True)


def test_a_stand_in_follows_the_options_of_an_image_folder():
    options = {"name": "image_folder", "root": "/no/such/place", "image_size": 8, "channels": 1}
    assert load_data(options, 0, 4, stand_in=True).spec.input_shape == (1, 8, 8)


def test_what_needs_no_files_is_never_stood_in_for():
    real, other = (load_data({"name": "digits"}, 0, None, stand_in=stand_in) for stand_in in (False, True))
    assert torch.equal(real.batch(0).inputs, other.batch(0).inputs)
