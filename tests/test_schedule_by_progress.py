"""The schedule by progress against its definition, step by step; its price; and a run that is stopped and goes on."""

from __future__ import annotations

import io
import itertools
import json
import math
import random
from pathlib import Path

import pytest
import torch

import experiments
from analysis import progress
from experiments import probing
from experiments.errors import Interrupted
from probes import ByProgress, Gradients, Landscape, ProbeError, Schedule
from tests import slow_twins as twin
from tests.runs import small
from tests.test_probes import build, sgd, train_step
from tests.test_resume import interrupt_at


def made_up_losses(seed: int, steps: int) -> list[float]:
    """A plateau, a fall over four powers of ten with a mini-batch's noise, and an end that wavers."""
    draw = random.Random(seed)
    plateau, slope = draw.randrange(0, 60), draw.uniform(0.01, 0.5)
    return [
        2.3 * math.exp(-slope * min(max(0, step - plateau), 9 / slope)) * math.exp(draw.gauss(0, 0.2))
        for step in range(steps)
    ]


def decided(losses: list[float], every: int) -> list[int]:
    """The probed steps by their definition: whether a step is probed looks at the losses before it alone."""
    middles = []
    for step in range(len(losses)):
        last = sorted(losses[max(0, step - 2) : step + 1])
        middles.append((last[(len(last) - 1) // 2] + last[len(last) // 2]) / 2)
    found: list[int] = []
    for step in range(len(losses)):
        crossed = False
        if step:
            now, before = middles[step - 1], min(middles[: step - 1], default=middles[0])
            highest = max(k for k in range(-200, 50) if 2 ** (k / 4) <= middles[0])
            for k in range(highest - 39, highest + 1):
                crossed |= now < 2 ** (k / 4) <= before
        if step < 20 or crossed or step - found[-1] >= every:
            found.append(step)
    return found


def probed(losses: list[float], every: int) -> list[int]:
    schedule, found = ByProgress(every), []
    for step, loss in enumerate(losses):
        place = schedule.place(step)
        if place is not None:
            assert place == len(found)
            found.append(step)
        schedule.tell(step, loss)
    return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("every", [7, 40])
def test_the_probed_steps_are_those_of_the_definition(seed: int, every: int) -> None:
    losses = made_up_losses(seed, 300)
    assert probed(losses, every) == decided(losses, every)
    assert len(probed(losses, every)) > 20 + 280 // every + 8  # levels were crossed


def test_where_the_loss_falls_fast_every_step_is_probed_and_on_a_plateau_few_are() -> None:
    losses = [2.0] * 100 + [2.0 * 0.8**k for k in range(30)] + [0.002] * 100
    steps = probed(losses, 30)
    assert set(range(103, 127)) <= set(steps)
    assert [step for step in steps if 20 <= step <= 101] == [49, 79]
    far = [step for step in steps if step > 131]
    assert [b - a for a, b in itertools.pairwise(far)] == [30] * (len(far) - 1)


def test_a_single_mini_batch_says_nothing_of_the_progress() -> None:
    losses = [2.0] * 200
    losses[50] = 0.01
    assert probed(losses, 60) == probed([2.0] * 200, 60)


def test_below_a_thousandth_of_the_first_loss_probing_is_sparse() -> None:
    fall = [2.0**-k for k in range(30)]
    steps = probed([1.0] * 30 + fall, 10**6)
    assert steps == [*range(20), *range(33, 43)]  # a median of three lags a step, and a step is decided by those before


def test_losses_that_are_no_numbers_decide_nothing() -> None:
    assert probed([math.inf, math.nan, 0.0] * 30, 50) == [*range(20), 69]


@pytest.mark.parametrize("cut", [1, 19, 20, 57, 90, 91, 120])
def test_it_goes_on_from_what_a_checkpoint_holds(cut: int) -> None:
    losses = made_up_losses(3, 200)
    schedule = ByProgress(13)
    for step in range(cut):
        schedule.tell(step, torch.tensor(losses[step]))
    file = io.BytesIO()
    torch.save(schedule.state_dict(), file)
    file.seek(0)
    other = ByProgress(13)
    other.load_state_dict(torch.load(file, weights_only=True))
    for step in range(cut, 200):
        assert schedule.place(step) == other.place(step)
        schedule.tell(step, losses[step])
        other.tell(step, losses[step])
    assert schedule.state_dict() == other.state_dict()


def test_a_step_whose_past_was_not_told_is_refused() -> None:
    schedule = ByProgress(5)
    schedule.tell(0, 1.0)
    with pytest.raises(ProbeError, match=r"step 2 comes, but step 1 is the next.*probes\.tell"):
        schedule.place(2)
    with pytest.raises(ProbeError, match="every=0"):
        ByProgress(0)


# ---------------------------------------------------------------------------------------------------------------- price


@pytest.mark.parametrize("seed", range(8))
def test_the_price_holds_whatever_the_loss_does(seed: int) -> None:
    draw = random.Random(seed)
    steps, every = draw.randrange(1, 400), draw.randrange(1, 60)
    losses = [math.exp(draw.gauss(0, 6)) for _ in range(steps)] if seed % 2 else made_up_losses(seed, steps)
    found = probed(losses, every)
    for start in range(0, steps, 7):
        least, most = ByProgress(every).between(start, steps)
        assert least <= sum(step >= start for step in found) <= most
    assert len(probed([1.0] * steps, every)) == ByProgress(every).between(0, steps)[0]


def test_the_most_that_it_may_come_to_is_reached() -> None:
    """Each of the levels is crossed at once after the dense start, and then nothing more."""
    losses = [1.0] * 18 + [2.0 ** -((k + 0.5) / 4) for k in range(40)] + [2.0**-10.2] * 302
    assert len(losses) == 360
    assert ByProgress(20).between(0, 360) == (20 + 17, 20 + 17 + 40)
    assert len(probed(losses, 20)) == 20 + 40 + 15  # those of the fall stand where two sparse ones would have stood


def test_a_part_may_begin_with_a_sparse_step_and_then_cross_every_level() -> None:
    losses = [1.0] * 68 + [2.0 ** -((k + 0.5) / 4) for k in range(40)] + [2.0**-10.2] * 20
    inside = [step for step in probed(losses, 50) if 69 <= step < 118]
    assert inside == list(range(69, 110))
    assert ByProgress(50).between(69, 118) == (0, len(inside))


def test_the_price_of_other_schedules_is_one_number() -> None:
    for schedule in (Schedule(7), Schedule(listed=(0, 5, 6, 19, 30))):
        for start, end in itertools.combinations(range(0, 40, 3), 2):
            count = sum(schedule.place(step) is not None for step in range(start, end))
            assert schedule.between(start, end) == (count, count)


def test_the_plan_of_a_run_is_a_range_and_training_by_hand_tells_the_loss() -> None:
    network = twin.conv_net("none")
    chosen = {"landscape": Landscape(every=2), "gradients": Gradients()}
    engine = build(network, None, chosen, every=ByProgress(10), steps=60)
    least, most = engine.share_of_training()
    both = engine.plan.passes
    alone = build(network, None, {"gradients": Gradients()}).plan.passes
    assert least == pytest.approx((12 * both + 12 * alone) / 60)  # 24 probed steps, at every other the landscape
    assert most == pytest.approx((30 * both + 30 * alone) / 60)  # every step
    assert "24 to 60 probed steps of 60" in engine.describe()
    assert engine.probed_steps(0, 60) == {"landscape": (12, 30), "gradients": (24, 60)}
    optimiser = sgd(network)
    for step in range(3):
        with engine.around(step, twin.image_batch()) as forward:
            train_step(forward, network, engine.objective, optimiser, twin.image_batch(), 7, step)
        engine.tell(step, 2.0)
    assert [step for name, step, _ in engine.records if name == "gradients"] == [0, 1, 2]
    with pytest.raises(ProbeError, match=r"probes\.tell"):
        engine.around(4, twin.image_batch())


# ------------------------------------------------------------------------------------------------------------- in a run

TRAINED = ["steps=60", "optim.lr=0.3", "optim.weight_decay=0.05", "evaluation.every=1"]
PROGRESS = [*TRAINED, "probes=gradients", "probes.spacing=progress", "probes.every=9"]


def logged(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (path / "records.jsonl").read_text().splitlines()]


def test_a_run_is_probed_by_its_own_losses_and_ends_with_the_same_bits_wherever_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = experiments.run(small(tmp_path / "whole", *PROGRESS)).path
    lines = logged(whole)
    losses = [line["values"]["data_loss"] for line in lines if line["probe"] == "training"][:60]
    steps = [line["step"] for line in lines if line["probe"] == "gradients"]
    assert steps == decided(losses, 9)
    assert len(steps) > 20 + 40 // 9  # some levels were crossed
    crossed = [b for a, b in itertools.pairwise(steps) if b >= 20 and b - a < 9]
    plain = experiments.run(small(tmp_path / "plain", *TRAINED)).path
    assert [line for line in lines if line["probe"] == "training"] == logged(plain)
    for number, stop in enumerate((19, crossed[0] - 1, crossed[0])):
        config = small(tmp_path / str(number), *PROGRESS)
        with monkeypatch.context() as patch:
            interrupt_at(patch, stop)
            with pytest.raises(Interrupted):
                experiments.run(config)
        broken = experiments.run(config).path
        for file in ("records.jsonl", "records.parquet"):
            assert (broken / file).read_bytes() == (whole / file).read_bytes(), (stop, file)


def test_dry_says_the_range_and_where_too_few_steps_would_be_probed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert (probing.FEWEST_PROBED, probing.PARTS) == (progress.FEWEST_STEPS, progress.PART)

    def told(*overrides: str) -> str:
        caplog.clear()
        with caplog.at_level("INFO"):
            experiments.run(small(tmp_path, "probes=[gradients,activations]", *overrides, "dry=true"))
        return caplog.text

    every = "probes.use.activations.every=2"
    assert "31 to 71 probed steps of 300" not in told("steps=300", "probes.every=25")
    text = told("steps=300", "probes.every=25", "probes.spacing=progress")
    assert "31 to 71 probed steps of 300" in text
    assert "as few as gradients 4, activations 4 in a third of training, where 8 are needed" in text
    assert "too few" not in told("steps=240", "probes.every=10")
    assert "as few as gradients 7, activations 7 in a third" in told("steps=240", "probes.every=11")
    assert "as few as activations 4 in a third" in told("steps=240", "probes.every=10", every)
    assert "too few" not in told("steps=12", "probes.every=1")  # all that there are
    assert "too few" not in told("steps=240", "probes=none")
