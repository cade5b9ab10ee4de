"""Data with domains: what they are, that batches carry them, and that everything that runs a network is told."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

import experiments
from analysis import load_runs
from experiments.configuration import plain_config
from experiments.data import DATA, Arrays, Data, Options, load_data
from experiments.data.arrays import check_arrays
from experiments.data.batches import fewest_of_a_domain
from experiments.errors import WrongInput
from experiments.evaluations.base import Occasion
from experiments.evaluations.holders import holders, set_to_population
from experiments.models import build_model
from probes import statistics
from probes.objective import Objective
from tests.runs import checkpoint, differences, refusal, small
from tests.test_evaluations import occasion

TWO = ["data=two_domains", "norm=batch", "norm.per=domain", "norm.running=domain", "optim.momentum=0"]
PROBED = ["probes=[landscape,ics,gradients,activations]", "probes.every=2", "probes.fixed_batch=16"]


def slowly(change: str, image: Tensor) -> Tensor:
    """Pixel by pixel, as the docstring says; (height, width)."""
    height, width = image.shape
    if change == "permuted":
        raise AssertionError
    found = image.double().clone()
    if "blurred" in change:
        for y in range(height):
            for x in range(width):
                around = image[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].double()
                found[y, x] = round((around.sum() / around.numel()).item())
    return 255 - found if "inverted" in change else found


@pytest.mark.parametrize("change", ["inverted", "blurred", "inverted_blurred"])
def test_the_second_domain_is_the_digits_changed(change: str) -> None:
    digits, both = DATA.get("digits")(0), DATA.get("two_domains")(0, change=change)
    assert both.domains == ("digits", change)
    for part, size in (("train", 1437), ("test", 360)):
        inputs, plain = getattr(both, f"inputs_{part}"), getattr(digits, f"inputs_{part}")
        domains, targets = getattr(both, f"domains_{part}"), getattr(both, f"targets_{part}")
        assert torch.equal(inputs[:size], plain)
        assert domains.tolist() == [0] * size + [1] * size
        assert torch.equal(targets, getattr(digits, f"targets_{part}").repeat(2))
        for index in (0, 7, size - 1):
            assert torch.equal(inputs[size + index, 0].double(), slowly(change, plain[index, 0]))


def test_faint_inverted_blocks_are_in_one_order_for_all_images() -> None:
    digits, both = DATA.get("digits")(0), DATA.get("two_domains")(0, change="inverted_faint_blocks")

    def blocks(image: Tensor) -> list[tuple[int, ...]]:
        corners = [(y, x) for y in range(0, 8, 2) for x in range(0, 8, 2)]
        return [tuple(image[y : y + 2, x : x + 2].flatten().tolist()) for y, x in corners]

    orders = set()
    seen: list[set[int]] = [set(range(16)) for _ in range(16)]  # where each block may come from
    for index in range(200):
        plain, changed = digits.inputs_train[index, 0], both.inputs_train[1437 + index, 0]
        faint = (127.5 - (plain.double() - 127.5) / 2).round()
        assert 64 <= faint.min() <= faint.max() <= 191
        theirs = blocks(faint)
        for place, block in enumerate(blocks(changed)):
            seen[place] &= {source for source, other in enumerate(theirs) if other == block}
        orders.add(tuple(sorted(theirs)) == tuple(sorted(blocks(changed))))
    assert orders == {True}
    (found,) = {tuple(next(iter(sources)) for sources in seen)}
    assert [len(sources) for sources in seen] == [1] * 16
    assert found != tuple(range(16))


@pytest.mark.parametrize("blend", [0.0, 0.3, 1.0])
def test_a_copy_is_blended_with_the_image_itself(blend: float) -> None:
    digits, both = DATA.get("digits")(0), DATA.get("two_domains")(0, change="inverted", blend=blend)
    for index in (0, 7, 1436):
        plain = digits.inputs_train[index].double()
        expected = ((1 - blend) * plain + blend * (255 - plain)).round()
        assert torch.equal(both.inputs_train[1437 + index].double(), expected)


def test_disjoint_domains_have_half_of_every_class_each() -> None:
    digits, both = DATA.get("digits")(0), DATA.get("two_domains")(0, change="inverted", disjoint=True)
    for part in ("train", "test"):
        inputs, targets, domains = (getattr(both, f"{what}_{part}") for what in ("inputs", "targets", "domains"))
        sources = torch.where(domains[:, None, None, None] == 1, 255 - inputs, inputs).flatten(1)
        whole, labels = getattr(digits, f"inputs_{part}").flatten(1), getattr(digits, f"targets_{part}")
        rows = sorted((*image, label) for image, label in zip(sources.tolist(), targets.tolist(), strict=True))
        assert rows == sorted((*image, label) for image, label in zip(whole.tolist(), labels.tolist(), strict=True))
        for label in range(10):
            of_class = domains[targets == label]
            assert abs(int((of_class == 0).sum()) - int((of_class == 1).sum())) <= 1


def test_a_discriminator_is_told_the_domains_for_targets() -> None:
    both = DATA.get("two_domains")(0, change="inverted", predict="domain")
    assert both.classes == both.domains == ("digits", "inverted")
    assert both.domains_train is not None
    assert torch.equal(both.targets_train, both.domains_train)
    assert both.fingerprint != DATA.get("two_domains")(0, change="inverted").fingerprint
    data = load_data({"name": "two_domains", "predict": "domain", "order": "alternating"}, 0, 16)
    assert data.spec.outputs == 2
    assert [set(data.batch(step).targets.tolist()) for step in range(3)] == [{0}, {1}, {0}]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"blend": 1.5}, "data.blend=1.5: must be from 0 to 1"),
        ({"second": "digits", "blend": 0.5}, "data.blend=0.5: is without effect: data.second=digits takes"),
        ({"second": "digits", "disjoint": True}, "data.disjoint=true: is without effect: data.second=digits takes"),
    ],
    ids=str,
)
def test_shares_and_halves_that_cannot_be_are_one_line(options: dict[str, Any], told: str) -> None:
    with pytest.raises(WrongInput, match=f"^{told}"):
        DATA.get("two_domains")(0, **options)


def test_random_images_stand_in_for_the_files_of_both_data_sets() -> None:
    options = {"name": "two_domains", "first": "mnist", "second": "svhn"}
    data = load_data(options, 0, 8, stand_in=True)
    assert data.spec.input_shape == (3, 32, 32)
    assert data.domains == ("mnist", "svhn")
    with pytest.raises(WrongInput):  # only where it is asked for
        load_data({**options, "first_options": {"root": "/no/such/place"}}, 0, 8)


@pytest.mark.parametrize("predict", ["class", "domain"])
def test_two_folders_are_two_domains_if_their_classes_have_the_same_names(tmp_path: Path, predict: str) -> None:
    for kind, names in (("photos", "cat dog"), ("drawings", "cat dog"), ("others", "car plane")):
        for label, name in enumerate(names.split()):
            for place, (part, samples) in enumerate({"train": 4, "test": 2}.items()):
                (tmp_path / kind / part / name).mkdir(parents=True)
                for i in range(samples):
                    colour = 100 * label + 10 * place + i
                    Image.new("L", (4, 4), colour).save(tmp_path / kind / part / name / f"{i}.png")

    def options(other: str) -> dict[str, Any]:
        folders = {
            f"{key}_options": {"root": str(tmp_path / kind), "cache": str(tmp_path / "cache")}
            for key, kind in (("first", "photos"), ("second", other))
        }
        return {"name": "two_domains", "first": "image_folder", "second": "image_folder", "predict": predict, **folders}

    data = load_data(options("drawings"), 0, 16)
    batch = data.batch(0)
    assert batch.domain is not None
    assert batch.domain.bincount().tolist() == [8, 8]
    assert data.domains == ("image_folder", "image_folder_again")
    if predict == "class":
        with pytest.raises(
            WrongInput, match=r"data.second=image_folder: its classes .*: car, cat, dog, plane are of one"
        ):
            load_data(options("others"), 0, 16)
    else:
        load_data(options("others"), 0, 16)


RARE = ["data=two_domains", "model=mlp", "model.widths=[8]", "data.subset=64", "data.test_subset=40"]
RARE += ["optim.batch_size=8", "norm=batch", "norm.per=domain"]


def test_a_batch_with_one_sample_of_a_domain_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = load_data({"name": "two_domains", "subset": 64}, 0, 8)
    fewest = [int(data.batch(step).domain.bincount(minlength=2).min()) for step in range(40)]  # type: ignore[union-attr]
    bad = fewest.index(1)
    assert bad > 0
    assert fewest_of_a_domain(torch.tensor([1, 1, 1])) == 3  # of one that is not there there are none
    assert data.rarest(40) == bad
    line = refusal([*RARE, f"steps={bad}"], tmp_path, monkeypatch, capsys)  # whose batch is evaluated at the end
    assert "one value per unit and group" in line
    assert f"so it is at step {bad}, which has the fewest samples of a domain" in line
    assert not list(tmp_path.glob("runs/*"))
    assert experiments.run(small(tmp_path, *RARE, f"steps={bad - 1}")).state == "finished"


def test_a_trial_looks_at_the_first_the_last_and_the_rarest_batch() -> None:
    data = load_data({"name": "two_domains", "test_subset": 200}, 0, 8)
    batches = list(data.mixed_test_batches(8))
    fewest = [fewest_of_a_domain(batch.domain) for batch in batches if batch.domain is not None]
    rarest = fewest.index(1)
    network = build_model({"name": "mlp", "widths": [8]}, {"name": "batch"}, data.spec, 0)
    trial = dataclasses.replace(occasion(network, data), trial=True)
    assert [id(batch) for batch in trial.some(iter(batches))] == [id(batches[i]) for i in (0, rarest, -1)]
    plain = [dataclasses.replace(batch, domain=None) for batch in batches[:3]]
    assert [id(batch) for batch in trial.some(iter(plain))] == [id(plain[0]), id(plain[-1])]


def test_a_test_batch_with_one_sample_of_a_domain_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = load_data({"name": "two_domains", "test_subset": 200}, 0, 8)
    counts = [int(batch.domain.bincount(minlength=2).min()) for batch in data.mixed_test_batches(8)]  # type: ignore[union-attr]
    assert 1 in counts[1:-1]
    assert 1 not in (counts[0], counts[-1])
    given = [option for option in RARE if "subset" not in option]
    given += ["data.test_subset=200", "data.order=blocks", "+evaluation.kinds.b={statistics: batch}", "steps=3"]
    line = refusal(given, tmp_path, monkeypatch, capsys)
    assert "evaluation.kinds.b" in line
    assert "one value per unit and group" in line


def test_permuted_pixels_are_in_one_order_for_all_images() -> None:
    both = DATA.get("two_domains")(0, change="permuted")
    plain, permuted = both.inputs_train[:1437].flatten(1), both.inputs_train[1437:].flatten(1)
    assert not torch.equal(plain, permuted)
    columns = [tuple(column.tolist()) for column in permuted.T]
    assert sorted(columns) == sorted(tuple(column.tolist()) for column in plain.T)
    assert torch.equal(
        both.inputs_test[360:].flatten(1)[:, 5], both.inputs_test[:360].flatten(1)[:, _at(plain, permuted)]
    )


def _at(plain: Tensor, permuted: Tensor) -> int:
    """From where the fifth pixel came (the last of those that are alike)."""
    return next(i for i in range(63, -1, -1) if torch.equal(plain[:, i], permuted[:, 5]))


def test_two_data_sets_are_brought_to_one_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    def coloured(seed: int, *, size: int = 4) -> Arrays:
        pixels = torch.randint(256, (30, 3, size, size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        targets = torch.arange(30) % 10
        return Arrays(pixels, targets, pixels[:10], targets[:10], tuple("abcdefghij"))

    DATA.names()
    monkeypatch.setitem(DATA._entries, "coloured", coloured)
    both = DATA.get("two_domains")(0, second="coloured", second_options={"size": 16})
    assert both.domains == ("digits", "coloured")
    assert both.inputs_train.shape == (1467, 3, 16, 16)
    assert both.domains_train is not None
    assert both.domains_train.bincount().tolist() == [1437, 30]
    grey = both.inputs_train[0]
    assert torch.equal(grey[0], grey[1])
    assert torch.equal(grey[0], grey[2])
    digit = DATA.get("digits")(0).inputs_train[0].float()[None]
    enlarged = functional.interpolate(digit, (16, 16), mode="bilinear", align_corners=False).round()
    assert torch.equal(grey[0].float(), enlarged[0, 0])
    assert torch.equal(both.inputs_train[1437:], coloured(0, size=16).inputs_train)
    monkeypatch.setitem(
        DATA._entries, "fewer", lambda seed: dataclasses.replace(coloured(0), classes=tuple("abcdefghijk"))
    )
    for options, line in {
        "second=fewer": "data.second=fewer: has 11 classes, but data.first=digits 10",
        "second=gaussian": "data.second=gaussian: must be images with classes",
        "second=two_domains": "data.second=two_domains: must be another data set",
        "second=nist": "data.second=nist: unknown data set; did you mean 'mnist'",
    }.items():
        with pytest.raises(WrongInput, match=f"^{line}"):
            load_data({"name": "two_domains", **dict([options.split("=")])}, 0, 8)
    for wrong, line in (
        ({"first_options": {"rot": 1}}, "data.first_options.rot=1: unknown option"),
        ({"second_options": {"size": 4}}, r"data.second_options=\{'size': 4\}: needs data.second"),
        ({"second": "coloured", "change": "blurred"}, "data.change=blurred: is without effect"),
        ({"change": "blured"}, "data.change=blured: did you mean"),
    ):
        with pytest.raises(WrongInput, match=f"^{line}"):
            load_data({"name": "two_domains", **wrong}, 0, 8)


@pytest.mark.parametrize("order", ["reshuffled", "alternating", "blocks", "with_replacement", "sorted"])
def test_every_sample_of_every_batch_carries_its_domain(order: str) -> None:
    arrays = DATA.get("two_domains")(0)
    assert arrays.domains_train is not None
    data = load_data({"name": "two_domains", "standardise": False, "order": order, "augment": False}, 0, 16)
    known = {
        bytes(x.flatten().tolist()): d for x, d in zip(arrays.inputs_train, arrays.domains_train.tolist(), strict=True)
    }
    for step in (*range(5), 178):
        batch = data.batch(step)
        assert batch.domain is not None
        pixels = (batch.inputs * 255).round().to(torch.uint8)
        assert [known[bytes(x.flatten().tolist())] for x in pixels] == batch.domain.tolist()
        expected = {"alternating": [step % 2] * 16, "blocks": [0] * 8 + [1] * 8, "sorted": [int(step > 100)] * 16}
        assert batch.domain.tolist() == expected.get(order, batch.domain.tolist())
        assert order in expected or 0 < batch.domain.sum() < 16
    fixed = data.fixed_batch(30)
    assert fixed.domain is not None
    pixels = (fixed.inputs * 255).round().to(torch.uint8)
    assert [known[bytes(x.flatten().tolist())] for x in pixels] == fixed.domain.tolist()
    found = [batch.domain for batch in data.test_batches(100)]
    assert torch.equal(torch.cat(found), arrays.domains_test)  # type: ignore[arg-type]


def test_by_class_where_that_is_said() -> None:
    data = load_data({"name": "two_domains", "order": "alternating", "grouped_by": "class"}, 0, 16)
    assert [data.batch(step).targets.tolist() for step in range(3)] == [[k] * 16 for k in range(3)]


def test_subsets_have_the_shares_of_domains_and_classes() -> None:
    data = load_data({"name": "two_domains", "subset": 400, "test_subset": 100}, 0, None)
    batch = data.batch(0)
    assert batch.domain is not None
    assert batch.domain.bincount().tolist() == [200, 200]
    both = (batch.targets + 10 * batch.domain).bincount()
    assert both.min() >= 18
    assert both.max() <= 22


def made(**changed: Any) -> Arrays:
    x, y = torch.zeros(6, 1, 2, 2, dtype=torch.uint8), torch.arange(6) % 2
    d = torch.tensor([0, 0, 0, 1, 1, 1])
    whole: dict[str, Any] = {"domains": ("a", "b"), "domains_train": d, "domains_test": d}
    return Arrays(x, y, x, y, ("p", "q"), "", None, **{**whole, **changed})


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"domains_train": torch.zeros(6, dtype=torch.int64)}, "domain 'b' has no training samples"),
        ({"domains_test": torch.ones(6, dtype=torch.int64)}, "domain 'a' has no test samples"),
        ({"domains_train": torch.tensor([0, 0, 0, 1, 1, 2])}, "domains_train must be in 0..1 for 2 domains"),
        (
            {"domains_train": torch.zeros(5, dtype=torch.int64)},
            r"domains_train must be int64 \(6,\), one for each sample",
        ),
        ({"domains_test": None}, r"domains_test must be int64 \(6,\), one for each sample, not None"),
        ({"domains_test": torch.zeros(6)}, r"domains_test must be int64 \(6,\), .* not float32 \(6,\)"),
        ({"domains": None}, "domains must be a tuple of texts where samples have domains, not None"),
        ({"domains": "ab"}, "domains must be a tuple of texts, or None, not 'ab'"),
    ],
)
def test_domains_that_are_none_are_one_line(changed: dict[str, Any], line: str) -> None:
    from experiments.data.arrays import check_arrays

    check_arrays("data.name=made", made())
    with pytest.raises(WrongInput, match=f"^data.name=made: {line}") as told:
        check_arrays("data.name=made", made(**changed))
    assert "\n" not in str(told.value)


def test_a_subset_that_leaves_a_domain_out_is_one_line() -> None:
    with pytest.raises(WrongInput, match=r"^data.subset=1: domain '\w+' has no training samples"):
        Data(made(), 0, None, options=Options(subset=1))
    with pytest.raises(WrongInput, match=r"^data.test_subset=1: domain '\w+' has no test samples"):
        Data(made(), 0, None, options=Options(test_subset=1))


def test_the_fingerprint_tells_domains_apart_and_is_what_it_was_without() -> None:
    plain = made(domains=None, domains_train=None, domains_test=None)
    other = made(domains_train=torch.tensor([0, 1, 0, 1, 1, 1]))
    hashes = {arrays.content_hash() for arrays in (plain, made(), other, made(domains=("a", "c")))}
    assert len(hashes) == 4
    digits = DATA.get("digits")(0)
    assert digits.fingerprint == digits.content_hash()
    assert digits.fingerprint.startswith("e80f5032243f5516")


OWN = """
import torch
from experiments.data import Arrays

