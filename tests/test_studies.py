"""Every study's every claim: its thresholds decide where they lie, what it reads is recorded, its rule is as fixed."""

from __future__ import annotations

import datetime
import itertools
import json
import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import experiments
from analysis import figures, studies
from analysis.claims import Claim, Comparison, Grid, Term
from analysis.decide import DIFFERENCE, RATIO, Identity, Region, Spread
from analysis.decide.ranks import RankOverFamilies
from analysis.errors import WrongInput
from analysis.folders import find_runs
from analysis.ledger import judge
from analysis.measures import Measure
from analysis.run_folder import read_run
from analysis.runs import Runs
from analysis.select import Arm, plain
from analysis.studies import fix
from tests.conftest import partly
from tests.made_table import made
from tests.planting import SEEDS, Declared, configurations, defaults_of, planted
from tests.runs import small

STUDIES = studies.load()
CLAIMS = [(study, claim) for study in STUDIES for claim in study.claims]
COMPARED = [
    pytest.param(claim, comparison, id=f"{claim.name}-{i}")
    for _, claim in CLAIMS
    for i, comparison in enumerate(claim.comparisons)
    if not isinstance(comparison.kind, Spread)  # of twenty seeds, whose numbers are not moved but spread: test_decide
]
MARGIN = 0.02

