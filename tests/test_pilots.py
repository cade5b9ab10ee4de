"""Two pilot seeds run every value of a key, the others where claims choose on those: who waits, and for what."""

from __future__ import annotations

import itertools
import json
import math
import random
import re
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from omegaconf import OmegaConf

import experiments
from analysis import best as best_value
from analysis import studies
from analysis.__main__ import main as analysis_main
from analysis.across import Across, at, needed_by, slope, width
from analysis.best import best
from analysis.chosen import chosen
from analysis.claims import BySeed, Claim, Term, less
from analysis.ledger import judge
from analysis.measures import final
from analysis.standard import TEST_LOSS
from experiments.errors import RunFailure, WrongInput
from experiments.schema import register_schema
from experiments.sweeps import command
from experiments.sweeps import waves as waves_module
from experiments.sweeps.job import Job, Result, Standing
from experiments.sweeps.launchers.local import Local
from experiments.sweeps.several import jobs_of
from experiments.sweeps.waves import waves
from tests.made_table import BASE, made, row
from tests.test_best_rate import RATE, RATES, Losses, by_loop, runs_of
from tests.test_conf import sweeper_of, with_sizes

EXPERIMENT = """# @package _global_
defaults:
  - override /model: mlp
  - _self_
label: {name}
pilots: {pilots}
steps: 4
data: {{subset: 64, test_subset: 40}}
model: {{widths: [16]}}
optim: {{batch_size: 16}}
evaluation: {{every: 2, population: false}}
hydra:
  mode: MULTIRUN
  sweeper:
    params:
      norm: none,batch
      optim.lr: 0.1,0.2,0.4
      seed: {seeds}
"""


REFUSE = waves_module._refuse_without_claims