def mine(seed, *, mixed: bool = False):
    inputs, targets = torch.arange(48, dtype=torch.uint8).view(12, 1, 2, 2), torch.arange(12) % 3
    domains = torch.arange(12) % 2 if mixed else torch.arange(12) // 6
    return Arrays(inputs, targets, inputs, targets, ("a", "b", "c"),
                  domains=("near", "far"), domains_train=domains, domains_test=domains)
"""


def test_a_data_set_of_ones_own_has_domains(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    one, other = (
        load_data({"name": "mine", "file": str(tmp_path / "own.py"), "mixed": mixed}, 0, None)
        for mixed in (False, True)
    )
    assert one.domains == ("near", "far")
    assert one.batch(0).domain.tolist() == [0] * 6 + [1] * 6  # type: ignore[union-attr]
    assert one.fingerprint != other.fingerprint


# Training


class Slow:
    """The perceptron of the runs with a domain's own statistics: a loop over domains, in plain torch."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.weights = {
            k: v.clone().requires_grad_() for k, v in state.items() if v.is_floating_point() and "running" not in k
        }
        self.running = {k: v.clone() for k, v in state.items() if "running" in k}

    def __call__(self, x: Tensor, domain: Tensor, training: bool) -> Tensor:
        w, x = self.weights, x.flatten(1)
        for layer in ("fc1", "fc2"):
            z = x @ w[f"{layer}.layer.weight"].T + w[f"{layer}.layer.bias"]
            rows = [torch.empty(0)] * len(z)
            for d in (0, 1):
                mine = [i for i in range(len(z)) if domain[i] == d]
                if not mine:
                    continue
                mean, square = (self.running[f"{layer}.norm.running_{name}"][d] for name in ("mean", "var"))
                if training:
                    own = z[mine]
                    with torch.no_grad():
                        mean.mul_(0.9).add_(0.1 * own.mean(0))
                        square.mul_(0.9).add_(0.1 * own.var(0))
                    mean, square = own.mean(0), ((own - own.mean(0)) ** 2).mean(0)
                for i in mine:
                    normal = (z[i] - mean) / (square + 1e-5).sqrt()
                    rows[i] = w[f"{layer}.norm.weight"] * normal + w[f"{layer}.norm.bias"]
            x = torch.stack(rows).relu()
        last = "head.layer"
        return x @ w[f"{last}.weight"].T + w[f"{last}.bias"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Slow, Data]:
    """A run without probes, and the loop that does the same."""
    config = small(tmp_path_factory.mktemp("plain"), *TWO, "steps=6")
    path = experiments.run(config).path
    plain = plain_config(config)
    data = load_data(plain["data"], 0, 16, "cpu")
    slow = Slow(build_model(plain["model"], plain["norm"], data.spec, 0).state_dict())
    for step in range(6):
        batch = data.batch(step)
        assert batch.domain is not None
        loss = functional.cross_entropy(slow(batch.inputs, batch.domain, True), batch.targets)
        for weight, gradient in zip(
            slow.weights.values(), torch.autograd.grad(loss, list(slow.weights.values())), strict=True
        ):
            weight.data -= 0.1 * gradient
    return path, slow, data


