"""What the loop computes, against a second way of computing it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import experiments
from experiments.building import build_training
from experiments.configuration import plain_config
from experiments.criteria import data_loss
from experiments.data import load_data
from experiments.errors import WrongInput
from experiments.models import build_model
from experiments.norms import NORMS
from experiments.optimisers import build_optimiser, learning_rate_schedule
from experiments.runs.records import ProbeRecorder
from probes.objective import Objective, weight_matrices
from tests.runs import checkpoint, differences, small


def records(path: Path) -> list[dict]:
    return [json.loads(line) for line in (path / "records.jsonl").read_text().splitlines()]


def test_a_run_equals_a_loop_written_by_hand(tmp_path: Path) -> None:
    """Forward, cross-entropy, L2 term, momentum: twenty lines of plain torch end with the same weights, to rounding."""
    config = small(tmp_path, "optim.momentum=0.9", "optim.weight_decay=0.01", "norm=batch", "steps=7")
    outcome = experiments.run(config)
    plain = plain_config(config)
    torch.use_deterministic_algorithms(True)
    data = load_data(plain["data"], 0, 16, torch.device("cpu"))
    network = build_model(plain["model"], plain["norm"], data.spec, 0)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for step in range(7):
        batch = data.batch(step)
        penalty = sum(m.weight.square().sum() for m in network.modules() if isinstance(m, nn.Linear)) * 0.01 / 2
        loss = nn.functional.cross_entropy(network(batch.inputs), batch.targets) + penalty
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    torch.use_deterministic_algorithms(False)
    recorded = [line["values"]["loss"] for line in records(outcome.path)]
    np.testing.assert_allclose(recorded[:4], losses[::2], rtol=1e-6)
    for (name, mine), theirs in zip(
        network.state_dict().items(), checkpoint(outcome.path)["network"].values(), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-7, msg=name)


def test_full_batch_gradient_descent_on_the_deep_linear_net_matches_matrix_calculus(tmp_path: Path) -> None:
    """Two linear layers without BN: W <- W - lr dL/dW with L = sum ||W2 W1 x - y||^2, in numpy float64."""
    chosen = ["data=gaussian", "model=deep_linear", "model.depth=2", "norm=none", "optim=gd", "optim.loss=sum"]
    config = small(tmp_path, *chosen, "optim.lr=1e-5", "steps=5", "evaluation.every=1")
    path = experiments.run(config).path
    plain = plain_config(config)
    data = load_data(plain["data"], 0, None, torch.device("cpu"))
    network = build_model(plain["model"], plain["norm"], data.spec, 0)
    first, second = (p.detach().double().numpy() for p in network.parameters())
    batch = data.batch(0)
    x, y = batch.inputs.double().numpy(), batch.targets.double().numpy()
    expected = []
    for _ in range(6):
        error = x @ first.T @ second.T - y
        expected.append((error**2).sum())
        to_second, to_first = 2 * error.T @ (x @ first.T), 2 * second.T @ error.T @ x
        first, second = first - 1e-5 * to_first, second - 1e-5 * to_second
    np.testing.assert_allclose([line["values"]["loss"] for line in records(path)], expected, rtol=1e-5)


def test_loss_reductions_and_penalty() -> None:
    output, labels = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    probability = output.softmax(1)[range(5), labels]
    assert data_loss("classification", "sum")(output, labels).item() == pytest.approx(-probability.log().sum().item())
    values = torch.randn(5, 3)
    squares = ((output - values).numpy() ** 2).sum(1)
    assert data_loss("regression", "sum")(output, values).item() == pytest.approx(squares.sum())
    assert data_loss("regression", "mean")(output, values).item() == pytest.approx(squares.mean())


def test_squared_errors_of_classes_are_of_their_one_hot_vectors(tmp_path: Path) -> None:
    output, labels = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    squares = sum(((output[i].numpy() - np.eye(3)[label]) ** 2).sum() for i, label in enumerate(labels.tolist()))
    for criterion, factor in (("squared_error", 1.0), ("half_squared_error", 0.5)):
        of_sum, of_mean = (data_loss("classification", r, criterion)(output, labels).item() for r in ("sum", "mean"))
        assert of_sum == pytest.approx(factor * squares)
        assert of_mean == pytest.approx(factor * squares / 5)
    values = torch.randn(5, 3)
    halved = data_loss("regression", "mean", "half_squared_error")(output, values).item()
    assert halved == pytest.approx(((output - values) ** 2).sum().item() / 10)
    picked = -sum(output[i, label].item() for i, label in enumerate(labels.tolist())) / 5
    assert data_loss("classification", "mean", "linear")(output, labels).item() == pytest.approx(picked)
    signs = torch.tensor([[1.0, -1.0, 1.0]] * 5)
    told = [
        math.log1p(math.exp(-o * s)) for o, s in zip(output.flatten().tolist(), signs.flatten().tolist(), strict=True)
    ]
    assert data_loss("regression", "mean", "logistic")(output, signs).item() == pytest.approx(sum(told) / 5)
    path = experiments.run(small(tmp_path, "optim.criterion=half_squared_error", "optim.lr=0.01", "steps=20")).path
    told = records(path)
    assert told[-1]["values"]["data_loss"] < told[0]["values"]["data_loss"]
    assert set(told[-1]["values"]) >= {"accuracy", "test_accuracy"}
    assert json.loads((path / "fields.json").read_text())["training"]["loss"]["unit"].startswith("half squared error, ")
    for wrong, line in {
        (
            "optim.criterion=mse",
        ): "optim.criterion=mse: allowed: cross_entropy, half_squared_error, linear, logistic, squared_error",
        ("optim.criterion=cross_entropy", "data=gaussian", "model=deep_linear"): "have values as targets, not classes",
        ("optim.criterion=logistic",): "these data have classes; it takes signs, 1 and -1, as targets",
        ("optim.criterion=logistic", "data=gaussian", "model=deep_linear", "norm=none"): "other targets than signs",
    }.items():
        with pytest.raises(WrongInput, match=line):
            experiments.run(small(tmp_path, *wrong))


def test_the_penalty_counts_weights_and_neither_biases_nor_gamma_and_beta() -> None:
    spec = load_data({"name": "digits"}, 0, 16, torch.device("cpu")).spec
    for norm in ("batch", "weight", "layer"):
        network = build_model({"name": "vgg_small", "width": 0.125}, {"name": norm}, spec, 0)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.01)
        counted = [m.weight for m in network.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
        assert differences([w.detach() for w in weight_matrices(network)], [w.detach() for w in counted]) == []
        x = torch.randn(4, *spec.input_shape)
        loss = Objective(lambda output, _: output.mean(), 0.3)(network, network, x, x)
        assert loss.penalty.item() == pytest.approx(0.15 * sum(w.square().sum().item() for w in counted), rel=1e-5)
        assert loss.total.item() == pytest.approx(loss.data_loss.item() + loss.penalty.item())


def test_decoupled_decay_shrinks_weights_only_and_is_no_term_of_the_loss(tmp_path: Path) -> None:
    common = ["optim=adamw", "optim.lr=0.01", "steps=1", "norm=batch", "evaluation.every=1"]
    decayed = experiments.run(small(tmp_path, *common, "optim.decoupled_weight_decay=0.5")).path
    plain = experiments.run(small(tmp_path, *common, "optim.decoupled_weight_decay=0")).path
    initial = experiments.run(small(tmp_path, *common, "optim.decoupled_weight_decay=0", "optim.lr=1e-30")).path
    assert records(decayed)[0]["values"]["loss"] == records(plain)[0]["values"]["loss"]
    with_decay, without, start = (checkpoint(p)["network"] for p in (decayed, plain, initial))
    for name, value in with_decay.items():
        if not value.is_floating_point():
            continue
        shrink = 0.01 * 0.5 * start[name] if value.ndim >= 2 else torch.zeros_like(value)
        torch.testing.assert_close(value, without[name] - shrink, atol=1e-6, rtol=1e-5, msg=name)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.4] * 5),
        ("step", [0.4, 0.4, 0.04, 0.004, 0.004]),
        ("cosine", [0.2 * (1 + math.cos(math.pi * t / 4)) for t in range(5)]),
    ],
)
def test_learning_rate_schedules(schedule: str, expected: list[float]) -> None:
    rate = learning_rate_schedule(schedule, 0.4, 4, [2, 3], 0.1)
    assert [rate(t) for t in range(5)] == pytest.approx(expected)


def test_a_diverged_run_is_a_result_with_its_step_and_is_left_alone(tmp_path: Path) -> None:
    config = small(tmp_path, "optim.lr=1e25", "norm=none", "steps=30", "evaluation.every=10")
    outcome = experiments.run(config)
    status = json.loads((outcome.path / "status.json").read_text())
    last = records(outcome.path)[-1]
    assert outcome.state == status["state"] == "diverged"
    assert 0 < status["diverged_at"] < 10
    assert last["step"] == status["diverged_at"]
    assert not np.isfinite(float(last["values"]["loss"]))
    assert not experiments.run(config).trained


def test_a_diverged_run_that_is_asked_for_more_steps_is_one_of_that_length(tmp_path: Path) -> None:
    """Else the setting of the longer runs would lack it; asked for fewer, it stays what it was begun for."""
    first = experiments.run(small(tmp_path, "optim.lr=1e20", "steps=10"))
    for steps, length in ((20, 20), (15, 20)):
        again = experiments.run(small(tmp_path, "optim.lr=1e20", f"steps={steps}"))
        assert (again.path, again.state, again.step) == (first.path, "diverged", first.step)
        assert again.trained == (steps == 20)
        assert json.loads((first.path / "config.json").read_text())["config"]["steps"] == length


def test_a_loss_above_the_bound_has_diverged(tmp_path: Path) -> None:
    outcome = experiments.run(small(tmp_path, "diverged_above=1.0"))
    assert (outcome.state, records(outcome.path)[0]["step"]) == ("diverged", 0)


def test_evaluation_moves_nothing(tmp_path: Path) -> None:
    often = experiments.run(small(tmp_path, "norm=batch", "evaluation.every=1"))
    seldom = experiments.run(small(tmp_path, "norm=batch", "evaluation.every=100"))
    one, other = checkpoint(often.path), checkpoint(seldom.path)
    for part in ("network", "optimiser", "generators"):
        assert differences(one[part], other[part], part) == []


def test_evaluation_draws_from_no_generator_that_training_draws_from(tmp_path: Path) -> None:
    """A user's normalisation that draws in both modes: how often it is evaluated changes no bit of training."""
    (tmp_path / "own.py").write_text(
        "import random\nimport numpy as np\nimport torch\nfrom torch import nn\nclass Draws(nn.Module):\n"
        "    def __init__(self, layer):\n        super().__init__()\n"
        "    def forward(self, x):\n"
        "        return x * (1 + 0.1 * (torch.rand(()).item() + random.random() + np.random.rand()))\n"
    )
    own = ["norm=none", "norm.name=Draws", f"norm.file={tmp_path}/own.py", "steps=7", "evaluation.every=1"]
    seldom, often = (
        experiments.run(small(tmp_path / str(every), *own, f"evaluation.test_every={every}")).path for every in (100, 1)
    )
    assert differences(checkpoint(seldom)["network"], checkpoint(often)["network"]) == []


