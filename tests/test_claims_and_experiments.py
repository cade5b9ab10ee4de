"""Every claim's experiment makes the arms that it compares, alike in all else, and records what it reads of them.

The jobs are those of the sweep itself, of its first seed, each described in a run folder as a run describes itself;
arms and settings are the analysis' own. Of what a claim reads of a run the run itself is begun, network, probes and
evaluations included, but not trained.
"""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

import experiments
from analysis import select, studies
from analysis.across import Across, Over, grid_of
from analysis.best import FEWEST_VALUES
from analysis.claims import BySeed, Claim, Comparison, Grid, NotRun, Term, Unanswerable
from analysis.run_folder import read_run
from analysis.runs import Runs
from analysis.select import Setting, plain
from experiments.composition import choices
from experiments.data import Data, load_data
from experiments.runs import run as running
from experiments.runs.folder import RunFolder
from experiments.runs.identity import identity_of
from experiments.runs.run import run_plain
from experiments.runs.twins import place_of
from experiments.sweeps.several import jobs_of
from tests.conftest import partly
from tests.test_conf import AFTER, has_size, sweeper_of

CLAIMS = [claim for study in studies.load() for claim in study.claims if claim.experiment and claim.comparisons]
EXPERIMENTS = list(dict.fromkeys(str(claim.experiment) for claim in CLAIMS))
SCALES = tuple(choices("scale"))
NO_RECORD = ["seed", "steps", "optim.lr", "optim.rho", "optim.weight_decay", "model.gain", "data.blend", "data.subset"]
NO_RECORD += ["data.label_noise", "optim.norms_file"]
"""Keys that do not decide what is recorded: of two runs that differ in these alone, one is begun."""

Config: TypeAlias = "dict[str, Any]"
Metrics: TypeAlias = "set[tuple[str, str | None]]"


@functools.lru_cache(maxsize=2)
def _data(options: str, batch_size: int | None) -> Data:
    return load_data(json.loads(options), 0, batch_size, stand_in=True)


def described(name: str, scale: str, claims: Sequence[Claim], folder: Path) -> dict[str, Config]:
    """Run -> configuration of an experiment's jobs; of each the run folder says what it is, and no more.

    All values of the keys by which the claims tell arms and settings, three of those that they go across, and of others
    (the seed, settings that no claim is about) one.
    """
    sizes = [f"scale={scale}", *_fewer_values(name, scale, claims), f"runs_dir={folder}"]
    found: dict[str, Config] = {}
    if name in AFTER:  # which leaves the file that these take, and runs beside them
        for _, config in jobs_of([*AFTER[name], *sizes]):
            short = run_plain({**config, "steps": 3, "evaluation": {**config["evaluation"], "every": 1}})
            left = (short.path / "arrays.npz").read_bytes()
            shutil.rmtree(short.path)
            (_describe(config, found) / "arrays.npz").write_bytes(left)
        for _, config in jobs_of([AFTER[name][0], *sizes]):
            _describe(config, found)
    for _, config in jobs_of([f"experiment={name}", *sizes]):
        _describe(config, found)
    return found


def _describe(config: Config, found: dict[str, Config]) -> Path:
    data = _data(json.dumps(config["data"]), config["optim"]["batch_size"])
    identity = identity_of(config, data.fingerprint)
    path = place_of(config, identity, data.label)
    with RunFolder(path) as run:
        run.describe(identity, config, data.label, asdict(data.spec))
    found[path.name] = config
    return path


def _fewer_values(name: str, scale: str, claims: Sequence[Claim]) -> list[str]:
    arms = {key for claim in claims for arm in claim.arms for key in arm.keys}
    about = {key for claim in claims for asked in (claim, *claim.comparisons) for key in asked.about}
    across = {key for claim in claims for key in claim.free}
    told = []
    groups = {key.partition(".")[0] for key in arms | about}  # an option of a group tells its choices apart too
    for key, values in sweeper_of(name, scale).get("params", {}).items():
        (override,) = OverridesParser.create().parse_overrides([f"{key}={values}"])
        if override.is_sweep_override() and key not in arms | about | groups:
            kept = list(override.sweep_string_iterator())[: FEWEST_VALUES if key in across else 1]
            told.append(f"{key}={','.join(kept)}")
    return told


class Recorded:
    """What the runs of a folder say that they record.

    Args:
        configs: run -> configuration.
        runs: the same runs, as the analysis takes them.
        folder: where runs are begun.
    """

    def __init__(self, configs: Mapping[str, Config], runs: Runs, folder: Path) -> None:
        self.configs, self.folder = configs, folder
        self.looks: dict[str, list[str]] = {}
        for run, training in runs.training.items():
            self.looks.setdefault(training, []).append(run)
        self._known: dict[str, Metrics] = {}

    def of(self, training: str) -> Metrics:
        """Metrics with their batches, and without, of all runs that looked at a training."""
        return set().union(*(self._of_run(self.configs[run]) for run in self.looks[training]))

    def _of_run(self, config: Config) -> Metrics:
        told = json.loads(json.dumps(config))
        for key in [*NO_RECORD, "arm", "label", "run_name", "runs_dir"]:
            group, _, option = key.partition(".")
            (told[group] if option else told).pop(option or group, None)
        what = json.dumps(told, sort_keys=True)
        if what not in self._known:
            outcome = run_plain({**config, "runs_dir": str(self.folder), "run_name": f"begun{len(self._known)}"})
            fields = [spec for keys in read_run(outcome.path).fields.values() for spec in keys.values()]
            self._known[what] = {(spec.metric, batch) for spec in fields for batch in (spec.batch, None)}
        return self._known[what]