# Between them all that the suite's probes can be asked to record.
PROBED = ("probes=standard", "probes.at=[0,1]", "probes.use.theory.curvature=true", "probes.use.landscape.random=8")
WEIGHED = "train_mode: {statistics: batch}, " + ", ".join(
    f"{half}_{weight}: {{statistics: {{name: weighed, weight: {weight / 100}}}}}"
    for half in ("choosing", "judging")
    for weight in (0, 2, 5, 10, 20, 30)
)
CHANGED = ", ".join(
    f"{label}: {{statistics: {statistics}, inputs: {inputs}}}"
    for label, statistics, inputs in (
        ("noise", "running", "noise"),
        ("noise_batch", "batch", "noise"),
        ("pgd_half", "running", "{name: pgd, radius: 0.04}"),
        ("pgd", "running", "{name: pgd, radius: 0.08}"),
        ("pgd_wide", "running", "{name: pgd, radius: 0.12}"),
    )
)
"""Evaluations on changed inputs."""
OTHER_STATISTICS = (
    "folded: {statistics: folded}, taken_out: {statistics: taken_out}, "
    "whole_set: {statistics: {name: population, batches: all}}"
)
NOISE = "noise_off: {statistics: batch, data: training}, noise_redrawn: {statistics: redrawn, data: training}"
RUNS = (
    (
        "norm=batch",
        "probes.use.landscape.limit=hessian",
        "probes.use.landscape.update=true",
        f"+evaluation.kinds={{{OTHER_STATISTICS}, {CHANGED}, {WEIGHED}, {NOISE}}}",
    ),
    ("norm=none", "probes.use.landscape.limit=difference", f"+evaluation.kinds={{{CHANGED}}}"),
)
"""Overrides of small real runs."""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real runs with every probe and option that records something of its own."""
    folder = tmp_path_factory.mktemp("real")
    for overrides in RUNS:
        network = ["model=vgg_small", "model.width=0.125", "data.subset=64", "data.test_subset=40"]
        experiments.run(small(folder, *network, "optim.batch_size=16", "steps=2", *PROBED, *overrides))
    looked_at = ["probes=[spectrum,dynamics,ics,shift,affine]", "probes.every=1", "optim.criterion=half_squared_error"]
    for name, further in (("of_fixed", ""), ("held", ", statistics: held")):  # the Hessian of a fixed batch
        looked_at.append(f"+probes.use.{name}={{name: spectrum, file: null, batch: fixed, largest: 10{further}}}")
    experiments.run(small(folder, "norm=batch", "steps=2", *looked_at))
    two = ["data=two_domains", "norm=batch", "model=mlp", "model.widths=[8]", "data.subset=64", "data.test_subset=40"]
    two += ["optim.batch_size=16", "steps=2", "probes=domains", "probes.every=1", "probes.fixed_batch=32"]
    experiments.run(small(folder, *two, "+evaluation.kinds={domain: {statistics: domain}, batch: {statistics: batch}}"))
    experiments.run(small(folder, *two, "data.order=alternating"))
    deep = ["model=mlp", "model.widths=[8]", "model.initialisation=he", "data.subset=64", "data.test_subset=40"]
    deep += ["norm=batch", "optim.batch_size=16", "steps=2", "probes.every=1", "model.activation=sigmoid"]
    deep += ["probes=[gradients,representations,dynamics,losses,biases,scaling,activations,jacobian,margins,segments]"]
    deep += ["probes.use.dynamics.units=true", "probes.use.dynamics.values=true"]
    deep += ["probes.use.representations.places=[output,before_normalisation]"]
    for depth, rate, seed in itertools.product((10, 11), (0.01, 0.1, 1.0), (0, 1)):  # of figures over depth
        experiments.run(small(folder, *deep, f"model.depth={depth}", f"optim.lr={rate}", f"seed={seed}"))
    over = ["model=mlp", "model.widths=[8]", "data.subset=64", "data.test_subset=40", "optim.batch_size=16", "steps=1"]
    for gain, rate in ((1, 0.01), (1, 0.1), (1, 1), (0.1, 0.1), (10, 0.1)):  # over rates and scales
        experiments.run(small(folder, *over, f"model.gain={gain}", f"optim.lr={rate}"))
    for other in ("data.standardise=centred", "model.placement=after", "model.norm_at=output"):
        for rate in (0.01, 0.1, 1):
            experiments.run(small(folder, *over, other, f"optim.lr={rate}"))
    residual = ["model=residual_mlp", "model.width=8", "model.blocks=3", *over[2:], "probes=[representations]"]
    for rate in (0.01, 0.1, 1):
        experiments.run(small(folder, *residual, "probes.use.representations.places=[stream]", f"optim.lr={rate}"))
    for rate in (0.01, 0.1, 1):
        experiments.run(small(folder, *over, "norm=batch", "norm.per=ghost", "norm.ghost_size=16", f"optim.lr={rate}"))
    for length in (0, 0.1, 1):  # of sharpness-aware minimisation
        experiments.run(small(folder, *over, "optim=sam", f"optim.rho={length}"))
    return folder


@pytest.fixture(scope="module")
def declared(real: Path) -> Declared:
    """Metric and batch -> its dimensions, of all that real runs declare."""
    found: dict[tuple[str, str], set[tuple[bool, tuple[float, ...]]]] = {}
    for folder in find_runs(real):
        for keys in read_run(folder).fields.values():
            for spec in keys.values():
                found.setdefault((spec.metric, spec.batch), set()).add((spec.layer is not None, spec.x or ()))
    return found


# --------------------------------------------------------------------------------------------------------- thresholds


def edges(region: Region) -> list[tuple[float, bool]]:
    """Numbers next to each end of a region: the number, whether it lies inside."""
    found = []
    for end, inwards in ((region.low, 1), (region.high, -1)):
        if math.isfinite(end):
            step = min(MARGIN * (abs(end) or 1.0), (region.high - region.low) / 2)  # to the middle of a narrow one
            found += [(end + inwards * step, True), (end - inwards * step, False)]
    return found


@dataclass(frozen=True)
class Given:
    """A measure that is given, by seed: for what no records can be planted."""

    numbers: tuple[float, ...]
    name: str = "given"
    says: str = "given"
    metrics: tuple[tuple[str, str | None], ...] = ()
    free: tuple[str, ...] = ()
    diverged_count: bool = False

    def by_seed(self, runs: Runs, grid: Grid | None = None) -> pd.DataFrame:
        seeds = pd.Index(sorted(runs.each["seed"]), name="seed")
        numbers = self.numbers[: len(seeds)]
        return pd.DataFrame({"number": numbers, "low": numbers, "high": numbers}, index=seeds)


def given(comparison: Comparison, claim: Claim, effect: float) -> tuple[Runs, Comparison]:
    """Runs without records, and the comparison with numbers in place of its measures."""
    trained, facts = configurations(comparison, claim)
    wobble = 1 + 1e-5 * np.arange(-3, 3)
    pairs = len(comparison.terms) // 2
    if isinstance(comparison.kind, RankOverFamilies):
        numbers = [number * wobble for arm in range(1, pairs + 1) for number in (arm, effect * arm)]
    elif comparison.kind.unit == "fraction":
        numbers = [number * wobble for number in (1 + 2 * effect, 1.0, 3.0)]
    elif comparison.kind.unit == "count":  # so many of the seeds
        numbers = [np.where(np.arange(SEEDS) < round(effect * SEEDS), np.inf, -np.inf)]
    elif comparison.kind.unit == "ratio":
        numbers = [number * wobble for number in (effect * 2, 2.0) * pairs]
    else:
        numbers = [number * wobble for number in (effect + 2, 2.0) * pairs] or [effect * wobble]
    terms = tuple(replace(term, measure=Given(tuple(own))) for term, own in zip(comparison.terms, numbers, strict=True))
    return made([], trained, facts, defaults_of(trained)), replace(comparison, terms=terms)


@pytest.mark.parametrize(("claim", "comparison"), partly(COMPARED, 6))
def test_a_threshold_decides_where_it_lies(claim: Claim, comparison: Comparison, declared: Declared) -> None:
    """Two per cent inside is supported, two per cent outside is contradicted, at each end of each region."""
    found = edges(comparison.region)
    if comparison.kind.unit == "count":
        found = [(0.0, None), (1.0, None)]
    if isinstance(comparison.kind, RankOverFamilies):  # of few arms there are few ranks: all in order, or all reversed
        found = [(1.0, None), (-1.0, None)]
    assert found, "a region without an end decides nothing"
    for effect, inside in found:
        inside = comparison.region.holds(effect) if inside is None else inside
        asked = replace(comparison, decides=True, smallest=0.0 if comparison.kind.unit != "ratio" else 1.0, forms=())
        runs = planted(comparison, claim, effect, declared)
        if runs is None:
            runs, asked = given(asked, claim, effect)
        (verdict,) = judge(runs, [replace(claim, comparisons=(asked,), needs_first=(), seeds=SEEDS)])
        (part,) = verdict.parts
        assert part.outcome.effect == pytest.approx(effect, rel=1e-2, abs=1e-3), verdict.reason
        words = (
            ("identity fails", "identity holds") if isinstance(asked.kind, Identity) else ("contradicted", "supported")
        )
        assert verdict.told == words[inside], (effect, verdict.reason)
    about = {**claim.about, **comparison.about}
    for key in about:  # of another kind of network it is not asked
        other = "regression" if about[key] == "classification" else "other"
        moved = {run: {**runs._trained[run], key: other} for run in runs.each.index}
        each = runs.each.assign(task=other) if key == "task" else runs.each
        (verdict,) = judge(Runs(runs.table, each, moved), [replace(claim, comparisons=(asked,))])
        assert verdict.word == "not run", key


def of_a_study(measure: Any) -> bool:
    """Whether a measure is worked out by code of a study's own."""
    return str(measure.per_run.__module__).startswith(f"{studies.__name__}.")


