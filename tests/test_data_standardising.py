"""Inputs centred and whitened, against numpy and by what comes out."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler

import experiments
from experiments.configuration import plain_config
from experiments.data import DATA, Arrays, Data, Options, load_data
from experiments.data.standardising import WHITENING_EPS, whitening_of
from experiments.errors import WrongInput
from experiments.runs.identity import identity_of
from tests.runs import small


def ready(options: dict[str, Any], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """All training inputs and all test inputs as the network gets them, float64, one row each."""
    data = load_data(options, seed, None)
    test = torch.cat([batch.inputs for batch in data.test_batches(100)])
    return tuple(x.double().flatten(1).numpy() for x in (data.batch(0).inputs, test))  # type: ignore[return-value]


def images(name: str = "digits") -> tuple[np.ndarray, np.ndarray]:
    arrays = DATA.get(name)(0)
    return tuple(x.double().flatten(1).numpy() for x in (arrays.inputs_train, arrays.inputs_test))  # type: ignore[return-value]


def test_whitened_images_have_the_identity_as_covariance_where_they_vary() -> None:
    train, _ = ready({"name": "digits", "standardise": "whitened"})
    assert np.abs(train.mean(0)).max() < 1e-4
    values, vectors = np.linalg.eigh(np.cov(images()[0].T, bias=True))
    varies = vectors[:, values > WHITENING_EPS * values.mean()]
    assert 50 < varies.shape[1] < 64  # the digits have pixels that are always empty
    covariance = np.cov(train.T, bias=True)
    np.testing.assert_allclose(varies.T @ covariance @ varies, np.eye(varies.shape[1]), atol=1e-4)
    np.testing.assert_allclose(covariance, varies @ varies.T, atol=1e-4)  # and nothing in the other directions


def test_it_is_the_whitening_that_changes_least_and_treats_test_images_as_training_images() -> None:
    plain, plain_test = images()
    train, test = ready({"name": "digits", "standardise": "whitened"})
    mean = plain.mean(0)
    _, s, vt = np.linalg.svd((plain - mean) / np.sqrt(len(plain)), full_matrices=False)
    kept = s**2 > WHITENING_EPS * (s**2).sum() / 64
    w = (vt[kept].T / s[kept]) @ vt[kept]  # of all W with W C W = 1 the symmetric positive one
    np.testing.assert_allclose(w, w.T, atol=1e-12)
    np.testing.assert_allclose(train, (plain - mean) @ w, atol=2e-4)
    np.testing.assert_allclose(test, (plain_test - mean) @ w, atol=2e-4)


def test_a_direction_without_variance_becomes_zero_also_where_the_test_set_has_some() -> None:
    generator = torch.Generator().manual_seed(0)
    train = torch.randint(256, (300, 1, 2, 2), generator=generator, dtype=torch.uint8)
    train[:, 0, 1, 1] = 9
    test = torch.full((5, 1, 2, 2), 200, dtype=torch.uint8)
    labels = torch.arange(300) % 2
    data = Data(Arrays(train, labels, test, labels[:5], ("a", "b")), 0, None, options=Options(standardise="whitened"))
    assert next(data.test_batches(5)).inputs[:, 0, 1, 1].abs().max() < 1e-5
    other = data.batch(0).inputs.flatten(1)[:, :3].double()
    torch.testing.assert_close(torch.cov(other.T, correction=0), torch.eye(3, dtype=torch.float64), atol=1e-5, rtol=0)


def test_whitening_takes_parts_of_the_data_as_it_takes_all() -> None:
    """They are summed up some at a time."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2500, 6, generator=draw) @ (torch.randn(6, 6, generator=draw) + 3 * torch.eye(6)) + 3
    mean, w = whitening_of(x)
    torch.testing.assert_close(mean, x.double().mean(0))
    expected = torch.linalg.inv(torch.cov(x.double().T, correction=0))
    torch.testing.assert_close(w @ w, expected, rtol=1e-6, atol=1e-8)


def test_centred_subtracts_each_channels_mean_and_keeps_the_scale() -> None:
    arrays = _coloured()
    pixels = arrays.inputs_train.double()
    expected = (pixels - pixels.mean((0, 2, 3), keepdim=True)) / 255
    found = Data(arrays, 0, None, options=Options(standardise="centred")).batch(0).inputs
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-6)
    assert found.mean((0, 2, 3)).abs().max() < 1e-6
    assert (pixels.mean((0, 2, 3)) > 50).all()


def test_centred_per_pixel_subtracts_each_pixels_mean_of_each_channel_and_keeps_the_scale() -> None:
    arrays = _coloured()
    pixels = arrays.inputs_train.double()
    data = Data(arrays, 0, None, options=Options(standardise="centred_per_pixel"))
    found = data.batch(0).inputs
    torch.testing.assert_close(found.double(), (pixels - pixels.mean(0)) / 255, rtol=0, atol=1e-6)
    assert found.mean((0, 2, 3)).abs().max() < 1e-6
    of_test = (arrays.inputs_test.double() - pixels.mean(0)) / 255
    torch.testing.assert_close(next(data.test_batches(9)).inputs.double(), of_test, rtol=0, atol=1e-6)
    ends = data.valid_range
    assert ends is not None
    torch.testing.assert_close(ends[1] - ends[0], torch.ones(3, 4, 5))
    torch.testing.assert_close(ends[0].double(), -pixels.mean(0) / 255, rtol=0, atol=1e-6)