def test_training_is_a_loop_over_domains(trained: tuple[Path, Slow, Data]) -> None:
    path, slow, _ = trained
    state = checkpoint(path)["network"]
    for key, value in {**slow.weights, **slow.running}.items():
        torch.testing.assert_close(state[key], value.detach(), rtol=1e-4, atol=1e-5, msg=key)
    means = state["fc1.norm.running_mean"]
    assert (means[0] - means[1]).abs().max() > 0.1


def test_the_test_set_is_scored_as_a_whole_and_by_domain(trained: tuple[Path, Slow, Data]) -> None:
    path, slow, data = trained
    (batch,) = data.test_batches(10**6)
    assert batch.domain is not None
    output = slow(batch.inputs, batch.domain, False)
    right = (output.argmax(1) == batch.targets).float()
    losses = functional.cross_entropy(output, batch.targets, reduction="none")
    final = json.loads((path / "status.json").read_text())["final"]
    for ending, own in {
        "": batch.domain >= 0,
        "_digits": batch.domain == 0,
        "_inverted_blurred": batch.domain == 1,
    }.items():
        assert final[f"test_accuracy{ending}"] == pytest.approx(right[own].mean().item(), abs=0.03)
        assert final[f"test_data_loss{ending}"] == pytest.approx(losses[own].mean().item(), rel=1e-4)
    table = load_runs(path)
    assert {"test", "test_digits", "test_inverted_blurred"} <= set(table.batch)


