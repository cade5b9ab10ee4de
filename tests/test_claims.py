"""The ledger on made-up run folders: the published picture, its opposite, no effect at all; few seeds, missing runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis import ledger, load_runs, studies
from analysis.claims import Claim, Comparison
from analysis.decide import Identity
from analysis.ledger import Verdict
from analysis.loader import RECORD_COLUMNS, RUN_COLUMNS
from analysis.runs import Runs
from tests.conftest import partly
from tests.made_sweep import STUDY, write_sweep

CLAIMS = studies.get(STUDY).claims
TESTABLE = [pytest.param(claim, id=claim.name) for claim in CLAIMS if not (claim.untestable or claim.free)]
HIGH_RATE = "learning rate 0.5"
"""At which, in these records, the plain network does not train."""


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Six seeds, the last three of which repeat the first nearly."""
    three = load_runs(write_sweep(tmp_path_factory.mktemp("sweep")))
    again = three.assign(run="again-" + three["run"].astype(str), seed=three["seed"] + 3)
    there = again["metric"].isin(["accuracy", "ics_cosine"])
    return pd.concat([three, again.assign(value=again["value"].where(there, again["value"] * 1.001))])


@pytest.fixture(scope="module")
def runs(sweep: pd.DataFrame) -> Runs:
    return Runs.of(sweep)


@pytest.fixture(scope="module")
def verdicts(runs: Runs) -> list[Verdict]:
    return ledger.judge(runs, CLAIMS)


def usual(verdicts: list[Verdict]) -> list[Verdict]:
    """Those in the settings that the records follow: at the high rate only what is about it."""
    return [v for v in verdicts if HIGH_RATE not in v.setting or v.claim.about.get("optim.lr") == 0.5]


def renamed(runs: Runs, names: Mapping[str, str]) -> Runs:
    """The runs with other normalisations."""
    return Runs.of(runs.table.assign(norm=runs.table["norm"].astype(str).replace(dict(names))))


def test_every_claim_is_supported_by_records_that_follow_it(verdicts: list[Verdict], runs: Runs) -> None:
    trained = {runs.value(run, "model") for run in runs.each.index}
    assert {v.claim.name for v in verdicts} == {claim.name for claim in CLAIMS}
    for verdict in usual(verdicts):
        if verdict.claim.about.get("model", "vgg_small") not in trained:
            assert (verdict.word, "needs runs of both" in verdict.reason) == ("not run", True)
            continue
        if verdict.claim.free:  # goes across learning rates, of which there are two here
            assert (verdict.word, "needs 3 values or more" in verdict.reason) == ("not run", True)
            continue
        if verdict.claim.name == "S25":  # the opposite of S7, which the records follow
            assert (verdict.told, verdict.seeds) == ("contradicted", 6)
            continue
        expected = ("not testable", 0) if verdict.claim.untestable else ("supported", 6)
        if any(part.comparison.decides and isinstance(part.comparison.kind, Identity) for part in verdict.parts):
            expected = ("identity holds", 6)
        assert (verdict.told, verdict.seeds) == expected, (verdict.claim.name, verdict.reason)


@pytest.mark.long
def test_settings_are_judged_apart(verdicts: list[Verdict]) -> None:
    """At the high rate the plain network does not train, so that what compares it with others comes out otherwise."""
    for claim in CLAIMS:
        own = [v.setting for v in verdicts if v.claim == claim]
        assert len(own) == len(set(own))
        for verdict in own:
            rate = claim.about.get("optim.lr")
            assert rate is None or f"learning rate {rate}" in verdict
            assert claim.about.get("model") in (None, verdict.partition(" ")[0]) or not verdict
    both = [v for v in verdicts if v.setting and not v.claim.about]
    assert {v.setting.partition(" on ")[0] for v in both} == {"vgg_small", "deep_linear"}
    assert {v.word for v in verdicts if HIGH_RATE in v.setting} >= {"supported", "mixed"}


def exchanged(comparison: Comparison, effect: float) -> bool:
    """Whether a comparison would still hold if its arms were exchanged."""
    return comparison.region.holds(1 / effect if comparison.kind.unit == "ratio" else -effect)


def two_arms(comparison: Comparison) -> bool:
    return comparison.kind.paired and len({term.arm for term in comparison.terms}) == 2


