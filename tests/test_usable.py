"""Who counts: runs that have ended, diverged ones only by a measure's own rule, and the same everywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis.best import best
from analysis.claims import Claim, Term, identity, more
from analysis.ledger import judge
from analysis.measures import Measure, final, over_training, steps_to_learn
from analysis.runs import Runs
from analysis.select import settings
from analysis.usable import ended, usable
from tests.made_runs import log, write_run
from tests.made_table import BASE, made, row

STATES = ("finished", "diverged", "running", "failed", "interrupted", "not started")


def runs() -> Runs:
    names = [f"{norm}{seed}" for norm in ("none", "batch") for seed in range(len(STATES))]
    rows = [
        row(name, step, metric, 1.0 + step, batch="train")
        for name in names
        for step in range(0, 120, 10)
        for metric in ("accuracy", "m")
    ]
    facts = {name: {"seed": int(name[-1]), "state": STATES[int(name[-1])], "diverged_at": 60.0} for name in names}
    return made(rows, {name: {**BASE, "norm": name[:-1]} for name in names}, facts)


@pytest.mark.parametrize(
    ("measure", "counted"), [(final("accuracy", "train"), ["batch0", "batch1"]), (over_training("m"), ["batch0"])]
)
def test_who_counts_is_who_the_ledger_judges_by(measure: Measure, counted: list[str]) -> None:
    whole = runs()
    (setting,) = settings(whole)
    own = setting.runs.only(setting.of["batch"])
    found, notes = usable(own, measure, "batch")
    assert list(found.each.index) == counted
    told = "counted as such" if measure.diverged_count else "left out"
    assert notes == ("4 of batch not ended, left out", f"1 of batch diverged, {told}")
    assert list(ended(own).each.index) == ["batch0", "batch1"]
    claim = Claim("X", "", "", (more(Term.of("none", measure), Term.of("batch", measure)),))
    (verdict,) = judge(whole, [claim])
    assert verdict.seeds == len(counted)
    assert set(notes) <= set(verdict.parts[0].notes)


def test_a_run_under_way_is_not_one_that_never_learnt() -> None:
    own = runs().only(["none2"])
    assert list(usable(own, steps_to_learn(), "none")[0].each.index) == []


@pytest.mark.parametrize(("asked", "word"), [(False, "identity holds"), (True, "undecided")])
def test_a_run_that_was_not_asked_is_no_run_without_a_number(asked: bool, word: str, tmp_path: Path) -> None:
    """Six of nine seeds record the losses; three recorded nothing, or were not asked, as in another experiment."""
    for seed in range(9):
        folder = write_run(tmp_path, seed=seed, lines=log(20) if seed < 6 else [])
        if seed >= 6 and not asked:
            (folder / "fields.json").write_text(json.dumps({}))
    measure = over_training("loss_along")
    found, notes = usable(Runs.load(tmp_path), measure, "batch")
    assert sorted(found.each["seed"]) == list(range(9 if asked else 6))
    assert notes == (() if asked else ("3 of batch were not asked for loss_along, left out",))
    (verdict,) = judge(Runs.load(tmp_path), [Claim("X", "", "", (identity(Term.of("batch", measure), 1.0),))])
    assert verdict.word == word


def test_across_a_key_runs_of_the_grid_need_not_all_be_asked_for_what_is_measured_at_the_best_value() -> None:
    """Four rates by test loss, of which another experiment looked at one more closely."""
    trained, facts, rows = {}, {}, []
    for seed in range(4):
        for place, rate in enumerate((0.01, 0.1, 1.0, 10.0)):
            run = f"{seed}-{rate}"
            trained[run], facts[run] = {**BASE, "norm": "batch", "optim.lr": rate}, {"seed": seed}
            rows.append(row(run, 0, "data_loss", abs(place - 1.1), batch="test"))
            rows += [row(run, step, "m", 7.0, batch="train") for step in range(0, 120, 10) if rate == 0.1]
    measure = best(over_training("m"), "optim.lr", by=final("data_loss", "test"))
    found, notes = usable(made(rows, trained, facts), measure, "batch")
    assert (len(found.each), notes) == (16, ())
    assert measure.by_seed(found)["number"].dropna().to_dict() == {2: 7.0, 3: 7.0}


def test_of_a_table_alone_a_diverged_run_was_asked_and_one_without_rows_was_not() -> None:
    rows = [row(f"batch{seed}", step, "m", 1.0, batch="train") for seed in (0, 1) for step in range(0, 120, 10)]
    facts = {f"batch{seed}": {"seed": seed, "state": "diverged" if seed == 2 else "finished"} for seed in range(4)}
    whole = made(rows, {f"batch{seed}": {**BASE, "norm": "batch"} for seed in range(4)}, facts)
    assert whole.declaring("m", "train") == {"batch0", "batch1", "batch2"}
    assert whole.declaring("m", "test") == {"batch2"}