def test_training_does_not_notice_the_probes_which_see_the_same_domains(
    trained: tuple[Path, Slow, Data], tmp_path: Path
) -> None:
    path, _, data = trained
    probed = experiments.run(small(tmp_path, *TWO, *PROBED, "steps=6")).path
    one, other = checkpoint(path), checkpoint(probed)
    for part in ("network", "optimiser", "generators"):
        assert differences(one[part], other[part], part) == []
    table = load_runs(probed)
    losses = table[(table.metric == "data_loss") & (table.batch == "train")].set_index("step").value
    before = table[(table.metric == "loss") & (table.probe == "landscape")].set_index("step").value
    for step in (0, 2, 4):
        assert before[step] == pytest.approx(losses[step], rel=1e-6)
    # the fixed batch has as many samples as training's, but others: its own domains decide
    config = plain_config(small(tmp_path, *TWO))
    network = build_model(config["model"], config["norm"], data.spec, 0)
    fixed = data.fixed_batch(16)
    first = data.batch(0)
    assert fixed.domain is not None
    assert first.domain is not None
    assert not torch.equal(fixed.domain, first.domain)
    with torch.no_grad(), statistics.in_domain(fixed.domain):
        hidden = network.get_submodule("fc1")(fixed.inputs.flatten(1))
        second = network.get_submodule("fc2").layer(hidden.relu())
    chosen = table[(table.probe == "activations") & (table.batch == "fixed") & (table.step == 0)]
    chosen = chosen[(chosen.metric == "mean_before_normalisation") & (chosen.layer == "fc2")]
    assert chosen.value.tolist() == [pytest.approx(second.mean().item(), rel=1e-4)]