def test_most_thresholds_are_tried_on_records(declared: Declared) -> None:
    """A comparison of single runs is planted in what they record, through windows, lines and layers.

    Those that are not go by measures of a study's own, which have slow twins of their own.
    """
    single = [
        (claim, comparison)
        for _, claim in CLAIMS
        for comparison in claim.comparisons
        if len(comparison.terms) < 3
        and comparison.kind.unit != "count"
        and not any(term.measure.free or of_a_study(term.measure) for term in comparison.terms)
    ]
    by_records = [planted(c, claim, edges(c.region)[0][0], declared) is not None for claim, c in single]
    assert np.mean(by_records) > 0.7


# ------------------------------------------------------------------------------------------------------- what is said


@pytest.mark.parametrize("claim", [pytest.param(claim, id=claim.name) for _, claim in CLAIMS])
def test_a_rule_says_all_that_decides(claim: Claim) -> None:
    assert claim.statement.endswith(".")
    assert claim.rule.endswith(".")
    assert claim.source
    assert bool(claim.comparisons) != bool(claim.untestable)
    said = claim.rule.casefold()
    if claim.untestable:
        assert claim.untestable.casefold() in said
        return
    assert any(comparison.decides for comparison in claim.comparisons)
    for comparison in claim.comparisons:
        assert comparison.what.casefold() in said
        numbers = [end for end in (comparison.region.low, comparison.region.high) if math.isfinite(end)]
        assert numbers
        if comparison.decides:
            for term in comparison.terms:
                assert term.measure.says.casefold() in said
                assert term.arm.name.casefold() in said
            for number in numbers:
                assert f"{number:.3g}" in comparison.region.says()
                assert comparison.predicted in said
            if comparison.counts_from is not None and not comparison.region.holds(comparison.kind.none):
                assert f"{comparison.counts_from:g}" in said.partition("no difference within")[2]
            assert comparison.kind.says.casefold() in said
            assert all(form.form in said for form in comparison.forms)
            for value in comparison.about.values():
                assert f"is {plain(value)}" in said
    for value in claim.about.values():
        assert f"is {plain(value)}" in said
    assert all(arm.name in claim.needs for arm in claim.arms)


