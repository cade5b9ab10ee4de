"""Each study by its own runs, in a folder of several."""

from __future__ import annotations

import itertools
from pathlib import Path

from analysis.apart import alone, own_runs
from analysis.claims import Claim, Term, less
from analysis.ledger import judge
from analysis.measures import final
from analysis.runs import Runs
from analysis.select import settings
from analysis.studies import Study
from tests.made_runs import log, write_run
from tests.made_table import BASE, made, row

LOSS = final("data_loss", "test")
CLAIM = Claim("X", "says so", "nobody", (less(Term.of("batch", LOSS), Term.of("none", LOSS)),))


def folder():
    """`one/a` has BN at two widths, `two/b` the plain runs of the first of them, and both arms at a third."""
    rows, trained, facts = [], {}, {}
    made_by = {("batch", 1.0): "one/a", ("batch", 2.0): "one/a", ("none", 1.0): "two/b"}
    made_by |= {("batch", 4.0): "two/b", ("none", 4.0): "two/b"}
    for ((norm, width), experiment), seed in itertools.product(made_by.items(), range(6)):
        run = f"{norm}{width}-{seed}"
        trained[run] = {**BASE, "norm": norm, "model.width": width, "optim.momentum": 0.9 if width == 4.0 else 0.0}
        facts[run] = {"seed": seed, "state": "finished", "experiment": experiment}
        rows += [row(run, 8, "data_loss", 2.0 if norm == "none" else 1.0, batch="test")]
    return made(rows, trained, facts)


def study(*experiments: str, name: str = "one") -> Study:
    return Study(title=name, source="nobody", says="", predicts="", name=name, experiments=experiments, claims=(CLAIM,))


def test_a_study_has_its_own_runs_and_those_that_stand_beside_them() -> None:
    runs = folder()
    own = own_runs(runs, study("one/a"))
    assert {run.rpartition("-")[0] for run in own.each.index} == {"batch1.0", "batch2.0", "none1.0"}
    assert set(own.table["run"]) == set(own.each.index)
    assert own.whole is own
    (verdict,) = judge(own, [CLAIM])
    assert (verdict.word, verdict.values["model.width"]) == ("supported", 1.0)
    assert len(judge(runs, [CLAIM])) == 2
    assert own_runs(runs, study("three/c")) is runs


def test_settings_are_told_apart_among_these_alone() -> None:
    runs = folder()
    subtitles = [
        {one.subtitle for one in settings(some)}
        for some in (runs, alone(runs, own_runs(runs, study("one/a")).each.index))
    ]
    assert all("momentum" in told for told in subtitles[0])
    assert not any("momentum" in told for told in subtitles[1])


def test_of_folders_only_these_are_read(tmp_path: Path) -> None:
    """What a run was asked for stands in its folder."""
    for norm, seed in itertools.product(("none", "batch"), range(2)):
        write_run(tmp_path, norm, seed, lines=log(3))
    runs = Runs.load(tmp_path)
    some = [run for run in runs.each.index if "none" in run]
    part = alone(runs, some)
    assert sorted(run.name for run in part.folders or ()) == sorted(some)
    assert part.declaring("accuracy", "train") == set(some)
    assert part.declaring("accuracy", "nowhere") == set()