def test_a_run_that_goes_on_and_one_that_is_probed_again_see_the_same_domains(tmp_path: Path) -> None:
    whole = experiments.run(small(tmp_path / "whole", *TWO, *PROBED, "steps=6", "checkpoint.keep=[2]")).path
    experiments.run(small(tmp_path / "parts", *TWO, *PROBED, "steps=3"))
    parts = experiments.run(small(tmp_path / "parts", *TWO, *PROBED, "steps=6")).path
    assert differences(checkpoint(whole)["network"], checkpoint(parts)["network"]) == []
    again = experiments.run(small(tmp_path / "again", *PROBED, f"probe_again={whole}")).path
    mine, theirs = load_runs(again), load_runs(whole)
    theirs = theirs[(theirs.step == 2) & (theirs.probe == "landscape")]
    mine = mine[mine.probe == "landscape"]
    assert mine.value.astype(str).tolist() == theirs.value.astype(str).tolist()
    assert len(mine)


def test_a_run_without_steps_and_one_without_domains_statistics(tmp_path: Path) -> None:
    assert experiments.run(small(tmp_path, *TWO, *PROBED, "steps=0")).trained
    both = experiments.run(small(tmp_path, "data=two_domains", "norm=batch", "steps=2")).path
    assert "test_accuracy_digits" in json.loads((both / "status.json").read_text())["final"]