def test_test_accuracy_is_that_of_evaluation_mode_over_the_whole_test_set(tmp_path: Path) -> None:
    config = small(tmp_path, "norm=batch", "steps=20", "evaluation.batch_size=7")
    path = experiments.run(config).path
    network = experiments.load_network(path).eval()
    plain = plain_config(config)
    (batch,) = load_data(plain["data"], 0, 16, torch.device("cpu")).test_batches(10**6)
    with torch.no_grad():
        output = network(batch.inputs)
    last = records(path)[-1]["values"]
    assert last["test_accuracy"] == (output.argmax(1) == batch.targets).float().mean().item()
    assert last["test_data_loss"] == pytest.approx(nn.functional.cross_entropy(output, batch.targets).item(), rel=1e-5)


def test_equal_seeds_give_equal_runs_and_other_seeds_give_others(tmp_path: Path) -> None:
    torch.manual_seed(1)
    one = experiments.run(small(tmp_path / "a"))
    torch.manual_seed(2)
    other = experiments.run(small(tmp_path / "b"))
    assert (one.path / "records.jsonl").read_bytes() == (other.path / "records.jsonl").read_bytes()
    third = experiments.run(small(tmp_path / "b", "seed=1"))
    assert (third.path / "records.jsonl").read_bytes() != (other.path / "records.jsonl").read_bytes()