def lacking(claim: Claim, runs: Runs, recorded: Recorded) -> list[str]:
    """Why these runs, of all seeds, could not judge a claim; empty: they could.

    What is asked under one condition must be judged in one setting, what is asked under another may be in another; and
    where something is asked of other data than the experiment has, of all else (S17: of images, and of the linear net).
    """
    settings = select.settings(runs, claim.arms, free=claim.free, about=claim.about)
    if not settings:
        return [f"{claim.name}: no run of {', '.join(arm.name for arm in claim.arms)} where {claim.about}"]
    alike: dict[str, list[Comparison]] = {}
    for comparison in claim.comparisons:
        alike.setdefault(json.dumps(comparison.about, default=str, sort_keys=True), []).append(comparison)
    found = []
    for asked in alike.values():
        if len(alike) > 1 and not any(_is_about(asked[0], runs, setting) for setting in settings):
            continue
        least: list[str] | None = None
        for setting in settings:
            told = [problem for one in asked for problem in problems(one, runs, setting, recorded)]
            least = told if least is None or len(told) < len(least) else least
            if not least:
                break
        found += [f"{claim.name}: {problem}" for problem in least or ()]
    return found


def problems(comparison: Comparison, runs: Runs, setting: Setting, recorded: Recorded) -> list[str]:
    """Why a comparison could not be made in a setting."""
    if not _is_about(comparison, runs, setting):
        return [f"{comparison.what}: {setting.label}: is not where {dict(comparison.about)}"]
    told = [problem for term in comparison.all_terms for problem in _problems(term, runs, setting, recorded)]
    return [f"{comparison.what}: {setting.label}: {problem}" for problem in dict.fromkeys(told)]


def _is_about(comparison: Comparison, runs: Runs, setting: Setting) -> bool:
    return all(
        plain(runs.value(run, key)) == plain(value)
        for key, value in comparison.about.items()
        for run in setting.runs.each.index
    )


def _problems(term: Term, runs: Runs, setting: Setting, recorded: Recorded) -> list[str]:
    name, free = term.arm.name, term.measure.free
    own = setting.of.get(name, ())
    if not own:
        return [f"no run of {name}"]
    if name in setting.mixed:
        return [f"runs of {name} differ in {setting.mixed[name]}"]
    told = []
    if len({(runs.each["seed"][run], *(plain(runs.value(run, key)) for key in free)) for run in own}) < len(own):
        told.append(f"runs of {name} of one seed differ in what {term.measure.name} does not go across")
    for key in free:  # each arm has a run at all of its values, and nothing else holds them apart
        mine, here, anywhere = (
            {plain(runs.value(run, key)) for run in some} for some in (own, setting.runs.each.index, runs.each.index)
        )
        if mine < here or here < anywhere:
            told.append(f"{key} of {name} is {', '.join(sorted(mine))} alone")
    told += _too_few(term.measure, grid_of(setting.runs, free))
    missed = {metric for run in own for metric in term.measure.metrics if metric not in recorded.of(run)}
    return [*told, *([f"a run of {name} does not record {sorted(missed, key=str)}"] if missed else [])]


def _too_few(measure: BySeed, grid: Grid) -> list[str]:
    """Whether a measure across a key needs more values of it; asked with made-up numbers of its parts."""
    if not isinstance(measure, Across):
        return []
    values = grid[measure.key]
    if len(values) < measure.fewest:
        return [f"{measure.name}: {values} are too few values"]
    made = pd.DataFrame(np.random.default_rng(0).uniform(1, 2, (8, len(values))), columns=values)
    told = []
    with contextlib.suppress(Unanswerable):
        try:
            measure.reduce([Over(made, made, made, made.notna())] * len(measure.measures))
        except NotRun as error:
            told.append(f"{measure.name}: {error}")
    return told + [problem for inner in measure.measures for problem in _too_few(inner, grid)]


@pytest.mark.parametrize("name", partly(EXPERIMENTS, 0))
def test_an_experiment_makes_the_arms_of_its_claims_and_records_what_they_read(name: str, tmp_path: Path) -> None:
    """At some scale each; some claims are of one size alone."""
    experiments.compose([])  # which makes by_scale known
    left = [claim for claim in CLAIMS if claim.experiment == name]
    told: dict[str, dict[str, list[str]]] = {}
    for scale in [scale for scale in SCALES if has_size(name, scale)]:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(running, "load_data", functools.partial(load_data, stand_in=True))
            configs = described(name, scale, left, tmp_path / scale)
            patched.setattr(running, "train", lambda training, start, journal: None)
            runs = Runs.load(tmp_path / scale)
            recorded = Recorded(configs, runs, tmp_path / f"{scale}_begun")
            told[scale] = {claim.name: lacking(claim, runs, recorded) for claim in left}
        left = [claim for claim in left if told[scale][claim.name]]
        if any("does not record" in problem for claim in left for problem in told[scale][claim.name]):
            break  # at no other scale either: the probes are the same, and larger networks take minutes
    assert not left, "\n".join(
        f"{scale}: {problem}" for scale, of in told.items() for claim in left for problem in of[claim.name]
    )
