"""Claims in words, and judged in every setting that has their arms; what is missing is named."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from analysis.claims import (
    MUCH,
    SIMILAR,
    Claim,
    Comparison,
    Term,
    alike,
    composite,
    count,
    difference,
    less,
    more,
    value,
)
from analysis.decide import DIFFERENCE, RATIO, VALUE, Count, Outcome, Region
from analysis.ledger import Part, Verdict, judge, table
from analysis.measures import final, over_training, steps_to_learn
from analysis.progress import Levels
from analysis.report import part_told
from analysis.runs import Runs
from analysis.seeds import kind_of
from analysis.select import Arm
from tests.made_table import BASE, made, row

M = over_training("m")
NONE, BATCH = Term.of("none", M), Term.of("batch", M)


# -------------------------------------------------------------------------------------------------------------- claims


def test_the_makers_of_comparisons() -> None:
    assert (SIMILAR, MUCH) == (1.5, 2.0)
    assert more(NONE, BATCH).region == Region(1.0, math.inf)
    assert less(NONE, BATCH, 3.0).region == Region(-math.inf, 3.0)
    assert alike(NONE, BATCH).region == Region(1 / 1.5, 1.5)
    assert alike(NONE, BATCH, 4.0).region == Region(0.25, 4.0)
    assert difference(NONE, BATCH, low=1.0) == Comparison((NONE, BATCH), Region(1.0, math.inf), DIFFERENCE)
    assert value(NONE, high=2.0) == Comparison((NONE,), Region(high=2.0), VALUE)
    assert count(NONE, "learns", 0.3, low=0.5) == Comparison((NONE,), Region(low=0.5), Count(0.3, "learns"))
    assert {c.kind for c in (more(NONE, BATCH), less(NONE, BATCH), alike(NONE, BATCH))} == {RATIO}
    both = composite([more(NONE, BATCH, 2.0), more(BATCH, NONE, 2.0)], form="so")
    assert both == Comparison((NONE, BATCH, BATCH, NONE), Region(low=2.0), RATIO, form="so")
    assert more(NONE, BATCH, about={"k": 1}).about == less(NONE, BATCH, about={"k": 1}).about == {"k": 1}
    shown = [more(NONE, BATCH, decides=False), less(NONE, BATCH, decides=False), alike(NONE, BATCH, decides=False)]
    assert not any(comparison.decides for comparison in shown)


def test_a_comparison_in_words() -> None:
    other = Term.of("none", over_training("n"))
    assert [c.what for c in (more(NONE, BATCH), difference(NONE, BATCH), value(NONE), more(NONE, other))] == [
        "m, none / batch",
        "m, none - batch",
        "m, none",
        "m / n, none",
    ]
    assert more(other, BATCH).what == "n of none / m of batch"
    assert [
        more(NONE, BATCH, 2.0).predicted,
        value(NONE, low=-0.3, high=0.3).predicted,
        less(NONE, BATCH).predicted,
    ] == [
        "above 2 times",
        "between -0.3 and 0.3",
        "below 1 times",
    ]
    n = Term.of("batch", other.measure)
    assert composite([more(NONE, BATCH), more(other, n)], form="early").what == "m, n together, none / batch (early)"
    assert count(NONE, "learns", 0.3, low=0.5).predicted == "above 0.5 of the seeds"


# -------------------------------------------------------------------------------------------------------------- ledger


def runs_of(
    numbers: dict[str, dict[int, float]],
    *,
    metric: str = "m",
    state: dict[str, str] | None = None,
    keys: dict[str, dict[str, Any]] | None = None,
    probed: dict[int, int] | None = None,
) -> Runs:
    """A run for each normalisation and seed, with a measure of this number.

    state, keys: of some runs, by name. probed: how many steps, by seed, where it is not eight.
    """
    trained, facts, rows = {}, {}, []
    for norm, own in numbers.items():
        for seed, number in own.items():
            run = f"{norm}-{seed}"
            trained[run] = {**BASE, "norm": norm, **(keys or {}).get(run, {})}
            facts[run] = {"seed": seed, "state": (state or {}).get(run, "finished"), "diverged_at": 60.0}
            count = (probed or {}).get(seed, 8)
            rows += [row(run, 10 * place, metric, number) for place in range(count)]
    return made(rows, trained, facts)


TWICE = {"none": {seed: 2.0 ** (seed + 1) for seed in range(6)}, "batch": {seed: 2.0**seed for seed in range(6)}}


def only(runs: Runs, *comparisons: Comparison, **options: Any) -> Verdict:
    (verdict,) = judge(runs, [Claim("made", "", "", comparisons, **options)])
    return verdict


def test_terms_are_paired_by_seed() -> None:
    verdict = only(runs_of(TWICE), more(NONE, BATCH, 1.99))
    (part,) = verdict.parts
    assert part.outcome.each == pytest.approx((2.0,) * 6)
    assert (verdict.told, verdict.seeds, part.notes) == ("supported", 6, ())
    assert part.probed == (8, 8)
    assert verdict.setting == "vgg_small on digits, learning rate 0.1"
    numbers = {"none": TWICE["none"], "batch": {1: 2.0, 2: 4.0, 7: 1.0, 8: 1.0}}
    verdict = only(runs_of(numbers), more(NONE, BATCH))
    assert (verdict.word, verdict.seeds) == ("undecided", 2)
    assert verdict.reason == "2 seeds: 3 lean, 6 decide; seed 0, 3, 4, 5, 7, 8 still to come"


def test_a_claim_of_several_comparisons_shares_its_level() -> None:
    """Of deciding comparisons alone: one that is only shown takes nothing from the others, nor do others from it."""
    generator = np.random.default_rng(1)
    numbers = np.exp(generator.normal(2.5, 0.2, 4))
    logs = np.log(numbers)
    runs = runs_of({"none": dict(enumerate(numbers)), "batch": dict.fromkeys(range(4), 1.0)})

    def end(confidence: float) -> float:
        half = float(stats.t.ppf((1 + confidence) / 2, 3)) * float(np.std(logs, ddof=1)) / 2
        return math.exp(float(np.mean(logs)) - half)

    assert end(0.96) < numbers.min(), "the t-interval is to be the wider one"

    alone, of_two = less(NONE, BATCH, end(0.96) * 0.9999), less(NONE, BATCH, end(0.98) * 0.9999)
    holds = more(NONE, BATCH, 1e-3)
    shown = more(NONE, BATCH, 1e-3, decides=False)
    assert only(runs, alone).word == only(runs, alone, shown).word == "contradicted"
    assert only(runs, alone, holds).word == "undecided"
    assert only(runs, alone, alone).word == "contradicted"
    assert only(runs, of_two, holds).word == "mixed"
    assert only(runs, less(NONE, BATCH, end(0.98) * 1.0001), holds).word == "undecided"
    beside = less(NONE, BATCH, end(0.96) * 0.9999, decides=False)
    verdict = only(runs, holds, holds, beside)
    assert [part.outcome.word for part in verdict.parts] == ["supported", "supported", "contradicted"]
    assert verdict.word == "supported"


def test_a_comparison_is_asked_where_it_is_about() -> None:
    keys = {f"{norm}-{seed}": {"optim.lr": 0.5} for norm in TWICE for seed in range(6)}
    fails, holds = less(NONE, BATCH, about={"optim.lr": 0.5}), more(NONE, BATCH)
    assert only(runs_of(TWICE), fails, holds).word == "supported"
    assert len(only(runs_of(TWICE), fails, holds).parts) == 1
    verdict = only(runs_of(TWICE, keys=keys), fails, holds)
    assert ([part.outcome.word for part in verdict.parts], verdict.word) == (
        ["contradicted", "supported"],
        "mixed",
    )
    assert only(runs_of(TWICE), fails).word == "not run"
    assert only(runs_of(TWICE), more(NONE, BATCH, about={"task": "regression"})).word == "not run"
    assert only(runs_of(TWICE), more(NONE, BATCH, about={"task": "classification"})).word == "supported"
    assert only(runs_of(TWICE), holds, about={"optim.lr": 0.5}).reason.startswith(
        "needs runs of none, batch where the learning rate is 0.5, 6 seeds"
    )


def test_what_was_not_run_is_said_once() -> None:
    claim = Claim("made", "", "", (more(NONE, BATCH), more(NONE, Term.of("l1", M))), experiment="e/f")
    two_rates = runs_of(TWICE | {"l2": TWICE["none"]}, keys={f"none-{seed}": {"optim.lr": 0.5} for seed in range(6)})
    (verdict,) = judge(two_rates, [claim])
    assert (verdict.word, verdict.setting, verdict.parts) == ("not run", "", ())
    assert "learning rate 0.5: no runs of batch; no runs of l1" in verdict.reason
    assert "learning rate 0.1: no runs of none; no runs of none and l1" in verdict.reason
    assert claim.command == "python -m experiments experiment=e/f"
    (nothing,) = judge(runs_of({"l2": {0: 1.0}}), [claim])
    assert (nothing.word, nothing.reason) == ("not run", "needs runs of none, batch, l1, 6 seeds")
    silent = only(runs_of(TWICE), more(NONE, Term.of("batch", final("accuracy", "test"))))
    assert (silent.word, silent.setting) == ("not run", "")
    assert silent.reason.endswith("no run of batch records accuracy on the test batch")
    anywhere = only(runs_of(TWICE), value(Term.of("none", over_training("gone", batch=None))))
    assert anywhere.reason.endswith("no run of none records gone")
    # where one setting has all, those that lack something are not told
    keys = {f"none-{seed}": {"optim.lr": 0.5} for seed in (7, 8, 9)}
    more_none = {**TWICE["none"], 7: 1.0, 8: 1.0, 9: 1.0}
    (verdict,) = judge(runs_of({**TWICE, "none": more_none}, keys=keys), [Claim("made", "", "", (more(NONE, BATCH),))])
    assert (verdict.word, verdict.seeds) == ("supported", 6)


def test_seeds_without_a_counterpart_are_named() -> None:
    apart = {"none": {0: 2.0, 1: 2.0, 2: 2.0}, "batch": {3: 1.0, 4: 1.0, 5: 1.0}}
    verdict = only(runs_of(apart), more(NONE, BATCH))
    assert (verdict.word, verdict.seeds) == ("undecided", 0)
    assert verdict.parts[0].notes == (
        "seed 0, 1, 2 of none has no counterpart, left out",
        "seed 3, 4, 5 of batch has no counterpart, left out",
    )


def test_arms_are_compared_at_the_levels_of_the_data_loss_that_both_reach_with_a_seed() -> None:
    """The slow arm comes down to 0.23, in seed 1 to 0.42 only; the quick one to 0.01, with twice the number there."""
    at_equal_loss = over_training("m", window=Levels(2.0, 0.1))
    rows, trained, facts = [], {}, {}
    for norm, speed, factor in (("none", 0.02, 1.0), ("batch", 0.1, 2.0)):
        for seed in range(4):
            run, speed_here = f"{norm}-{seed}", speed * (0.75 if seed == 1 and norm == "none" else 1.0)
            trained[run], facts[run] = {**BASE, "norm": norm}, {"seed": seed}
            for step in range(120):
                loss = 2.5 * math.exp(-speed_here * step)
                rows.append(row(run, step, "data_loss", loss, probe="training"))
                if seed < 3 or norm == "batch" or step % 15 == 0:  # seed 3: probed at too few steps
                    rows.append(row(run, step, "m", factor * (1 + seed / 10) * loss**2))
    claim = Claim("made", "", "", (more(Term.of("batch", at_equal_loss), Term.of("none", at_equal_loss), 1.5),))
    (verdict,) = judge(made(rows, trained, facts), [claim])
    assert (verdict.told, verdict.seeds) == ("leans: supported", 3)
    assert verdict.parts[0].outcome.each == pytest.approx([2.0] * 3, rel=1e-2)
    assert "1 seed without a finite number or with too few probed steps (fewer than 8)" in verdict.parts[0].notes
    # Fewest where both arms were, of the seeds that are judged (not 3): batch with seed 1, from 1.85 to 0.46, at 3 to
    # 17; none with seed 0, from 1.97 to 0.25, at 12 to 115.
    assert verdict.parts[0].probed == (15, 104)
    assert verdict.parts[0].probed_told == "probed steps in the window, at least: batch 15, none 104"
    squares = [4.0 * 2 ** (-k / 2) for k in range(13)]  # of the levels down to 0.25, in seed 1 to 0.42
    expected = [np.median(squares), 1.1 * np.median(squares[:10]), 1.2 * np.median(squares)]
    assert verdict.parts[0].medians[1] == pytest.approx(np.median(expected), rel=1e-2)


def test_what_cannot_be_tested_is_said_without_runs() -> None:
    verdict = only(runs_of(TWICE), untestable="nobody can")
    assert (verdict.word, verdict.reason, verdict.setting, verdict.seeds) == ("not testable", "nobody can", "", 0)
    assert verdict.claim.rule == "None: nobody can."
    assert judge(made([], {}), [Claim("made", "", "", (more(NONE, BATCH),))])[0].word == "not run"


def test_runs_that_have_not_ended_are_left_out_and_named() -> None:
    state = {"batch-1": "running", "batch-0": "interrupted", "none-2": "failed"}
    verdict = only(runs_of(TWICE, state=state), more(NONE, BATCH))
    assert (verdict.told, verdict.seeds) == ("interim: supported", 3)
    assert verdict.reason.endswith("seed 0, 1, 2 still to come")
    assert not verdict.decided
    assert verdict.parts[0].notes == ("1 of none not ended, left out", "2 of batch not ended, left out")


def test_diverged_runs_have_a_number_only_by_a_measures_own_rule() -> None:
    state = {f"none-{seed}": "diverged" for seed in range(6)}
    left_out = only(runs_of(TWICE, state=state), more(NONE, BATCH))
    assert (left_out.word, left_out.seeds) == ("undecided", 0)
    assert "6 of none diverged, left out" in left_out.parts[0].notes
    loss = final("m", "train")
    runs = runs_of(TWICE, state=state)
    counted = only(runs, more(Term.of("none", loss), Term.of("batch", loss), 999.0))
    assert (counted.word, counted.seeds) == ("supported", 6)
    assert counted.parts[0].outcome.effect == math.inf
    assert counted.parts[0].outcome.reason == "6 of 6 seeds are infinite"
    assert counted.parts[0].notes == ("6 of none diverged, counted as such",)


def test_of_the_test_set_it_is_said_which_statistics_were_taken() -> None:
    for batch, said in {"test": "on the test set by running statistics", "train": "", "test, population": ""}.items():
        measure = final("m", batch)
        part = Part(more(Term.of("none", measure), Term.of("batch", measure)), Outcome("not run"))
        assert part.statistics_told == said
        assert part_told(part)["notes"] == said


def test_seeds_without_a_number_are_counted_and_named() -> None:
    numbers = {"none": {**TWICE["none"], 6: math.nan}, "batch": {**TWICE["batch"], 6: 1.0}}
    verdict = only(runs_of(numbers), more(NONE, BATCH))
    assert (verdict.told, verdict.seeds) == ("supported", 6)
    assert verdict.parts[0].notes == ("1 seed without a finite number or with too few probed steps (fewer than 8)",)


def test_a_verdict_has_the_seeds_of_its_weakest_deciding_comparison() -> None:
    numbers = {
        **TWICE,
        "l1": dict.fromkeys(range(8), 1.0),
        "l2": dict.fromkeys(range(8), 2.0),
        "linf": {0: 1.0},
    }
    l1, l2, linf = (Term.of(norm, M) for norm in ("l1", "l2", "linf"))
    strong, weak, shown = more(l2, l1), more(NONE, BATCH), more(l2, linf, decides=False)
    verdict = only(runs_of(numbers), strong, weak, shown)
    assert [part.outcome.seeds for part in verdict.parts] == [8, 6, 1]
    assert (verdict.seeds, only(runs_of(numbers), strong, shown).seeds) == (6, 8)


def test_two_runs_of_a_seed_are_no_two_seeds() -> None:
    runs = runs_of({"none": TWICE["none"], "batch": {**TWICE["batch"], 9: 1.0}})
    runs.each.loc["batch-9", "seed"] = 1
    verdict = only(runs, more(NONE, BATCH))
    assert (verdict.word, verdict.reason) == (
        "undecided",
        "runs of seed 1 differ in nothing that is known: name one of them",
    )


def steps(every: int, at: dict[str, int | None]) -> Runs:
    """Six seeds of each normalisation that reach 90 % at this step (None: never), evaluated every so many."""
    trained, facts, rows = {}, {}, []
    for norm, reached in at.items():
        for seed in range(6):
            run = f"{norm}-{seed}"
            trained[run], facts[run] = {**BASE, "norm": norm}, {"seed": seed}
            learnt = math.inf if reached is None else reached + seed
            rows += [row(run, step, "accuracy", float(step >= learnt)) for step in range(0, 120, every)]
    return made(rows, trained, facts)


def ends(*numbers: float) -> tuple[float, float]:
    """Interval of six numbers: t by scipy, and their extremes."""
    low, high = stats.t.interval(0.96, 5, np.mean(numbers), stats.sem(numbers))
    return min(low, *numbers), max(high, *numbers)


def test_what_is_read_off_a_grid_lies_between_two_ends() -> None:
    """Evaluated every 10 steps, one that is seen at 80 came after 70, at 71 or later; evaluated at each, at 80."""
    speed = steps_to_learn()
    none, batch = Term.of("none", speed), Term.of("batch", speed)
    exact, coarse = (steps(every, {"none": 75, "batch": 35}) for every in (1, 10))
    outcome = only(exact, value(none, low=0.0)).parts[0].outcome
    assert outcome.each == (75, 76, 77, 78, 79, 80)
    assert (outcome.low, outcome.high) == pytest.approx(ends(*outcome.each))
    outcome = only(coarse, value(none, low=0.0)).parts[0].outcome
    assert outcome.each == (80,) * 6
    assert (outcome.low, outcome.high) == (71, 80)
    outcome = only(coarse, difference(none, batch, low=0.0)).parts[0].outcome
    assert (outcome.low, outcome.high, outcome.effect) == (71 - 40, 80 - 31, 40)
    outcome = only(coarse, more(none, batch, 71 / 40.01)).parts[0].outcome
    assert (outcome.low, outcome.high) == pytest.approx((71 / 40, 80 / 31))
    assert outcome.word == "supported"
    assert only(coarse, more(none, batch, 71 / 39.99)).word == "undecided"


def test_what_never_came_is_only_a_bound() -> None:
    speed = steps_to_learn()
    none, batch = Term.of("none", speed), Term.of("batch", speed)
    verdict = only(steps(1, {"none": None, "batch": 30}), more(none, batch, 3.0))
    outcome = verdict.parts[0].outcome
    assert verdict.told == "supported"
    assert outcome.high == math.inf
    assert outcome.low == pytest.approx(math.exp(ends(*(math.log(120 / (30 + s)) for s in range(6)))[0]))
    assert "6 of 6 seeds are only a bound" in verdict.reason
    assert only(steps(1, {"none": None, "batch": 30}), less(none, batch, 100.0)).word == "undecided"
    assert only(steps(1, {"none": None, "batch": None}), more(none, batch)).word == "undecided"


def test_fewer_seeds_than_six_are_no_verdict() -> None:
    words = {2: "undecided", 3: "leans: supported", 4: "leans: supported", 5: "provisional: supported"}
    for seeds, told in words.items():
        runs = runs_of({norm: {seed: own[seed] for seed in range(seeds)} for norm, own in TWICE.items()})
        verdict = only(runs, more(NONE, BATCH))
        assert (verdict.told, verdict.decided) == (told, False)
        assert table([verdict])["verdict"].tolist() == [told]
    assert only(runs_of(TWICE), more(NONE, BATCH)).decided
    assert only(runs_of(TWICE), more(NONE, BATCH), seeds=7).told == "provisional: supported"


def test_confirmatory_seeds_are_judged_by_themselves_once_there_are_six() -> None:
    """Seeds 0 to 5 say twice, seeds 10 to 15 half."""
    fresh = {"none": dict.fromkeys(range(10, 16), 1.0), "batch": dict.fromkeys(range(10, 16), 2.0)}
    both = {norm: {**TWICE[norm], **fresh[norm]} for norm in TWICE}
    verdict = only(runs_of(both), more(NONE, BATCH))
    assert (verdict.told, verdict.seeds, verdict.used) == ("contradicted", 6, tuple(range(10, 16)))
    assert table([verdict])["seeds_are"].tolist() == ["confirmatory"]
    (part,) = only(
        runs_of(both, probed={12: 10, **dict.fromkeys(set(fresh["none"]) - {12}, 11)}), more(NONE, BATCH)
    ).parts
    assert part.probed == (10, 10)  # of the seeds that are judged
    del both["none"][15]
    verdict = only(runs_of(both), more(NONE, BATCH))
    assert (verdict.told, verdict.seeds, verdict.used) == ("supported", 6, tuple(range(6)))
    assert table([verdict])["seeds_are"].tolist() == ["development"]
    assert only(runs_of(both), more(NONE, BATCH), seeds=11).seeds == 11
    words = {9: "development", 10: "confirmatory", 15: "confirmatory", 16: "development"}
    assert {seed: kind_of([seed]) for seed in words} == words
    assert (kind_of([9, 10]), kind_of([])) == ("both", "")


def test_interim_is_what_waits_for_seeds_that_would_be_judged() -> None:
    """Three development seeds have ended; a confirmatory one under way would not be judged with them."""
    for coming, told in ((10, "leans: supported"), (3, "interim: supported")):
        own = {norm: {seed: numbers.get(seed, 1.0) for seed in (0, 1, 2, coming)} for norm, numbers in TWICE.items()}
        verdict = only(runs_of(own, state={f"{norm}-{coming}": "running" for norm in own}), more(NONE, BATCH))
        assert (verdict.told, verdict.seeds, verdict.used) == (told, 3, (0, 1, 2) if coming == 10 else (0, 1, 2, 3))


def test_a_form_that_says_the_opposite_makes_it_depend_on_the_rule() -> None:
    numbers = {**TWICE, "l1": dict.fromkeys(range(6), 1e9)}
    other = Term.of("l1", M)
    against, with_it = less(NONE, BATCH, form="at equal step"), more(NONE, BATCH, form="in its own window")
    for forms, word in (((against,), "depends on the rule"), ((with_it,), "supported"), ((with_it, against),) * 2):
        word = word if isinstance(word, str) else "depends on the rule"
        verdict = only(runs_of(numbers), more(NONE, BATCH, forms=forms))
        assert verdict.word == word
        assert ("the opposite by at equal step" in verdict.reason) == (word != "supported")
        rows = table([verdict])
        assert rows["form"].tolist() == ["", *(form.form for form in forms)]
        assert rows["decides"].tolist() == [True, *(False for _ in forms)]
    unknown = more(NONE, BATCH, forms=(less(NONE, Term.of("gone", M), form="x"), more(other, NONE, form="y")))
    assert only(runs_of(numbers), unknown).word == "supported"
    assert (
        "depends on the rule where at equal step say the opposite"
        in Claim("c", "", "", (more(NONE, BATCH, forms=(against,)),)).rule
    )


def test_a_claim_that_needs_another_first_is_undecided_without_it() -> None:
    holds, fails = Claim("one", "", "", (more(NONE, BATCH),)), Claim("one", "", "", (less(NONE, BATCH),))
    second = Claim("two", "", "", (more(NONE, BATCH, 1.5),), needs_first=("one",))
    runs = runs_of(TWICE)
    assert [v.word for v in judge(runs, [second, holds])] == ["supported", "supported"]
    gated, _ = judge(runs, [second, fails])
    assert (gated.word, gated.reason.partition(";")[0]) == (
        "undecided",
        "asked only where one, which is contradicted here, is supported",
    )
    assert judge(runs, [second])[0].reason.startswith("asked only where one, which is not run here")
    assert "Judged only where one hold." in second.rule


def test_a_claim_by_other_keys_than_the_normalisation() -> None:
    keys = {f"batch-{seed}": {"model.width": 4.0 if seed < 6 else 1.0} for seed in range(12)}
    numbers = {"batch": {seed: 3.0 if seed < 6 else 1.0 for seed in range(12)}}
    runs = runs_of(numbers, keys=keys)
    runs.each["seed"] %= 6
    wide, narrow = (Term(Arm.of(name, {"model.width": w}), M) for name, w in (("wide", 4), ("narrow", 1)))
    verdict = only(runs, more(wide, narrow, 2.9))
    assert (verdict.word, verdict.seeds, verdict.parts[0].comparison.what) == ("supported", 6, "m, wide / narrow")


def test_the_table_of_the_ledger() -> None:
    claim = Claim("made", "so.", "me", (more(NONE, BATCH), value(NONE, high=1.0, low=-1.0)))
    verdicts = judge(runs_of(TWICE), [claim, Claim("no", "never.", "me", untestable="why")])
    rows = table(verdicts).to_dict("records")
    assert len(rows) == 3
    one = rows[0]
    assert (one["claim"], one["verdict"], one["outcome"], one["seeds"]) == ("made", verdicts[0].word, "supported", 6)
    assert (one["comparison"], one["scale"], one["region"], one["decides"]) == (
        "m, none / batch",
        "ratio",
        "above 1",
        True,
    )
    assert one["effect"] == pytest.approx(2.0)
    assert math.isnan(one["interval_low"])  # of equal numbers no width is known
    assert (one["each_seed"], one["measure"], one["source"]) == ("2 2 2 2 2 2", M.says, "me")
    assert one["probed_steps"] == "none 8, batch 8"
    assert one["line"] == "m: none 2 times batch (predicted: above 1 times), six of six seeds"
    assert rows[1]["interval_low"] < rows[1]["effect"] < rows[1]["interval_high"]
    assert rows[1]["line"] == "m of none: 12 (predicted: between -1 and 1), none of six seeds"
    assert (one["p"], rows[1]["p"] > one["p"]) == (pytest.approx(1 / 32), True)
    assert one["q"] == pytest.approx(stats.false_discovery_control([one["p"], rows[1]["p"]])[0])
    assert (rows[2]["verdict"], rows[2]["reason"]) == ("not testable", "why")
