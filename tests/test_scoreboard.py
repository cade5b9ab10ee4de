"""The scoreboard: certainty against its rule written out again, counts, sentences, and the table of arms."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from analysis import select
from analysis.claims import Claim, Term, less, more
from analysis.decide import Outcome, Word
from analysis.decide.outcome import Standing as Stands
from analysis.ledger import Part, Verdict
from analysis.measures import final
from analysis.scoreboard import MARKS, board, certainty, sentences, stand, tables, told_words, works
from analysis.studies import Study
from tests.made_table import BASE, made, row

M = final("m", "train")
HELD = more(Term.of("none", M), Term.of("batch", M))
FORMED = more(Term.of("none", M), Term.of("batch", M), forms=(less(Term.of("none", M), Term.of("batch", M), form="f"),))


def study(*claims: Claim, **options: Any) -> Study:
    return Study("Title", "Somebody & Other 2020, there", "says", "predicts", claims=claims, **options)


def verdict(
    name: str,
    word: Word = "supported",
    setting: str = "here",
    *,
    standing: Stands = "",
    effect: float = 2.0,
    used: tuple[int, ...] = (0, 1),
    model: str = "small",
    **claim: Any,
) -> Verdict:
    part = Part(HELD, Outcome(word, 6, effect))
    made_claim = Claim(name, "So.", "", (HELD,), **claim)
    return Verdict(made_claim, setting, word, (part,), "", standing, used, {"model": model})


def rule(fresh: bool, undecided: bool, split: bool, other_scale: bool, depends: bool, seen: bool, large: bool) -> str:
    """Certainty as it is worded: a start, steps down, one up, within the four levels."""
    level = 3 if fresh else 2
    for reason in (undecided, split, other_scale, depends, seen):
        level -= reason
    level += large
    return {0: "very low", 1: "low", 2: "moderate", 3: "high"}[max(0, min(3, level))]


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("intervention", [False, True])
def test_certainty_is_that_of_the_rule(intervention: bool, large: bool) -> None:
    """Over all combinations of what lowers it."""
    for undecided, split, other_scale, depends, seen in itertools.product((False, True), repeat=5):
        common: dict[str, Any] = {"used": (0, 1) if seen else (10, 11), "effect": 0.2 if large else 2.0}
        here: dict[str, Any] = {**common, "model": "small" if other_scale else "large"}
        found = [verdict("A", **here, intervention=intervention), verdict("B", **here), verdict("D", **here)]
        found += [verdict("B", "contradicted", "there", **here)] if split else []
        found += [verdict("C", "undecided", str(place), **here) for place in range(4)] if undecided else []
        found += [verdict("E", "depends on the rule", **here)] if depends else []
        mine = study(*{v.claim.name: v.claim for v in found}.values(), published=({"model": "large"},))
        level, reasons = certainty(mine, found)
        fresh = intervention and not other_scale and not seen
        assert level == rule(fresh, undecided, split, other_scale, depends, seen, large)
        assert len(reasons) == undecided + split + other_scale + depends + seen + large
        assert ("settings disagree on B" in reasons) == split
        assert ("another scale or other data than published" in reasons) == other_scale


def test_what_is_undecided_starts_at_more_than_a_third() -> None:
    held, open_ = [verdict(name) for name in "ABCD"], [verdict(name, "undecided") for name in "EF"]
    mine = study(*(v.claim for v in [*held, *open_]))
    assert "2 of 6 are undecided" not in certainty(mine, [*held, *open_])[1]
    assert "2 of 5 are undecided" in certainty(mine, [*held[:3], *open_])[1]
    # what only leans is undecided so far
    leaning = [verdict(name, standing="leans") for name in "EF"]
    assert "2 of 5 are undecided" in certainty(mine, [*held[:3], *leaning])[1]


def test_only_core_predictions_count() -> None:
    words: dict[str, Word] = {"A": "supported", "B": "contradicted", "C": "no difference", "D": "undecided"}
    words |= {"E": "depends on the rule", "F": "identity holds", "G": "not run"}
    found = [verdict(name, word, setting) for name, word in words.items() for setting in ("here", "there")]
    found += [verdict("X", "contradicted", core=False), verdict("L", standing="leans")]
    mine = study(*{v.claim.name: v.claim for v in found}.values())
    state = stand(mine, [*found, verdict("foreign", "contradicted")])
    counts = [
        state.count(w) for w in ("supported", "contradicted", "no difference", "undecided", "depends on the rule")
    ]
    assert counts == [4, 2, 2, 3, 2]
    assert state.settings == ["here", "there"]
    assert state.sentence().startswith(
        "In these 2 settings the core predictions of Somebody & Other 2020 were met in 4 (A, F), failed in 2 (B), "
        "showed no difference in 2 (C); 3 are undecided (D, L), 2 depend on the rule (E). Certainty: very low, because "
    )
    one = stand(mine, [verdict("E", "depends on the rule"), verdict("M", "mixed", core=True)])
    assert " were met in none, failed in none, showed no difference in none; none is undecided, 1 depends on " in (
        one.sentence()
    )
    assert state.wrong == 1  # of the eight that are decided
    assert stand(mine, []).sentence() == ""
    (last,) = sentences([], found, [])
    assert last.startswith("7 words are verdicts, of which at most 1 are expected wrong")
    assert last.endswith(" One more leans, is provisional or interim.")
    assert sentences([], [verdict("A"), *[verdict("L", standing="leans")] * 2], [])[-1] == (
        "One word is a verdict. 2 more lean, are provisional or interim."
    )
    assert sentences([], [verdict("A", standing="leans")], [])[0].startswith("No word is a verdict yet")


def test_effects_interventions_and_robustness() -> None:
    reversed_part = Part(FORMED, Outcome("supported", 6, 8.0), forms=(Part(FORMED.forms[0], Outcome("contradicted")),))
    held_part = Part(FORMED, Outcome("supported", 6, 0.5), forms=(Part(FORMED.forms[0], Outcome("undecided")),))
    claims = [Claim(name, "So.", "", (FORMED,), intervention=name == "A") for name in "AB"]
    found = [
        Verdict(claim, "here", "supported", (part,), "")
        for claim, part in zip(claims, (reversed_part, held_part), strict=True)
    ]
    state = stand(study(*claims), found)
    assert (state.effects, state.robust, state.interventions) == ((0.5, 8.0), (1, 2), 1)
    assert math.isnan(stand(study(), []).effects[0])


def test_words_are_counted_with_their_standing() -> None:
    found = [verdict("A"), verdict("B", standing="leans"), verdict("C"), verdict("D", "undecided", standing="leans")]
    assert told_words(found) == [
        ("supported", "supported", 2),
        ("supported", "leans: supported", 1),
        ("undecided", "undecided", 1),
    ]
    assert set(MARKS) >= {"supported", "mixed", "identity fails"}


@pytest.mark.parametrize("settings", [4, 5])
def test_more_settings_than_a_page_is_wide_are_counted_together(settings: int) -> None:
    verdicts = [verdict("A", "supported" if i else "contradicted", f"setting {i}") for i in range(settings)]
    verdicts.append(verdict("A", "not run", ""))
    found = board([study(verdicts[0].claim)], verdicts, [])
    cells = found["rows"][0]["cells"]
    assert len(cells) == len(found["settings"]) == (4 if settings == 4 else 1)
    counted = [(word, n) for cell in cells for word, _, n in cell["words"]]
    each = [("contradicted", 1), *[("supported", 1)] * 3]
    assert counted == (each if settings == 4 else [("supported", 4), ("contradicted", 1)])
    assert found["settings"][0] == ("setting 0" if settings == 4 else "5 settings together")


def test_whether_it_works_and_the_table_of_arms() -> None:
    """Two arms of three seeds: at 90 % after 20 and 5 steps, testing at 0.8 and 0.9 in the median."""
    rows, trained, facts = [], {}, {}
    for norm, learnt, share in (("none", 20, 0.8), ("batch", 5, 0.9)):
        for seed in range(3):
            run = f"{norm}-{seed}"
            trained[run], facts[run] = {**BASE, "norm": norm}, {"seed": seed}
            rows += [row(run, step, "accuracy", float(step >= learnt)) for step in range(120)]
            rows += [row(run, step, "accuracy", share + 0.01 * seed, batch="test") for step in range(0, 120, 20)]
    settings = select.settings(made(rows, trained, facts))
    assert works(settings) == (
        "In one setting the network without normalisation took 4 times the steps of batch normalisation to 90 % "
        "training accuracy, and batch normalisation tested 10.0 points higher."
    )
    (table,) = tables(settings)
    assert table["columns"][:2] == ["final test accuracy, 3 seeds", "steps to 90 % training accuracy, 3 seeds"]
    assert {one["name"]: one["numbers"][:2] for one in table["rows"]} == {
        "none": ["0.81", "20"],
        "batch": ["0.91", "5"],
    }
    assert np.all([one["numbers"][2:] == ["", ""] for one in table["rows"]])
    assert works([]) == ""


def test_of_many_settings_the_median_is_told_and_in_how_many_it_helps() -> None:
    """Batch normalisation is slower at one of six rates, tests worse at another, and does not learn at the last."""
    rows, trained, facts = [], {}, {}
    steps = {0.1: (20, 5), 0.2: (20, 40), 0.3: (30, 10), 0.4: (16, 8), 0.5: (40, 5), 0.6: (20, math.inf)}
    steps[0.7] = (20, 20)  # whose training accuracy is not recorded, so that there is no ratio
    tested = {0.1: 0.9, 0.2: 0.85, 0.3: 0.7, 0.4: 0.82, 0.5: 0.86, 0.6: 0.5, 0.7: 0.9}
    for rate, learnt in steps.items():
        for norm, own, share in (("none", learnt[0], 0.8), ("batch", learnt[1], tested[rate])):
            run = f"{norm}-{rate}"
            trained[run], facts[run] = {**BASE, "norm": norm, "optim.lr": rate, "steps": 120}, {"seed": 0}
            rows += [row(run, step, "accuracy", float(step >= own)) for step in range(120) if rate < 0.7]
            rows += [row(run, step, "accuracy", share, batch="test") for step in range(0, 120, 20)]
    assert works(select.settings(made(rows, trained, facts))) == (
        "In 6 settings the network without normalisation took 0.17 to 8 times the steps of batch normalisation to 90 % "
        "training accuracy (median 2.5, more steps in 4; where one never gets there, its whole length), and batch "
        "normalisation tested −30.0 to 10.0 points higher (median 5.0, higher in 5 of 7)."
    )


def test_the_numbers_of_arms_are_of_common_seeds_and_development_and_confirmatory_ones_are_never_pooled() -> None:
    """Steps to 90 %, seed by seed: `none` was also run with a seed that no other arm has, `noise` never recorded."""

    def table_of(steps: dict[str, dict[int, int]]) -> dict[str, str]:
        rows, trained, facts = [], {}, {}
        for norm, own in steps.items():
            for seed, learnt in own.items():
                run = f"{norm}-{seed}"
                trained[run], facts[run] = {**BASE, "norm": norm}, {"seed": seed}
                rows += [row(run, step, "accuracy", float(step >= learnt)) for step in range(120)]
        trained["noise-0"], facts["noise-0"] = {**BASE, "norm": "noise"}, {"seed": 0}
        rows += [row("noise-0", 0, "other", 1.0)]
        settings = select.settings(made(rows, trained, facts))
        (table,) = tables(settings)
        return {one["name"]: one["numbers"][1] for one in table["rows"]} | {"seeds": table["columns"][1][-7:]}

    few = {"none": {0: 10, 1: 20, 2: 30, 3: 90, 4: 90}, "batch": {0: 2, 1: 4, 2: 8}}
    assert table_of(few) == {"none": "20", "batch": "4", "noise": "", "seeds": "3 seeds"}
    fresh = {
        "none": few["none"] | dict.fromkeys(range(10, 15), 60),
        "batch": few["batch"] | dict.fromkeys(range(10, 16), 6),
    }
    assert table_of(fresh) == {"none": "20", "batch": "4", "noise": "", "seeds": "3 seeds"}
    fresh["none"][15] = 60
    assert table_of(fresh) == {"none": "60", "batch": "6", "noise": "", "seeds": "6 seeds"}