@pytest.fixture(autouse=True)
def claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were claims for the made-up experiments."""
    monkeypatch.setattr(waves_module, "_refuse_without_claims", lambda labels: None)


def claim_of(measure: BySeed) -> Claim:
    return Claim("X", "says so", "nobody", (less(Term.of("batch", measure), Term.of("none", measure)),))


def made_losses(number: int, seeds: tuple[int, ...] = (0, 1)) -> Losses:
    draw = random.Random(number)
    return {(arm, seed, rate): draw.random() for arm in ("none", "batch") for seed in seeds for rate in RATES}


# ----------------------------------------------------------------------------------------------- what claims choose


@pytest.mark.parametrize("number", range(12))
def test_the_pilots_runs_at_the_rate_that_a_loop_chooses(number: int) -> None:
    losses = made_losses(number, (3, 7))
    expected = {f"{arm}-{seed}-{by_loop(losses, arm, list(RATES))}" for arm in ("none", "batch") for seed in (3, 7)}
    assert chosen(runs_of(losses), [claim_of(best(final("data_loss", "test"), RATE, by=TEST_LOSS))]) == expected


MEASURES = {
    "at the best rate": (best(TEST_LOSS, RATE, by=TEST_LOSS),) * 2,
    "at a fixed one": (at(TEST_LOSS, RATE, 1.0),) * 2,
    "the one against the other": (at(TEST_LOSS, RATE, 1.0), best(TEST_LOSS, RATE, by=TEST_LOSS)),
    "width": (width(TEST_LOSS, RATE, below=0.5),) * 2,
    "at each rate": (TEST_LOSS,) * 2,
}


@pytest.mark.parametrize("name", MEASURES)
def test_the_verdict_is_the_same_on_the_whole_grid_and_on_the_runs_that_pilots_leave(name: str) -> None:
    """Of eight seeds, in every setting; where the best rate alone is asked for, a fraction of the runs is left."""
    losses = made_losses(3, tuple(range(8)))
    for arm, seed in itertools.product(("none", "batch"), range(8)):
        losses[arm, seed, 0.1] = 0.001 * (1 + seed) * (3 if arm == "none" else 1)
    a, b = MEASURES[name]
    claim = Claim("X", "", "", (less(Term.of("batch", a), Term.of("none", b)),))
    pilots = {run: loss for run, loss in losses.items() if run[1] < best_value.PILOTS}
    needed = {tuple(run.split("-")[::2]) for run in chosen(runs_of(pilots), [claim])}
    left = pilots | {run: loss for run, loss in losses.items() if (run[0], str(run[2])) in needed}
    expected = 2 * 2 * len(RATES) + 2 * 6 if name == "at the best rate" else None
    expected = 2 * 2 * len(RATES) + 6 * (1 + len(RATES)) if "other" in name else expected
    assert len(left) == (expected or len(losses))
    whole, fewer = judge(runs_of(losses), [claim]), judge(runs_of(left), [claim])
    told = [[(v.setting, v.told, str([part.outcome for part in v.parts])) for v in some] for some in (whole, fewer)]
    assert told[0] == told[1]
    assert fewer[0].seeds >= 6


def test_what_goes_over_all_needs_all() -> None:
    losses = made_losses(1)
    runs, loss = runs_of(losses), TEST_LOSS
    every = set(runs.each.index)
    assert chosen(runs, [claim_of(loss)]) == every
    assert chosen(runs, [claim_of(width(loss, RATE, below=0.5))]) == every
    assert chosen(runs, [claim_of(at(loss, RATE, 0.1))]) == every  # which a seed that lacks a rate does not have
    assert chosen(runs, [claim_of(at(loss, RATE, 0.1)), claim_of(best(loss, RATE, by=loss))]) == every
    assert chosen(runs, []) == set()


def test_a_best_value_at_the_grids_end_is_run_too_and_where_nobody_can_choose_all_are() -> None:
    at_the_end = {key: float(key[2]) for key in made_losses(1)}
    measure = best(TEST_LOSS, RATE, by=TEST_LOSS)
    assert chosen(runs_of(at_the_end), [claim_of(measure)]) == {
        f"{arm}-{seed}-{RATES[0]}" for arm in ("none", "batch") for seed in (0, 1)
    }
    one_lacks_a_run = {key: loss for key, loss in at_the_end.items() if key != ("none", 1, 1.0)}
    of_none = {"-".join(map(str, key)) for key in one_lacks_a_run if key[0] == "none"}
    of_batch = {f"batch-{seed}-{RATES[0]}" for seed in (0, 1)}
    assert len(of_none) == 2 * len(RATES) - 1
    assert chosen(runs_of(one_lacks_a_run), [claim_of(measure)]) == of_none | of_batch
    without = final("data_loss", "validation")
    assert len(chosen(runs_of(at_the_end), [claim_of(best(TEST_LOSS, RATE, by=without))])) == len(at_the_end)


def test_where_all_pilots_diverged_at_a_rate_and_none_is_chosen_that_rate_is_run_too() -> None:
    """A probed measure leaves diverged runs out; on the whole grid a further seed may have it there."""
    losses = made_losses(1)
    runs = runs_of({key: math.inf if key[0] == "none" and key[2] == 1.0 else loss for key, loss in losses.items()})
    probed = replace(final("data_loss", "test"), diverged_count=False)
    found = chosen(runs, [claim_of(best(probed, RATE, by=probed))])
    assert {run for run in found if run.startswith("none")} == {
        run for run in runs.each.index if run.startswith("none")
    }


def test_below_another_key_each_value_of_that_has_its_own_rate() -> None:
    """As a slope over depth of steps at the best rate: four depths, of each the rate of least median loss."""
    draw = random.Random(5)
    losses = {(d, s, r): draw.random() for d in (2, 4, 8, 16) for s in (0, 1) for r in RATES}
    trained = {f"{d}-{s}-{r}": {**BASE, "model.depth": d, RATE: r} for d, s, r in losses}
    facts = {f"{d}-{s}-{r}": {"seed": s} for d, s, r in losses}
    rows = [row(f"{d}-{s}-{r}", 0, "data_loss", loss, batch="test") for (d, s, r), loss in losses.items()]
    measure = slope(best(TEST_LOSS, RATE, by=TEST_LOSS), "model.depth")
    expected = set()
    for depth in (2, 4, 8, 16):
        rate = min(RATES, key=lambda r: statistics.median(losses[depth, s, r] for s in (0, 1)))
        expected |= {f"{depth}-{seed}-{rate}" for seed in (0, 1)}
    assert needed_by(measure, made(rows, trained, facts)) == expected


def test_pilots_are_as_many_as_the_claims_choose_on() -> None:
    assert waves_module.PILOTS == best_value.PILOTS


def test_an_experiment_that_no_claim_names(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert analysis_main(["chosen", str(tmp_path), "--experiment", "mine"]) == 2
    assert capsys.readouterr().err == (
        "error: --experiment mine: no claim is made for it, so that none chooses among its runs\n"
    )


# --------------------------------------------------------------------------------------------------------- who waits


def composed(
    tmp_path: Path, *overrides: str, seeds: str = "3,1,2,9", pilots: str = "optim.lr", name: str = "mine"
) -> Any:
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(EXPERIMENT.format(name=name, seeds=seeds, pilots=pilots))
    return jobs_of([f"experiment={name}", f"runs_dir={tmp_path / 'runs'}", *overrides], str(tmp_path / "conf"))


def what(jobs: list[Job]) -> list[tuple[str, float, int]]:
    return [(job.config["norm"]["name"], job.config["optim"]["lr"], job.config["seed"]) for job in jobs]


def test_the_lowest_seeds_run_all_and_the_others_where_a_pilot_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[Job]] = []

    def choose(pilots: list[Job]) -> list[Job]:
        asked.append(list(pilots))
        wanted = (("none", 0.1), ("batch", 0.4))
        return [job for job in pilots if (job.config["norm"]["name"], job.config["optim"]["lr"]) in wanted]

    monkeypatch.setattr(waves_module, "_chosen", choose)
    coming = waves(composed(tmp_path))
    first = next(coming)
    monkeypatch.setattr(Job, "standing", lambda job: Standing("finished", {}))
    (second,) = coming
    every = [(norm, rate) for norm in ("none", "batch") for rate in (0.1, 0.2, 0.4)]
    assert what(first.jobs) == [(norm, rate, seed) for norm, rate in every for seed in (1, 2)]
    assert what(first.further) == [("none", 0.2, 3), ("none", 0.2, 9), ("batch", 0.2, 3), ("batch", 0.2, 9)]
    assert what(second.jobs) == [("none", 0.1, 3), ("none", 0.1, 9), ("batch", 0.4, 3), ("batch", 0.4, 9)]
    assert not second.further
    assert [what(jobs) for jobs in asked] == [what(first.jobs)]


def test_each_experiment_has_its_own_pilots_and_without_pilots_all_go(tmp_path: Path) -> None:
    other = composed(tmp_path, seeds="5,6,7", name="other")
    whole = composed(tmp_path, "pilots=null", "norm=l1", seeds="8,9,20")
    first = next(iter(waves([*composed(tmp_path), *other, *whole])))
    assert sorted({(job.config["label"], job.config["seed"]) for job in first.jobs}) == [
        ("mine", 1), ("mine", 2), ("mine", 8), ("mine", 9), ("mine", 20), ("other", 5), ("other", 6),
    ]  # fmt: skip
    assert {job.config["seed"] for job in first.further} == {3, 9, 7}
    assert [len(wave.jobs) for wave in waves(composed(tmp_path, "pilots=null"))] == [24]
    assert [len(wave.jobs) for wave in waves(composed(tmp_path, seeds="4,7"))] == [12]


@pytest.mark.parametrize("key", ["optim.rate", "seed"])
def test_a_key_that_there_is_not_or_that_is_the_seed(key: str, tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match=rf"^pilots={key}: must be a key of the configuration"):
        next(iter(waves(composed(tmp_path, pilots=key))))


def test_pilots_of_no_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waves_module, "_refuse_without_claims", REFUSE)
    own = ["norm=none", "optim.lr=0.1,0.2,0.4", "seed=0,1,2", "pilots=optim.lr", f"runs_dir={tmp_path / 'runs'}"]
    with pytest.raises(WrongInput, match=r"^pilots: jobs without an experiment, .*; set pilots=null$"):
        next(iter(waves(jobs_of(["hydra.mode=MULTIRUN", *own]))))


def test_two_experiments_of_which_two_runs_would_have_one_folder(tmp_path: Path) -> None:
    named = "run_name=x-${seed}-${norm.name}-${optim.lr}"
    one, other = composed(tmp_path, named), composed(tmp_path, named, "optim.batch_size=32", name="other")
    with pytest.raises(WrongInput, match=r"^run_name=x-3-none-0\.1: job 0 .* and job 24 .* differ"):
        next(iter(waves([*one, *other])))
    longer = composed(tmp_path, "steps=9", name="other")
    with pytest.raises(
        WrongInput, match=r"^job 0 .* and job 24 .* are one run, \S+, of 4 and of 9 steps: give each exp"
    ):
        next(iter(waves([*composed(tmp_path), *longer])))
    again = composed(tmp_path, named, name="other")
    assert len(next(iter(waves([*one, *again]))).jobs) == 12


def test_jobs_keep_their_order_where_a_later_experiment_has_some_of_them_too(tmp_path: Path) -> None:
    one = composed(tmp_path, "pilots=null", "norm=none")
    other = composed(tmp_path, "pilots=null", "norm=none", "optim.lr=0.1", name="other")
    (wave,) = waves([*one, *other])
    assert what(wave.jobs) == [(config["norm"]["name"], config["optim"]["lr"], config["seed"]) for _, config in one]


def test_where_nothing_is_chosen_all_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(waves_module, "_chosen", lambda pilots: [])
    monkeypatch.setattr(Job, "standing", lambda job: Standing("finished", {}))
    assert [len(wave.jobs) for wave in waves(composed(tmp_path))] == [24]
    assert capsys.readouterr().out == (
        "mine: nothing can be chosen for 12 runs of other seeds, which are all carried out\n"
    )
    monkeypatch.setattr(
        waves_module, "_chosen", lambda pilots: [job for job in pilots if what([job])[0][:2] == ("none", 0.1)]
    )
    (wave,) = waves(composed(tmp_path))
    assert len([job for job in wave.jobs if job.config["norm"]["name"] == "none"]) == 6 + 2
    assert len([job for job in wave.jobs if job.config["norm"]["name"] == "batch"]) == 12
    assert "6 runs of other seeds" in capsys.readouterr().out


def test_pilots_that_have_not_ended_choose_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As where they failed, or were handed to a cluster that nobody waits for."""
    assert [len(wave.jobs) for wave in waves(composed(tmp_path))] == [12, 0]
    told = re.fullmatch(
        r"mine: pilots have not ended, (\S+) among them; when they have, the same command goes on with its other seeds "
        r"\(pilots=null does not wait for them\)\n",
        capsys.readouterr().out,
    )
    assert told is not None
    assert "-seed2-" in told[1]


