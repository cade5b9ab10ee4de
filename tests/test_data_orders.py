"""Orders of batches, by counting who is in which batch."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

import experiments
from experiments.cli import main
from experiments.configuration import plain_config
from experiments.data import Arrays, Data, Options, load_data
from experiments.data.orders import ORDERS
from experiments.errors import WrongInput
from experiments.runs.identity import identity_of
from probes.randomness import seeded_generator
from tests.pages import row
from tests.runs import checkpoint, differences, small

SIZES = (13, 20, 9)
"""Samples of each class; 42 in all."""


def arrays(sizes: tuple[int, ...] = SIZES) -> Arrays:
    """Images of which the one value is the sample's number; the classes lie mixed."""
    labels = torch.tensor([label for label, size in enumerate(sizes) for _ in range(size)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))]
    pixels = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1)
    return Arrays(pixels, labels, pixels, labels, tuple("abcdefg"[: len(sizes)]))


DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def data_in(order: str, batch_size: int = 6, seed: int = 3, device: str = "cpu", **options: Any) -> Data:
    return Data(arrays(), seed, batch_size, device, Options(order=order, standardise=False, **options))


def numbers(data: Data, step: int) -> list[int]:
    """Which samples the batch has; with each its own label."""
    batch = data.batch(step)
    found = (batch.inputs * 255).round().long().flatten().tolist()
    assert batch.targets.tolist() == arrays().targets_train[found].tolist()
    assert len(found) == data.batch_size
    return found


def classes(data: Data, step: int) -> list[int]:
    return data.batch(step).targets.tolist()


OPTIONS: dict[str, dict[str, Any]] = {name: {} for name in ORDERS.names()} | {"blocks": {"groups_per_batch": 2}}


def test_the_readme_and_these_tests_name_every_order() -> None:
    shown = row("| `data.order=`")
    assert all(f"`{name}`" in shown for name in ORDERS.names())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("order", list(OPTIONS))
def test_batch_t_is_a_function_of_seed_and_t_on_every_device(order: str, device: str) -> None:
    data = data_in(order, **OPTIONS[order])
    forward = [numbers(data, step) for step in range(60)]
    there = data_in(order, device=device, **OPTIONS[order])
    assert all(there.batch(step).targets.device.type == device for step in (0, 1))
    assert all(numbers(there, step) == forward[step] for step in range(60))
    steps = list(range(60)) * 2
    random.Random(0).shuffle(steps)
    again = data_in(order, **OPTIONS[order])
    assert all(numbers(again, step) == forward[step] for step in steps)
    assert all(numbers(data_in(order, **OPTIONS[order]), step) == forward[step] for step in (59, 7))
    other = data_in(order, seed=4, **OPTIONS[order])
    assert sum(numbers(other, step) != forward[step] for step in range(60)) > 50