def test_two_halves_of_a_batch_are_normalised_apart_by_their_place_or_by_their_domain(tmp_path: Path) -> None:
    chosen = ["data=two_domains", "data.order=blocks", "norm=batch", "steps=5"]
    halves = {
        "place": experiments.run(small(tmp_path, *chosen, "norm.per=ghost", "norm.ghost_size=8")),
        "domain": experiments.run(small(tmp_path, *chosen, "norm.per=domain")),
        "whole": experiments.run(small(tmp_path, *chosen)),
    }
    place, domain, whole = (checkpoint(outcome.path)["network"] for outcome in halves.values())
    for key, value in place.items():
        torch.testing.assert_close(domain[key], value, rtol=1e-5, atol=1e-6, msg=key)
    assert (whole["fc1.norm.running_var"] - place["fc1.norm.running_var"]).abs().max() > 0.01


def test_where_the_files_lie_names_no_run(tmp_path: Path) -> None:
    from experiments.runs.identity import identity_of

    def digests(root: str) -> tuple[str, str]:
        options = f"data.first_options={{root: {root}, download: true}}"
        return identity_of(plain_config(small(tmp_path, "data=two_domains", options)), "").digests

    assert digests("a") == digests("b")


def test_more_domains_than_the_normalisation_has_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match=r"^norm.domains=1: a sample is of domain 1"):
        experiments.run(small(tmp_path, *TWO, "norm.domains=1"))
    assert not list(tmp_path.iterdir())