@pytest.mark.parametrize("first", ["pilots", "whole"])
def test_a_run_that_two_experiments_share_goes_with_the_one_that_needs_it_whatever_is_chosen(
    first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`whole` has the rate 0.2 of every seed; the other one's pilots choose 0.4, from all of their runs."""
    asked: list[list[Job]] = []

    def choose(pilots: list[Job]) -> list[Job]:
        asked.append(list(pilots))
        return [job for job in pilots if job.config["optim"]["lr"] == 0.4]

    monkeypatch.setattr(waves_module, "_chosen", choose)
    monkeypatch.setattr(Job, "standing", lambda job: Standing("finished", {}))
    both = {
        "pilots": composed(tmp_path),
        "whole": composed(tmp_path, "optim.lr=0.2", "norm=batch", name="whole", pilots="null"),
    }
    (wave,) = waves([*both[first], *both["whole" if first == "pilots" else "pilots"]])
    assert len({job.path for job in wave.jobs}) == len(wave.jobs)
    expected = {(norm, rate, seed) for norm in ("none", "batch") for rate in (0.1, 0.2, 0.4) for seed in (1, 2)}
    expected |= {(norm, 0.4, seed) for norm in ("none", "batch") for seed in (3, 9)}
    assert set(what(wave.jobs)) == expected | {("batch", 0.2, 3), ("batch", 0.2, 9)}
    assert len(asked[0]) == 12


def test_confirmatory_seeds_run_the_whole_grid(tmp_path: Path) -> None:
    assert [len(wave.jobs) for wave in waves(composed(tmp_path, seeds="10,11,12,13"))] == [24]


def test_a_run_that_takes_another_runs_file_comes_after_it(tmp_path: Path) -> None:
    common = [f"runs_dir={tmp_path / 'runs'}", "seed=0", "data.label_noise=0"]
    makes = jobs_of(["experiment=hoffer2018/decay", "arm=on", *common])
    takes = jobs_of(["experiment=hoffer2018/mimicry", *common])
    first = next(iter(waves([*takes, *makes])))
    assert [job.config["arm"] for job in first.jobs] == ["on"]
    assert [config["arm"] for _, config in first.missing] == ["corrected", "schedule"]
    with_pilots = composed(tmp_path)
    second = list(itertools.islice(waves([*takes, *makes, *with_pilots]), 2))[1]
    assert [config["arm"] for _, config in second.missing] == ["corrected", "schedule"]
    with pytest.raises(WrongInput, match=r"arrays\.npz: cannot be read .* \(arm=corrected\)$"):
        next(iter(waves(takes)))


def stand_in(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, int]]:
    """What was carried out, and each of it ends at once."""
    begun: list[tuple[str, float, int]] = []

    def train(self: Local, jobs: list[Job]) -> Any:
        for job in jobs:
            begun.extend(what([job]))
            job.path.mkdir(parents=True)
            (job.path / "config.json").write_text("{}")
            yield job, Result("finished", "")

    def standing(job: Job) -> Standing:
        return Standing("finished" if (job.path / "config.json").exists() else "missing", {})

    monkeypatch.setattr(Local, "launch", train)
    monkeypatch.setattr(Job, "standing", standing)
    return begun


