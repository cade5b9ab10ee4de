"""Every claim's experiment makes the arms that are compared, in its settings, and records what is read of them.

Of each job that could matter the run folder is made as in earnest, network, probes and evaluations included, but for
the training; arms and settings are then those of the analysis itself.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

import experiments
from analysis import select, studies
from analysis.claims import Claim, Comparison
from analysis.folders import find_runs
from analysis.run_folder import read_run
from analysis.runs import Runs
from analysis.select import plain
from experiments.composition import choices
from experiments.runs import run as running
from tests.conftest import partly
from tests.test_conf import AFTER, has_size, sweeper_of

CLAIMS = [claim for study in studies.load() for claim in study.claims if claim.experiment]
EXPERIMENTS = list(dict.fromkeys(str(claim.experiment) for claim in CLAIMS))
SCALES = tuple(choices("scale"))


def values_of(name: str, scale: str) -> dict[str, list[str]]:
    """What an experiment sweeps at a scale: key -> values, as they are typed."""
    found = {}
    for key, values in sweeper_of(name, scale).get("params", {}).items():
        (override,) = OverridesParser.create().parse_overrides([f"{key}={values}"])
        swept = override.is_sweep_override()
        found[key] = [str(value) for value in override.sweep_string_iterator()] if swept else [str(values)]
    return found


def jobs(name: str, scale: str, keys: set[str], across: set[str]) -> Iterator[list[str]]:
    """Overrides of its jobs; of the values of a key that no claim names the first, of one that it goes across two."""
    arms = list(sweeper_of(name, scale).get("arms", {})) or [None]
    swept = values_of(name, scale)
    chosen = [
        [f"{key}={value}" for value in (values if key in keys else values[: 1 + (key in across)])]
        for key, values in swept.items()
    ]
    for arm, values in itertools.product(arms, itertools.product(*chosen)):
        yield [f"experiment={name}", f"scale={scale}", *([f"arm={arm}"] if arm else []), *values]


def named(claims: Sequence[Claim]) -> set[str]:
    """Keys of which they name a value, of their arms or of the settings that they are about."""
    found = {key for claim in claims for key in claim.about}
    for claim in claims:
        found |= {key for arm in claim.arms for key in arm.keys}
        found |= {key for comparison in claim.comparisons for key in comparison.about}
    return found


def begun(name: str, scale: str, claims: Sequence[Claim], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders of its jobs, untrained."""
    monkeypatch.setattr(running, "load_data", functools.partial(running.load_data, stand_in=True))
    if name in AFTER:
        short = ["steps=3", "evaluation.every=1", f"runs_dir={folder / 'before'}"]
        experiments.run(experiments.compose([*AFTER[name], f"scale={scale}", *short]))
    with monkeypatch.context() as patched:
        patched.setattr(running, "train", lambda training, start, journal: None)
        for overrides in jobs(name, scale, named(claims), {key for claim in claims for key in claim.free}):
            experiments.run(experiments.compose([*overrides, f"runs_dir={folder / scale}"]))
    return folder / scale


def lacking(claim: Claim, folder: Path) -> list[str]:
    """What of a claim these runs could not judge."""
    runs = Runs.load(folder)
    recorded = {run.name: declared(run.folder) for run in map(read_run, find_runs(folder))}
    settings = select.settings(runs, claim.arms, free=claim.free, about=claim.about)
    if not settings:
        return [f"{claim.name}: no setting where {dict(claim.about)}"]
    return [
        f"{claim.name}: {one.what}: {least}"
        for one in claim.comparisons
        if (
            least := min(
                (_lacks(one, runs, setting) or _misses(one, setting, recorded) for setting in settings), key=len
            )
        )
    ]


def declared(folder: Path) -> set[tuple[str, str | None]]:
    """Metrics that a run says it records, with their batches and without."""
    fields = [spec for keys in read_run(folder).fields.values() for spec in keys.values()]
    return {(spec.metric, batch) for spec in fields for batch in (spec.batch, None)}


def _lacks(comparison: Comparison, runs: Runs, setting: Any) -> str:
    for key, value in comparison.about.items():
        if any(plain(runs.value(run, key)) != plain(value) for run in setting.runs.each.index):
            return f"no setting where {key} is {value}"
    without = [term.arm.name for term in comparison.all_terms if not setting.of.get(term.arm.name)]
    if without:
        return f"no run of {', '.join(dict.fromkeys(without))} in {setting.label}"
    for term in comparison.all_terms:  # nothing but the key that it goes across may hold its runs apart
        for key in term.measure.free:
            everywhere, here = ({plain(r.value(run, key)) for run in r.each.index} for r in (runs, setting.runs))
            if here != everywhere:
                return f"{key} is {', '.join(sorted(here))} alone in {setting.label}"
    return ""


def _misses(comparison: Comparison, setting: Any, recorded: dict[str, set[tuple[str, str | None]]]) -> str:
    for term in comparison.all_terms:
        for run in setting.of[term.arm.name]:
            if missed := [metric for metric in term.measure.metrics if metric not in recorded[run]]:
                return f"{run} does not record {missed}"
    return ""


@pytest.mark.parametrize("name", partly(EXPERIMENTS, 2))
def test_an_experiment_makes_the_arms_of_its_claims_and_records_what_they_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiments.compose([])  # which makes by_scale known
    left = [claim for claim in CLAIMS if claim.experiment == name]
    found: list[str] = []
    for scale in [scale for scale in SCALES if has_size(name, scale)]:  # some claims are of one size alone
        folder = begun(name, scale, left, tmp_path, monkeypatch)
        problems = {claim.name: lacking(claim, folder) for claim in left}
        left = [claim for claim in left if problems[claim.name]]
        found = [problem for claim in left for problem in problems[claim.name]]
        if not left:
            return
    pytest.fail("\n".join(found))