@pytest.mark.parametrize("order", ["reshuffled", "shuffled_once", "sorted"])
def test_an_epoch_has_every_sample_once(order: str) -> None:
    data = data_in(order)
    epochs = [[n for step in range(7) for n in numbers(data, 7 * e + step)] for e in range(4)]
    assert all(sorted(epoch) == list(range(42)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == (1 if order == "shuffled_once" else 4)
    uneven = data_in(order, batch_size=8)  # five batches, two samples wait
    epochs = [[n for step in range(5) for n in numbers(uneven, 5 * e + step)] for e in range(30)]
    assert all(len(set(epoch)) == 40 for epoch in epochs)
    seen = {n for epoch in epochs for n in epoch}
    assert len(seen) == (40 if order == "shuffled_once" else 42)


def test_the_usual_order_is_what_it_was() -> None:
    """Results compare across versions only as long as this holds."""
    data = Data(arrays(), 3, 8)
    for epoch, place in ((0, 0), (2, 4)):
        order = torch.randperm(42, generator=seeded_generator("cpu", 3, epoch, "data order"))
        expected = arrays().targets_train[order[place * 8 : place * 8 + 8]]
        assert torch.equal(data.batch(epoch * 5 + place).targets, expected)


def test_sorted_goes_from_class_to_class_with_the_samples_of_reshuffled() -> None:
    for size in (6, 8):
        data, usual, steps = data_in("sorted", size), data_in("reshuffled", size), 42 // size
        for epoch in range(3):
            here, there = (
                [n for step in range(steps) for n in numbers(one, epoch * steps + step)] for one in (data, usual)
            )
            labels = arrays().targets_train[here].tolist()
            assert labels == sorted(labels)
            assert set(here) == set(there)
            for label in range(3):  # within a class they stand as they do there
                own = [[n for n in numbers_ if arrays().targets_train[n] == label] for numbers_ in (here, there)]
                assert own[0] == own[1]


def test_alternating_goes_round_the_classes_and_through_each() -> None:
    data = data_in("alternating")
    for step in range(60):
        assert classes(data, step) == [step % 3] * 6
    for label, size in enumerate(SIZES):
        whole = size // 6  # batches until its order is drawn anew
        visits = [numbers(data, label + 3 * visit) for visit in range(4 * whole)]
        for first in range(0, len(visits), whole):
            drawn = [n for part in visits[first : first + whole] for n in part]
            assert len(set(drawn)) == whole * 6
        assert len({n for part in visits for n in part}) > whole * 6 or whole * 6 == size


@pytest.mark.parametrize(("groups", "size"), [(2, 6), (1, 6), (3, 6), (None, 9)])
def test_blocks_have_equally_many_of_each_class_side_by_side(groups: int | None, size: int) -> None:
    data, number = data_in("blocks", size, groups_per_batch=groups), groups or 3
    rounds = 3 // number
    came: Counter[int] = Counter()
    drawn: dict[int, list[list[int]]] = {label: [] for label in range(3)}
    for deal in range(24):
        of_round = []
        for place in range(rounds):
            labels, found = classes(data, deal * rounds + place), numbers(data, deal * rounds + place)
            assert labels == sorted(labels)
            assert set(Counter(labels).values()) == {size // number}
            assert len(set(labels)) == number
            assert len(set(found)) == size
            of_round += sorted(set(labels))
            for label in set(labels):
                drawn[label].append([n for n, own in zip(found, labels, strict=True) if own == label])
        assert len(set(of_round)) == len(of_round), "no class twice in a round"
        came.update(of_round)
    assert set(came) == {0, 1, 2}
    if 3 % number == 0:
        assert set(came.values()) == {24}
        for label, parts in drawn.items():
            whole = SIZES[label] // (size // number)
            for first in range(0, 24 - whole, whole):
                once = [n for part in parts[first : first + whole] for n in part]
                assert len(set(once)) == len(once), "none again before its class is through"


def test_draws_with_replacement_are_independent_and_uniform() -> None:
    data = data_in("with_replacement")
    drawn = [numbers(data, step) for step in range(3500)]
    assert any(len(set(batch)) < 6 for batch in drawn)
    counts = Counter(n for batch in drawn for n in batch)
    expected = 3500 * 6 / 42  # 500 of each sample
    chi_squared = sum((counts[n] - expected) ** 2 / expected for n in range(42))
    assert 20 < chi_squared < 75  # 41 degrees of freedom: 41 +- 9; an order without replacement has next to 0
    twice = sum(6 - len(set(batch)) for batch in drawn) / 3500
    assert twice == pytest.approx(6 - 42 * (1 - (41 / 42) ** 6), rel=0.1)


@pytest.mark.parametrize(
    ("options", "size", "line"),
    [
        ({"order": "shuffled"}, 6, "data.order=shuffled: unknown data.order; did you mean"),
        ({"order": "sorted", "grouped_by": "domain"}, 6, "data.grouped_by=domain: these data have no such groups; th"),
        ({"order": "sorted", "grouped_by": "label"}, 6, "data.grouped_by=label: "),
        ({"order": "sorted", "groups_per_batch": 2}, 6, "data.groups_per_batch=2: is without effect: data.order=sor"),
        (
            {"grouped_by": "class"},
            6,
            "data.grouped_by=class: is without effect: data.order=reshuffled does not use it, ",
        ),
        ({"order": "alternating"}, 200, "data.order=alternating: a batch takes 200 samples of one group, but '0' has "),
        ({"order": "blocks"}, 6, "data.groups_per_batch=None: optim.batch_size=6 is no multiple of 10 groups"),
        ({"order": "blocks", "groups_per_batch": 11}, 6, "data.groups_per_batch=11: must be from 1 to 10, the groups"),
        ({"order": "blocks", "groups_per_batch": 2}, 600, "data.order=blocks: a batch takes 300 samples of one group"),
        (
            {"name": "gaussian", "order": "sorted"},
            6,
            "data.grouped_by=class: these data have no such groups; there are",
        ),
        ({"order": 5}, 6, "data.order=5: must be a text"),
    ],
)
def test_what_cannot_be_is_one_line(options: dict[str, Any], size: int, line: str) -> None:
    with pytest.raises(WrongInput) as told:
        load_data({"name": "digits", **options}, 0, size)
    assert str(told.value).startswith(line)
    assert "\n" not in str(told.value)


def test_the_command_line_refuses_before_there_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for chosen, line in {
        "data.order=sortd": "error: data.order=sortd: unknown data.order; did you mean 'sorted'?",
        "data.order=sorted optim=gd": "error: data.order=sorted: is without effect: optim.batch_size=null takes all",
    }.items():
        monkeypatch.setattr("sys.argv", ["experiments", f"runs_dir={tmp_path}/runs", *chosen.split()])
        assert main() == 2
        told = capsys.readouterr().err
        assert told.startswith(line)
        assert told.count("\n") == 1
        assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("order", ["blocks", "with_replacement"])
def test_a_run_that_goes_on_ends_as_one_that_never_stopped(order: str, tmp_path: Path) -> None:
    chosen = [f"data.order={order}", *(["data.groups_per_batch=4"] if order == "blocks" else []), "run_name=one"]
    whole = experiments.run(small(tmp_path / "whole", *chosen, "steps=9"))
    experiments.run(small(tmp_path / "parts", *chosen, "steps=4"))
    parts = experiments.run(small(tmp_path / "parts", *chosen, "steps=9"))
    assert parts.trained
    one, other = (checkpoint(outcome.path)["network"] for outcome in (whole, parts))
    assert not differences(one, other)
    usual = experiments.run(small(tmp_path / "usual", "run_name=one", "steps=9"))
    assert differences(one, checkpoint(usual.path)["network"])


def test_only_another_order_is_another_run() -> None:
    def training(*overrides: str) -> dict[str, Any]:
        return identity_of(plain_config(small(Path("runs"), *overrides)), "").training

    assert training() == training("data.order=reshuffled", "data.grouped_by=null")
    assert "order" not in training()["data"]
    assert training("data.order=sorted")["data"]["order"] == "sorted"


OWN = """
import torch

def wrong(samples):
    given = {2: [1] * samples.batch_size, 3: torch.ones(samples.batch_size), 4: torch.arange(samples.batch_size - 1),
             5: torch.full((samples.batch_size,), samples.count), 6: torch.full((samples.batch_size,), -1)}
    return lambda step: torch.arange(samples.batch_size) if step < 2 else given[step]

def remembers(samples):
    asked = []
    return lambda step: asked.append(step) or torch.arange(samples.batch_size) + len(asked)

def draws(samples):
    return lambda step: torch.randperm(samples.count)[:samples.batch_size]

class Backwards:
    def __init__(self, samples, *, grouped_by=None):
        self.samples = samples

    def __call__(self, step):
        return torch.arange(self.samples.batch_size - 1, -1, -1)


class Raises:
    def __init__(self, samples):
        raise KeyError("x")


class Refuses:
    def __init__(self, samples):
        raise ValueError("no such thing")
"""


def test_an_order_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN)
    own = ["data.order=Backwards", f"data.order_file={file}"]
    data = load_data(plain_config(small(tmp_path, *own))["data"], 0, 16)
    first = load_data(plain_config(small(tmp_path))["data"], 0, None).batch(0)
    assert torch.equal(data.batch(5).targets, first.targets[:16].flip(0))
    trained = experiments.run(small(tmp_path / "runs", *own, "steps=2"))
    file.write_text(OWN + "\n# edited\n")
    assert experiments.run(small(tmp_path / "runs", *own, "steps=2")).path != trained.path
    broken = load_data({"name": "digits", "order": "wrong", "order_file": str(file)}, 0, 6)
    for step, line in enumerate(
        (
            r"must give int64 \(6,\) indices at step 2, not list",
            r"must give int64 \(6,\) indices at step 3, not float32 \(6,\)",
            r"must give int64 \(6,\) indices at step 4, not int64 \(5,\)",
            "gives an index outside 0..1436 at step 5",
            "gives an index outside 0..1436 at step 6",
        ),
        start=2,
    ):
        with pytest.raises(WrongInput, match=f"^data.order=wrong: {line}"):
            broken.batch(step)
    with pytest.raises(WrongInput, match=r"^data.order: wrong raised KeyError: 7 \(own.py, line "):
        broken.batch(7)
    # the keys are those that one types, not data.order.name and data.order.file
    with pytest.raises(WrongInput, match=r"^data.order=Backward: not in .*; did you mean 'Backwards'"):
        load_data({"name": "digits", "order": "Backward", "order_file": str(file)}, 0, 6)
    with pytest.raises(WrongInput, match=r"^data.order_file=.*nowhere.py: cannot be read"):
        load_data({"name": "digits", "order": "Backward", "order_file": str(tmp_path / "nowhere.py")}, 0, 6)
    with pytest.raises(WrongInput, match=r"^data.order: Raises raised KeyError: 'x' \(own.py, line "):
        load_data({"name": "digits", "order": "Raises", "order_file": str(file)}, 0, 6)
    with pytest.raises(WrongInput, match=r"^data.order: no such thing \(own.py, line "):
        load_data({"name": "digits", "order": "Refuses", "order_file": str(file)}, 0, 6)
    with pytest.raises(WrongInput, match=r"^data.order_file=: must be the path of a file, or null"):
        plain_config(small(tmp_path, "data.order=Backwards", "data.order_file="))


@pytest.mark.parametrize("name", ["remembers", "draws"])
def test_an_order_that_is_no_function_of_the_step_is_refused(name: str, tmp_path: Path) -> None:
    """Whoever else asks for a batch (a probe, an evaluation) would change which come next."""
    (tmp_path / "own.py").write_text(OWN)
    with pytest.raises(WrongInput, match=f"^data.order={name}: gives other samples for step 0 when it is asked again"):
        load_data({"name": "digits", "order": name, "order_file": str(tmp_path / "own.py")}, 0, 6)