def test_an_experiment_without_claims_is_refused_before_any_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun, configs = stand_in(monkeypatch), composed(tmp_path)
    monkeypatch.setattr(waves_module, "_refuse_without_claims", REFUSE)
    assert command.told(lambda: command.carry_out(lambda: configs), []) == 2
    assert begun == []
    assert not (tmp_path / "runs").exists()
    line = "--experiment mine: no claim is made for it, so that none chooses among its runs; set pilots=null"
    assert capsys.readouterr().err == f"error: pilots: {line}\n"


def test_both_waves_are_counted_and_announced_until_the_last_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun, configs = stand_in(monkeypatch), composed(tmp_path)
    announced: list[int] = []

    def choose(pilots: list[Job]) -> list[Job]:
        (file,) = (tmp_path / "runs" / ".sweep").glob("sweep-*.json")  # which whoever watches goes by
        announced.append(len(json.loads(file.read_text())["runs"]))
        return [job for job in pilots if job.config["optim"]["lr"] == 0.4]

    monkeypatch.setattr(waves_module, "_chosen", choose)
    assert command.told(lambda: command.carry_out(lambda: configs), []) == 0
    assert begun[12:] == [(norm, 0.4, seed) for norm in ("none", "batch") for seed in (3, 9)]
    assert announced == [12]
    told = capsys.readouterr().out
    assert "[1/16] finished" in told
    assert "[16/16] finished" in told
    assert "16 runs: 16 finished" in told
    assert not list((tmp_path / "runs" / ".sweep").glob("sweep-*.json"))