@pytest.mark.parametrize("claim", partly(TESTABLE, 4))
def test_the_opposite_contradicts(claim: Claim, runs: Runs, verdicts: list[Verdict]) -> None:
    """Arms of its comparisons exchanged, one pair after the other; where that would break it, it is contradicted, and
    what these records contradict is supported."""
    tried = 0
    for verdict in usual([v for v in verdicts if v.claim == claim]):
        for part in verdict.parts:
            one = part.comparison
            if not (one.decides and two_arms(one)):
                continue
            assert part.outcome.word != "not run", one.what  # else there is nothing to exchange, and nothing is tried
            holds, held = exchanged(one, part.outcome.effect), one.region.holds(part.outcome.effect)
            if holds and held:
                continue
            tried += 1
            first, last = one.terms[0].arm.name, one.terms[-1].arm.name
            names = {first: last, last: first}
            if tried <= 2:
                asked = replace(claim, comparisons=(one,))
                found = {v.setting: v for v in ledger.judge(renamed(runs, names), [asked])}
                assert found[verdict.setting].word == ("supported" if holds else "contradicted"), one.what
    values = [c for c in claim.comparisons if not two_arms(c)]
    assert tried or values or all(c.region.low < 1 < c.region.high for c in claim.comparisons)


def test_no_effect_supports_no_difference_and_nothing_else(sweep: pd.DataFrame) -> None:
    """The same runs under two names, seeds exchanged."""
    own = sweep[(sweep["norm"] == "batch") & (sweep["lr"] == 0.1)]
    names = own["run"].astype(str)
    other = own.assign(run="other-" + names, norm="none", seed=(own["seed"] + 1) % 6)
    both = Runs.of(pd.concat([own.assign(run=names, norm="batch"), other]))
    seen = set()
    for claim in CLAIMS:
        for comparison in claim.comparisons:
            if {term.arm.name for term in comparison.terms} == {"none", "batch"}:
                (verdict,) = ledger.judge(both, [replace(claim, comparisons=(comparison,))])
                if verdict.setting:
                    holds = comparison.region.holds(comparison.kind.none)
                    assert verdict.word in {"no difference", "undecided", "supported" if holds else ""}, claim.name
                    seen.add(verdict.word)
    assert {"supported", "no difference"} <= seen


def test_nothing_was_run() -> None:
    verdicts = ledger.judge(Runs.of(pd.DataFrame(columns=[*RUN_COLUMNS, *RECORD_COLUMNS])), studies.claims())
    assert [v.claim.name for v in verdicts] == [claim.name for claim in studies.claims()]
    for verdict in verdicts:
        assert verdict.word == ("not testable" if verdict.claim.untestable else "not run")
        assert verdict.reason


def test_fewer_than_three_seeds_never_decide(sweep: pd.DataFrame) -> None:
    few = Runs.of(sweep[(sweep["seed"] < 2) & (sweep["lr"] != 0.5)])
    verdicts = [v for v in ledger.judge(few, CLAIMS) if v.parts]
    assert {v.word for v in verdicts} == {"undecided", "identity holds"}
    told = [part for v in verdicts for part in v.parts if part.comparison.decides and part.comparison.kind.paired]
    told = [
        part
        for part in told
        if part.comparison.kind.seeds > 1 and not any(t.measure.free for t in part.comparison.terms)
    ]
    assert {part.outcome.reason for part in told} == {"2 seeds: 3 lean, 6 decide"}
    assert all(math.isnan(part.outcome.low) for part in told)


def test_a_point_that_is_no_number_is_infinitely_far(sweep: pd.DataFrame) -> None:
    bad = (sweep["metric"] == "landscape_data_loss") & (sweep["x"] == 4.0) & (sweep["norm"] == "none")
    runs = Runs.of(sweep.assign(value=sweep["value"].mask(bad))[sweep["lr"] == 0.1])
    reads = ("landscape_data_loss", "train")
    asked = [claim for claim in CLAIMS if any(reads in c.terms[0].measure.metrics for c in claim.comparisons)]
    parts = [
        part
        for verdict in usual(ledger.judge(runs, asked))
        for part in verdict.parts
        if reads in part.comparison.terms[0].measure.metrics
        and two_arms(part.comparison)
        and part.comparison.terms[0].arm.name == "none"
    ]
    assert parts
    assert {part.outcome.effect for part in parts} == {math.inf}
    assert {part.outcome.word for part in parts} == {"supported"}


def test_the_table_has_a_row_for_every_comparison(verdicts: list[Verdict], tmp_path: Path) -> None:
    found = ledger.table(verdicts)
    assert len(found) == sum(max(1, sum(1 + len(part.forms) for part in v.parts)) for v in verdicts)
    decided = found[found["outcome"].isin(["supported", "contradicted"]) & found["interval_low"].notna()]
    assert len(decided) > 50
    assert (decided["p"] <= 0.04).all()
    assert (found["q"].isna() | (found["q"] >= found["p"])).all()
    assert (decided["interval_low"] <= decided["effect"]).all()
    assert (decided["effect"] <= decided["interval_high"]).all()
    assert (decided["each_seed"].str.split().str.len() == decided["seeds"]).all()