def test_standardised_per_pixel_divides_by_each_pixels_own_deviation() -> None:
    """As scikit-learn's scaler does; what does not vary in training is divided by 255 as where nothing is scaled."""
    plain = _coloured()
    arrays = replace(plain, inputs_test=plain.inputs_test.clone())
    arrays.inputs_train[:, 2, 1, 3] = arrays.inputs_test[:, 2, 1, 3] = 7
    arrays.inputs_test[4, 2, 1, 3] = 255
    pixels = arrays.inputs_train.flatten(1).double().numpy()
    scaler = StandardScaler().fit(pixels)
    assert (scaler.var_ == 0).sum() == 1
    scaler.scale_[scaler.var_ == 0] = 255
    data = Data(arrays, 0, None, options=Options(standardise="standardised_per_pixel"))
    found = data.batch(0).inputs
    np.testing.assert_allclose(found.flatten(1).numpy(), scaler.transform(pixels), atol=1e-5)
    assert (found[:, 2, 1, 3] == 0).all()
    of_test = scaler.transform(arrays.inputs_test.flatten(1).double().numpy())
    np.testing.assert_allclose(next(data.test_batches(9)).inputs.flatten(1).numpy(), of_test, atol=1e-4)
    assert next(data.test_batches(9)).inputs[4, 2, 1, 3] == pytest.approx((255 - 7) / 255)
    ends = data.valid_range
    assert ends is not None
    black = scaler.transform(np.zeros((1, 60)))
    np.testing.assert_allclose(ends[0].flatten(0).numpy(), black[0], rtol=1e-4)


def test_a_channel_that_is_the_same_all_over_training_stands_out_by_no_more_than_its_range() -> None:
    plain = _coloured()
    arrays = replace(plain, inputs_test=plain.inputs_test.clone())
    arrays.inputs_train[:, 1] = 7
    arrays.inputs_test[:, 1] = 255
    data = Data(arrays, 0, None, options=Options(standardise=True))
    assert (data.batch(0).inputs[:, 1] == 0).all()
    torch.testing.assert_close(next(data.test_batches(9)).inputs[:, 1], torch.full((9, 4, 5), 248 / 255))


def _coloured() -> Arrays:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(100, 256, (60, 3, 4, 5), generator=generator, dtype=torch.uint8)
    pixels[:, 1] //= 2
    return Arrays(pixels, torch.arange(60) % 3, pixels[:9], torch.arange(9) % 3, ("a", "b", "c"))


def test_regression_is_left_as_it_is_unless_it_is_to_be_centred_or_whitened() -> None:
    options = {"name": "least_squares", "dimension": 5, "condition": 100.0, "mean": 2.0}
    arrays = DATA.get("least_squares")(0, **{k: v for k, v in options.items() if k != "name"})
    x, x_test = arrays.inputs_train.double().numpy(), arrays.inputs_test.double().numpy()
    for plain in (True, False):
        assert np.array_equal(ready({**options, "standardise": plain})[0], x)
    train, test = ready({**options, "standardise": "centred"})
    np.testing.assert_allclose(train, x - x.mean(0), atol=1e-5)
    np.testing.assert_allclose(test, x_test - x.mean(0), atol=1e-5)
    np.testing.assert_allclose(np.cov(train.T), np.cov(x.T), atol=1e-4)
    assert np.array_equal(ready({**options, "standardise": "centred_per_pixel"})[0], train)
    train, test = ready({**options, "standardise": "standardised_per_pixel"})
    np.testing.assert_allclose(train, (x - x.mean(0)) / x.std(0), atol=1e-4)
    np.testing.assert_allclose(test, (x_test - x.mean(0)) / x.std(0), atol=1e-4)
    train, _ = ready({**options, "standardise": "whitened"})
    np.testing.assert_allclose(np.cov(train.T, bias=True), np.eye(5), atol=1e-4)
    data = load_data({**options, "standardise": "whitened"}, 0, None)
    assert torch.equal(data.batch(0).inputs, data.batch(1).inputs), "nothing is changed in place"


def test_augmented_images_are_whitened_after_they_were_cropped() -> None:
    plain = Data(_coloured(), 0, 20, options=Options(standardise=False, augment=True)).batch(4).inputs
    mean, w = whitening_of(_coloured().inputs_train)
    found = Data(_coloured(), 0, 20, options=Options(standardise="whitened", augment=True)).batch(4).inputs
    expected = (plain.double().flatten(1) * 255 - mean) @ w
    torch.testing.assert_close(found.double().flatten(1), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"standardise": "white"},
            "data.standardise=white: must be true or false or one of centred, centred_per_pixel, "
            "standardised_per_pixel, whitened, not str",
        ),
        ({"standardise": 1}, "data.standardise=1: must be true or false"),
    ],
)
def test_another_word_is_one_line(options: dict[str, Any], line: str) -> None:
    with pytest.raises(WrongInput) as told:
        load_data({"name": "digits", **options}, 0, 6)
    assert str(told.value).startswith(line)


def test_what_cannot_be_whitened_is_one_line() -> None:
    for shape, line in (((3, 3, 40, 40), "an input has 4800 values"), ((3, 1, 2, 2), "the training inputs are all al")):
        with pytest.raises(WrongInput, match=f"^data.standardise=whitened: {line}"):
            whitening_of(torch.zeros(shape, dtype=torch.uint8))


def test_only_another_treatment_is_another_run(tmp_path: Path) -> None:
    names = {}
    for value in ("true", "false", "centred", "centred_per_pixel", "standardised_per_pixel", "whitened"):
        config = plain_config(small(tmp_path, f"data.standardise={value}"))
        names[value] = identity_of(config, "").digests
    assert names["true"] == identity_of(plain_config(small(tmp_path)), "").digests
    assert all(names[a] != names[b] for a, b in itertools.combinations(names, 2))
    assert experiments.run(small(tmp_path, "data.standardise=whitened", "probes=gradients")).trained