def test_what_fails_between_two_waves_does_not_hide_what_became_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun, configs = stand_in(monkeypatch), composed(tmp_path)

    def choose(pilots: list[Job]) -> list[Job]:
        raise RunFailure("what the pilots choose: exit code -9")

    monkeypatch.setattr(waves_module, "_chosen", choose)
    assert command.told(lambda: command.carry_out(lambda: configs), []) == 1
    told = capsys.readouterr()
    assert len(begun) == 12
    assert "12 runs: 12 finished" in told.out
    assert told.err == "error: what the pilots choose: exit code -9\n"


# ------------------------------------------------------------------------------------------------ the suite's own

WITH_PILOTS = [
    name for name in dict.fromkeys(name for name, _ in with_sizes())
    if OmegaConf.load(Path(experiments.__file__).parent.parent / "conf" / "experiment" / f"{name}.yaml").get("pilots")
]  # fmt: skip


def _chooses(measure: BySeed, key: str) -> bool:
    own = isinstance(measure, Across) and measure.key == key and measure.needs is not None
    return own or (isinstance(measure, Across) and any(_chooses(inner, key) for inner in measure.measures))


@pytest.mark.parametrize("name", WITH_PILOTS)
def test_a_claim_chooses_over_the_key_that_the_experiment_sweeps(name: str) -> None:
    register_schema()  # which makes by_scale known
    file = Path(experiments.__file__).parent.parent / "conf" / "experiment" / f"{name}.yaml"
    key = str(OmegaConf.load(file)["pilots"])
    assert len(str(sweeper_of(name, "demo")["params"][key]).split(",")) >= best_value.FEWEST_VALUES
    own = [claim for study in studies.load() for claim in study.claims if claim.experiment == name]
    assert own
    for claim in own:
        terms = [term for comparison in claim.comparisons for term in comparison.all_terms]
        assert all(_chooses(term.measure, key) for term in terms), claim.name