def test_each_domain_has_its_own_population_and_its_own_numbers_of_every_evaluation(tmp_path: Path) -> None:
    """Running statistics per domain: of a population, each row is that of the domain's samples alone."""
    chosen = [*TWO, "data.subset=80", "data.test_subset=40", "optim.batch_size=16", "model=mlp", "model.widths=[8,8]"]
    path = experiments.run(small(tmp_path, *chosen)).path
    final = json.loads((path / "status.json").read_text())["final"]
    for ending in ("", "_population"):
        shares = [final[f"test_accuracy_{name}{ending}"] for name in ("digits", "inverted_blurred")]
        assert final[f"test_accuracy{ending}"] == pytest.approx(sum(shares) / 2)  # of equally many samples
    assert {f"test_{name}, population" for name in ("digits", "inverted_blurred")} < set(load_runs(path).batch)

    config = plain_config(small(tmp_path, *chosen))
    data = load_data(config["data"], 0, 16, torch.device("cpu"))
    network = build_model(config["model"], config["norm"], data.spec, 0).eval()
    held = holders(network, data.batch(0), 0)
    set_to_population(network, Occasion(data, Objective(functional.cross_entropy), 0, 100, held, "x"), 5)
    batches = list(data.population(5))
    inputs, domains = (torch.cat([getattr(one, what) for one in batches]) for what in ("inputs", "domain"))
    with torch.no_grad():
        z = network.fc1.layer(inputs.flatten(1))
    assert len(z) == 80
    for row in (0, 1):
        torch.testing.assert_close(network.fc1.norm.running_mean[row], z[domains == row].mean(0), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(network.fc1.norm.running_var[row], z[domains == row].var(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("chosen", [["optim=sam"], ["optim.groups=[{match: scale_invariant, lr: x2}]"]], ids=str)
def test_whoever_looks_at_a_batch_outside_the_loop_does_so_in_its_domains(chosen: list[str], tmp_path: Path) -> None:
    """Statistics by domain are refused where nothing says which samples belong together."""
    small_net = ["data.subset=80", "data.test_subset=40", "optim.batch_size=16", "model=mlp", "model.widths=[8,8]"]
    outcome = experiments.run(small(tmp_path, *[own for own in TWO if own != "optim.momentum=0"], *small_net, *chosen))
    assert outcome.state == "finished"


def test_names_of_domains_differ_and_options_are_a_mapping(tmp_path: Path) -> None:
    arrays = DATA.get("two_domains")(0)
    twice = dataclasses.replace(arrays, domains=("p", "p"))
    with pytest.raises(WrongInput, match="domains must have names of their own"):
        check_arrays("data=mine", twice)
    for options in (5, [1]):
        with pytest.raises(WrongInput, match=r"^data.first_options=.*: must be null or a mapping"):
            DATA.get("two_domains")(0, first_options=options)


def test_a_label_that_would_be_recorded_as_a_domain_is_refused(tmp_path: Path) -> None:
    labelled = ["data=two_domains", "data.change=inverted", "+evaluation.kinds.inverted={inputs: noise}"]
    with pytest.raises(WrongInput, match=r"^evaluation.kinds.inverted: test_data_loss_inverted is recorded already"):
        experiments.run(small(tmp_path, *labelled))