def test_a_run_in_a_notebook_leaves_no_trace_in_the_process(tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = (torch.get_rng_state(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    experiments.run(small(tmp_path, "threads=2"))
    after = (torch.get_rng_state(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    assert differences(before, after) == []


def test_what_does_not_change_results_is_not_in_the_identity(tmp_path: Path) -> None:
    base = experiments.run(small(tmp_path)).path
    for same in ("threads=2", "device=cpu", "label=x", "checkpoint.seconds=5", "resume=anyway", "steps=4"):
        assert experiments.run(small(tmp_path, same)).path == base, same
    for other in ("seed=1", "norm.eps=1e-4", "optim.lr=0.05", "evaluation.every=3", "numerics=fast", "data.subset=63"):
        assert experiments.run(small(tmp_path, other)).path != base, other


def test_dry_says_where_and_makes_nothing(tmp_path: Path) -> None:
    outcome = experiments.run(small(tmp_path / "runs", "dry=true"))
    assert (outcome.state, outcome.trained) == ("missing", False)
    assert not (tmp_path / "runs").exists()


def test_optimisers_take_their_options(tmp_path: Path) -> None:
    network = nn.Linear(2, 2)
    options = {"name": "sgd", "file": None, "lr": 0.3, "momentum": 0.5, "nesterov": True, "loss": "mean"}
    (group,) = build_optimiser(network, options).param_groups
    assert (group["lr"], group["momentum"], group["nesterov"]) == (0.3, 0.5, True)


def test_training_reads_its_parts_from_the_configuration(tmp_path: Path) -> None:
    plain = plain_config(small(tmp_path, "optim.weight_decay=0.25", "norm=l2"))
    data = load_data(plain["data"], 0, 16, torch.device("cpu"))
    training = build_training(plain, data, torch.device("cpu"), ProbeRecorder())
    assert training.objective.weight_decay == 0.25
    norms = [module for name, module in training.network.named_modules() if name.endswith(".norm")]
    assert len(norms) == 2
    assert all(isinstance(norm, NORMS.get("l2", None)) for norm in norms)