def test_there_are_such_experiments() -> None:
    assert len(WITH_PILOTS) > 15


@pytest.mark.long
def test_a_sweep_runs_the_other_seeds_where_the_pilots_test_loss_is_least(tmp_path: Path) -> None:
    """Of a claim that chooses by the test loss; chosen again by a loop over the table of all numbers."""
    overrides = [
        "experiment=ioffe2015/percentiles",
        "pilots=optim.lr",
        "steps=60",
        "seed=0,1,2",
        f"runs_dir={tmp_path / 'runs'}",
    ]
    configs = jobs_of(overrides)
    assert command.told(lambda: command.carry_out(lambda: configs), []) == 0
    assert analysis_main(["table", str(tmp_path / "runs"), str(tmp_path / "all.csv")]) == 0
    table = pd.read_csv(tmp_path / "all.csv", low_memory=False)
    tests = table[(table["metric"] == "data_loss") & (table["batch"] == "test")]
    last = tests.sort_values("step").groupby(["norm", "lr", "seed"])["value"].last()
    ran = {(norm, lr) for norm, lr, seed in last.index if seed == 2}
    least = set()
    for norm in ("none", "batch"):
        medians = last[norm][last[norm].index.get_level_values("seed") < 2].groupby("lr").median()
        least.add((norm, medians.idxmin()))
    assert ran == least
    states = [json.loads(file.read_text())["state"] for file in (tmp_path / "runs").glob("*/status.json")]
    assert states == ["finished"] * (2 * len(set(last.index.get_level_values("lr"))) * 2 + 2)