def test_claims_and_figures_of_a_study_know_each_other() -> None:
    for study in STUDIES:
        assert all((study.title, study.source, study.says, study.predicts, study.experiments))
        for claim in study.claims:
            assert claim.figure is None or claim.figure in figures.names()
            shown_by = {other.name for other in STUDIES if claim.figure in other.figures}
            run_by = str(claim.experiment).partition("/")[0]
            assert shown_by <= {study.name, run_by}, (claim.name, "its figure is drawn of the runs of another study")
            assert claim.experiment or claim.untestable
        for name in study.figures:
            assert figures.get(name) is study.figure(name)


def test_no_deciding_comparison_is_of_arms_that_are_one_network() -> None:
    """Where nothing is activated, before and after the activation are one place: it could not come out otherwise."""
    for _, claim in CLAIMS:
        for comparison in filter(lambda one: one.decides, claim.comparisons):
            about = {**claim.about, **comparison.about}
            arms = {frozenset(_told_apart(term.arm.where, about)) for term in comparison.terms}
            measures = {term.measure for term in comparison.terms}
            assert len(comparison.terms) == 1 or len(arms) > 1 or len(measures) > 1, claim.name


def _told_apart(where: Iterable[tuple[str, Any]], about: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What sets an arm apart, without keys that nothing reads in these settings."""
    unread = {"model.placement"} if plain(about.get("model.activation", "")) == "none" else set()
    return [(key, plain(value)) for key, value in where if key not in unread]


# ---------------------------------------------------------------------------------------------------- what is recorded


def missing(asked: Iterable[tuple[str, str | None]], declared: Declared) -> set[tuple[str, str | None]]:
    names = {metric for metric, _ in declared}
    return {(m, b) for m, b in asked if (m not in names if b is None else (m, b) not in declared)}


def test_every_metric_of_a_claim_is_declared_by_a_real_probe(declared: Declared) -> None:
    for _, claim in CLAIMS:
        asked = [metric for c in claim.comparisons for term in c.terms for metric in term.measure.metrics]
        assert not missing(asked, declared), claim.name
    assert missing([("loss", None), ("loss", "gone"), ("gone", None)], declared) == {("loss", "gone"), ("gone", None)}


class Asked(Runs):
    """Runs that note what they are asked for."""

    asked: set[tuple[str, str | None]]

    def only(self, names: Iterable[str]) -> Runs:
        part = super().only(names)
        part.__class__, part.asked = Asked, self.asked
        return part

    def records(self, metric: str, batch: str | None = None, probe: str | None = None) -> pd.DataFrame:
        self._whole.asked.add((metric, batch))  # type: ignore[attr-defined]
        return super().records(metric, batch, probe)

    def arrays(self, metric: str, runs: Sequence[str], batch: str, layers: Sequence[str]) -> dict[Any, Any]:
        self._whole.asked.add((metric, batch))  # type: ignore[attr-defined]
        return super().arrays(metric, runs, batch, layers)


def test_what_a_claim_asks_for_lies_in_the_records(real: Path, declared: Declared) -> None:
    """By which the ledger sees whether it was measured: of arrays alone nothing would ever be judged."""
    recorded = {
        (spec.metric, spec.batch)
        for folder in find_runs(real)
        for keys in read_run(folder).fields.values()
        for spec in keys.values()
        if spec.in_records
    }
    for _, claim in CLAIMS:
        asked = {metric for c in claim.comparisons for term in c.all_terms for metric in term.measure.metrics}
        assert missing(asked, {metric: set() for metric in recorded}) == missing(asked, declared), claim.name


def test_every_metric_of_a_figure_is_declared_by_a_real_probe(real: Path, declared: Declared) -> None:
    runs = Runs.load(real)
    seen: set[str] = set()
    for task in ("classification", "regression"):  # the second for those that have nothing to say of the first
        for name in (name for name in figures.names() if name not in seen):
            watched = Asked(runs.table, runs.each.assign(task=task), runs._trained, runs._read, runs._defaults)
            watched.asked = set()
            figures.get(name).compute(watched)
            assert not missing(watched.asked, declared), name
            seen |= {name} if watched.asked else set()
    assert seen == set(figures.names())


# ------------------------------------------------------------------------------------------------------------ as fixed


@pytest.mark.parametrize("study", [pytest.param(study, id=study.name) for study in STUDIES])
def test_rules_are_as_they_were_fixed(study: studies.Study) -> None:
    """A rule that is changed on purpose is fixed anew: python -m analysis.studies.fix."""
    assert fix.changes(study) == []
    for name, entry in fix.fixed(study).items():
        assert entry["rule"] == studies.claim(name).rule
        for key in {"fixed", "changed"} & set(entry):
            assert datetime.date.fromisoformat(entry[key]) >= datetime.date(2026, 1, 1)


OWN = """
from analysis.studies import Study
STUDY = Study("t", "s", "says", "predicts", ("e",))
"""
OWN_CLAIMS = """
from analysis.claims import Claim, Term, less
from analysis.measures import final
loss = final("data_loss", "train")
CLAIMS = [Claim("mine", "Linf ends lower than L2.", "me", (less(Term.of("linf", loss), Term.of("l2", loss), {than}),))]
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "author2020"
    folder.mkdir()
    (folder / "__init__.py").write_text(OWN)
    (folder / "claims.py").write_text(OWN_CLAIMS.format(than=1.0))
    return folder


def test_nothing_is_there_twice(own: Path, tmp_path: Path) -> None:
    again = tmp_path / "elsewhere" / own.name
    shutil.copytree(own, again, ignore=shutil.ignore_patterns("claims.py"))
    with pytest.raises(WrongInput, match=f"study '{own.name}' is there twice"):
        studies.load([own, again])
    taken = CLAIMS[0][1].name
    (own / "claims.py").write_text(OWN_CLAIMS.format(than=1.0).replace("mine", taken))
    with pytest.raises(WrongInput, match=f"claim '{taken}' is there twice"):
        studies.load([own])
    (own / "claims.py").unlink()
    (own / "figures").mkdir()
    (own / "figures" / "__init__.py").touch()
    figure = next(name for study in STUDIES for name in study.figures)
    (own / "figures" / f"{figure}.py").touch()
    with pytest.raises(WrongInput, match=f"figure '{figure}' is there twice"):
        studies.load([own])


def test_names_of_studies_and_claims_have_a_near_miss() -> None:
    study, claim = CLAIMS[0][0].name, CLAIMS[0][1].name
    with pytest.raises(WrongInput, match=f"unknown study '{study}_'; did you mean '{study}'"):
        studies.get(f"{study}_")
    with pytest.raises(WrongInput, match=f"unknown claim '{claim}x'; did you mean '{claim}"):
        studies.claim(f"{claim}x")


def test_fixing_says_what_changed(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, later = datetime.date(2026, 2, 3), datetime.date(2026, 3, 4)

    def study() -> studies.Study:
        return studies.get("author2020", studies.load([own]))

    assert fix.fixed(study()) == {}
    assert [line.split(":")[:2] for line in fix.changes(study())] == [["mine", " new"]]
    fix.fix(study(), first)
    assert fix.changes(study()) == []
    written = (own / fix.FILE).read_text()
    assert fix.fix(study(), later) == []
    assert (own / fix.FILE).read_text() == written
    (own / "claims.py").write_text(OWN_CLAIMS.format(than=1.25))
    (line,) = fix.changes(study())
    assert "below 1 times (" in line.partition("Is:")[0]
    assert "below 1.25 times (" in line.partition("Is:")[2]
    assert fix.main([str(own)]) == 0
    assert "author2020 mine: was:" in capsys.readouterr().out
    entry = fix.fixed(study())["mine"]
    assert (entry["fixed"], entry["changed"]) == ("2026-02-03", datetime.date.today().isoformat())
    (own / "claims.py").write_text("CLAIMS = []")
    assert fix.changes(study())[0].startswith("mine: gone")
    assert fix.main(["nowhere_such"]) == 2
    (own / fix.FILE).write_text('{"mine": {}}')
    with pytest.raises(WrongInput, match=r"rules.json is damaged"):
        fix.fixed(study())


def test_all_that_decides_is_fixed_and_nothing_else() -> None:
    (claim, comparison) = next(
        (claim, claim.comparisons[0])
        for _, claim in CLAIMS
        if claim.comparisons
        and claim.comparisons[0].kind == RATIO
        and all(isinstance(term.measure, Measure) for term in claim.comparisons[0].terms)
    )
    first, last = comparison.terms
    other_term = replace(first, arm=Arm.norm("other"))
    measure: Any = first.measure
    changed: list[Comparison] = [
        replace(comparison, region=replace(comparison.region, low=comparison.region.low + 1e-9)),
        replace(comparison, region=replace(comparison.region, high=7.0)),
        replace(comparison, kind=DIFFERENCE),
        replace(comparison, kind=replace(RATIO, seeds=7)),
        replace(comparison, smallest=1.26),
        replace(comparison, form="so"),
        replace(comparison, forms=(comparison,)),
        replace(comparison, decides=False),
        replace(comparison, about={"k": 1}),
        replace(comparison, terms=(other_term, last)),
        replace(comparison, terms=(first, other_term)),
        replace(comparison, terms=(first,)),
        *(
            replace(comparison, terms=(Term(first.arm, replace(measure, **otherwise)), last))
            for otherwise in (
                {"says": "otherwise"},
                {"name": "otherwise"},
                {"metrics": ()},
                {"diverged_count": not measure.diverged_count},
                {"free": ("optim.lr",)},
            )
        ),
    ]
    rest = claim.comparisons[1:]
    digests = {fix.digest(replace(claim, comparisons=(one, *rest))) for one in changed}
    digests |= {fix.digest(replace(claim, comparisons=())), fix.digest(replace(claim, about={"k": 1}))}
    digests |= {fix.digest(replace(claim, untestable="so")), fix.digest(replace(claim, seeds=7))}
    digests |= {fix.digest(replace(claim, needs_first=("T1",)))}
    assert len(digests - {fix.digest(claim)}) == len(changed) + 5
    worded: Mapping[str, Any] = {"statement": "", "remark": "", "figure": None, "source": ""}
    worded |= {"also_predicted_by": ("another",), "core": not claim.core, "intervention": not claim.intervention}
    assert {fix.digest(replace(claim, **{key: value})) for key, value in worded.items()} == {fix.digest(claim)}
    assert json.dumps(fix.data_of(claim))
