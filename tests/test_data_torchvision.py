"""torchvision's data sets, from small files in the formats that torchvision reads."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import scipy.io

from experiments.data import load_data, torchvision_sets
from experiments.data.torchvision_import import import_torchvision
from experiments.errors import RunFailure, WrongInput

TRAIN, TEST = 20, 10


def pixels(part: str, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of the training or test set."""
    rng, samples = np.random.default_rng(len(part)), TRAIN if part == "train" else TEST
    return rng.integers(0, 256, (samples, *shape), dtype=np.uint8), rng.permutation(samples) % 10


def write_mnist(root: Path, monkeypatch: pytest.MonkeyPatch, name: str = "MNIST") -> None:
    raw = root / name / "raw"
    raw.mkdir(parents=True)
    for part, prefix in (("train", "train"), ("test", "t10k")):
        images, labels = pixels(part, (28, 28))
        header = np.array([0x803, *images.shape], ">i4").tobytes()
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        header = np.array([0x801, len(labels)], ">i4").tobytes()
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(header + labels.astype(np.uint8).tobytes())


def write_fashion_mnist(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(root, monkeypatch, "FashionMNIST")


def write_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = import_torchvision().datasets.CIFAR10
    folder = root / kind.base_folder
    folder.mkdir(parents=True)
    images, labels = pixels("train", (3, 32, 32))
    halves = [(images[:12], labels[:12]), (images[12:], labels[12:])]
    sums = []
    for name, (part, targets) in zip(
        ("data_batch_1", "data_batch_2", "test_batch"), [*halves, pixels("test", (3, 32, 32))], strict=True
    ):
        contents = pickle.dumps({"data": part.reshape(len(part), -1), "labels": targets.tolist()})
        (folder / name).write_bytes(contents)
        sums.append([name, hashlib.md5(contents).hexdigest()])
    meta = pickle.dumps({"label_names": [f"class {label}" for label in range(10)]})
    (folder / "batches.meta").write_bytes(meta)
    monkeypatch.setattr(kind, "train_list", sums[:2])
    monkeypatch.setattr(kind, "test_list", sums[2:])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": hashlib.md5(meta).hexdigest()})


def write_cifar100(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = import_torchvision().datasets.CIFAR100
    folder = root / kind.base_folder
    folder.mkdir(parents=True)
    for part in ("train", "test"):
        images, labels = pixels(part, (3, 32, 32))
        contents = pickle.dumps({"data": images.reshape(len(images), -1), "fine_labels": labels.tolist()})
        (folder / part).write_bytes(contents)
        monkeypatch.setattr(kind, f"{part}_list", [[part, hashlib.md5(contents).hexdigest()]])
    meta = pickle.dumps({"fine_label_names": [f"class {label}" for label in range(100)]})
    (folder / "meta").write_bytes(meta)
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": hashlib.md5(meta).hexdigest()})


def write_svhn(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = import_torchvision().datasets.SVHN
    root.mkdir(parents=True)
    files = {}
    for part in ("train", "test"):
        images, labels = pixels(part, (3, 32, 32))
        file = root / f"{part}_32x32.mat"
        # as published: the samples last, the digit 0 labelled 10
        scipy.io.savemat(file, {"X": images.transpose(2, 3, 1, 0), "y": np.where(labels == 0, 10, labels)[:, None]})
        files[part] = ["", file.name, hashlib.md5(file.read_bytes()).hexdigest()]
    monkeypatch.setattr(kind, "split_list", files)


SETS: dict[str, tuple[Callable[[Path, pytest.MonkeyPatch], None], str]] = {
    "mnist": (write_mnist, "MNIST/raw/train-images-idx3-ubyte"),
    "fashion_mnist": (write_fashion_mnist, "FashionMNIST/raw/t10k-labels-idx1-ubyte"),
    "cifar10": (write_cifar10, "cifar-10-batches-py/data_batch_2"),
    "cifar100": (write_cifar100, "cifar-100-python/test"),
    "svhn": (write_svhn, "train_32x32.mat"),
}


@pytest.fixture(params=sorted(SETS))
def written(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """A data set's name, and the folder that holds a small one of its format."""
    name = request.param
    source = torchvision_sets.SOURCES[name]
    monkeypatch.setitem(torchvision_sets.SOURCES, name, dataclasses.replace(source, train=TRAIN, test=TEST))
    SETS[name][0](tmp_path / "files", monkeypatch)
    return name, tmp_path / "files"


def test_read_in_torchvisions_format(written: tuple[str, Path]):
    name, root = written
    data = load_data({"name": name, "root": str(root), "standardise": False}, 0, None)
    shape = (28, 28) if "mnist" in name else (3, 32, 32)
    images, labels = pixels("train", shape)
    np.testing.assert_allclose(
        data.batch(0).inputs.numpy(), images.reshape(TRAIN, *data.spec.input_shape) / 255, rtol=1e-6
    )
    assert data.batch(0).targets.tolist() == labels.tolist()
    test = next(data.test_batches(100))
    images, labels = pixels("test", shape)
    np.testing.assert_allclose(test.inputs.numpy(), images.reshape(TEST, *data.spec.input_shape) / 255, rtol=1e-6)
    assert test.targets.tolist() == labels.tolist()
    assert data.spec.outputs == (100 if name == "cifar100" else 10)
    assert data.label == name
    assert len(data.fingerprint) == 64


def test_already_there_nothing_is_downloaded(written: tuple[str, Path], monkeypatch: pytest.MonkeyPatch):
    name, root = written
    monkeypatch.setattr("urllib.request.urlopen", lambda *args, **kwargs: pytest.fail("asked the network"))
    load_data({"name": name, "root": str(root), "download": True}, 0, 4)


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_damaged_file_is_one_line(written: tuple[str, Path], damage: str):
    name, root = written
    file = root / SETS[name][1]
    file.write_bytes({"cut": file.read_bytes()[:-7], "text": b"hello" * 9, "empty": b""}[damage])
    with pytest.raises(WrongInput) as caught:
        load_data({"name": name, "root": str(root)}, 0, 4)
    line = str(caught.value)
    assert line.startswith(f"data.name={name}: missing or damaged in data.root={root}")
    assert "data.download=true" in line
    assert "\n" not in line


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_files_of_another_size_are_refused_though_torchvision_reads_them(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    SETS[name][0](tmp_path, monkeypatch)
    with pytest.raises(
        WrongInput, match=r"the training set has images \(20, 1, 28, 28\) .* not 60000 of \(1, 28, 28\)"
    ):
        load_data({"name": name, "root": str(tmp_path)}, 0, 4)


@pytest.mark.parametrize("name", sorted(SETS))
def test_a_missing_set_says_how_to_get_it_and_touches_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("urllib.request.urlopen", lambda *args, **kwargs: pytest.fail("asked the network"))
    with pytest.raises(WrongInput) as caught:
        load_data({"name": name, "root": str(tmp_path / "none")}, 0, 4)
    line = str(caught.value)
    assert line.startswith(f"data.name={name}: missing or damaged in data.root={tmp_path}")
    assert "data.download=true fetches what is missing" in line
    assert "digits and gaussian need no network" in line
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", sorted(SETS))
def test_a_failed_download_is_a_failure_in_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_network(*args: object, **kwargs: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    with pytest.raises(RunFailure) as caught:
        load_data({"name": name, "root": str(tmp_path / "new"), "download": True}, 0, 4)
    assert str(caught.value).startswith(f"data.name={name}: download into data.root={tmp_path / 'new'} failed: ")
    assert "no route to host" in str(caught.value)
    assert "\n" not in str(caught.value)


IMPORT_WITHOUT_LIBRARY = """
import torch
def refuse(path):
    raise OSError("libcudart.so: cannot open shared object file")
torch.ops.load_library = refuse
from experiments.data import torchvision_import
torchvision = torchvision_import.import_torchvision()
assert torchvision_import._fragment is not None
assert torchvision_import.import_torchvision() is torchvision
assert len(torchvision.datasets.FakeData(3)) == 3
torchvision.models.vgg16()
try:
    torchvision.ops.nms(torch.rand(2, 4), torch.rand(2), 0.5)
except (RuntimeError, NotImplementedError):
    print("refused")
"""

IMPORT_WITH_LIBRARY = """
import importlib, torch
importlib.import_module("torch.library")
torch.ops.load_library = print
from experiments.data import torchvision_import
importlib.import_module = lambda name: name
assert torchvision_import.import_torchvision() == "torchvision"
assert torchvision_import._fragment is None
assert not hasattr(torch.ops.torchvision, "nms")
"""


@pytest.mark.parametrize(("script", "printed"), [(IMPORT_WITHOUT_LIBRARY, "refused"), (IMPORT_WITH_LIBRARY, "_C")])
def test_import_beside_a_torch_without_its_library(script: str, printed: str):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    assert printed in done.stdout
