"""From numbers over seeds to a word: every kind of measure against scipy's own tests, brute force, and by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.decide import (
    DIFFERENCE,
    RATIO,
    VALUE,
    Count,
    Fraction,
    Identity,
    Kind,
    Outcome,
    RankOverFamilies,
    Region,
    Spread,
    Word,
    expected_wrong,
    over_settings,
    q_values,
    standing,
    told,
    typical,
    whole,
)
from analysis.decide.outcome import STANDING_WORDS
from analysis.decide.ranks import p_permuted


def term(*numbers: float, low: Sequence[float] | None = None, high: Sequence[float] | None = None) -> pd.DataFrame:
    """A term's numbers by seed, as `BySeed.by_seed` gives them."""
    own = np.array(numbers, dtype=float)
    return pd.DataFrame({"number": own, "low": own if low is None else low, "high": own if high is None else high})


def outcome(kind: Kind, region: Region, *terms: pd.DataFrame, together: int = 1, smallest: float = 0.0) -> Outcome:
    """Without a smallest effect, unless one is given."""
    size = smallest or (1.0 if kind.unit == "ratio" else 0.0)
    return kind.decide(terms, region, size, together)


# ---------------------------------------------------------------------------------------------------- the typical seed


def interval(numbers: np.ndarray, level: float = 0.96) -> tuple[float, float]:
    """The wider of scipy's t-interval and its interval of a quantile (of few seeds the extremes)."""
    low, high = stats.t.interval(level, len(numbers) - 1, np.mean(numbers), stats.sem(numbers))
    below, above = (stats.quantile_test(numbers, q=0, p=0.5, alternative=a) for a in ("less", "greater"))
    ends = below.confidence_interval(0.98).high, above.confidence_interval(0.98).low
    extremes = (max(numbers), min(numbers))
    most, least = (end if math.isfinite(end) else extreme for end, extreme in zip(ends, extremes, strict=True))
    return min(low, least), max(high, most)


@pytest.mark.parametrize("seeds", [3, 4, 5, 6, 8, 9, 12, 20])
@pytest.mark.parametrize("shape", ["normal", "exponential"])
def test_the_interval_is_the_wider_of_two(shape: str, seeds: int) -> None:
    """Of t and of order statistics, each by scipy; a region's end a thousandth inside or outside of it decides."""
    numbers = getattr(np.random.default_rng(seeds), shape)(size=seeds)
    low, high = interval(numbers)
    found = outcome(VALUE, Region(low=0.0), term(*numbers))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.effect == np.median(numbers)
    width = high - low
    for region, word in (
        (Region(low - width / 1000, high + width / 1000), "supported"),
        (Region(low=low - width / 1000), "supported"),
        (Region(high=high + width / 1000), "supported"),
        (Region(low + width / 1000, high + 1), "undecided"),
        (Region(low - 1, high - width / 1000), "undecided"),
        (Region(high=low - width / 1000), "contradicted"),
        (Region(low=high + width / 1000), "contradicted"),
        (Region(high + width / 1000, high + width), "contradicted"),
        (Region(low=high - width / 1000), "undecided"),
    ):
        found = outcome(VALUE, region, term(*numbers))
        assert found.word == word, region
        if seeds >= 6:
            assert (found.p <= 0.04) == (word != "undecided"), region


@pytest.mark.parametrize("seeds", [4, 6, 9])
def test_the_least_level_is_that_of_the_two_tests(seeds: int) -> None:
    numbers = np.random.default_rng(seeds).normal(0.6, 0.5, seeds)
    t = stats.ttest_1samp(numbers, 0.1, alternative="greater").pvalue
    sign = stats.binomtest(int((numbers > 0.1).sum()), seeds, alternative="greater").pvalue
    assert outcome(VALUE, Region(low=0.1), term(*numbers)).p == pytest.approx(min(1, 2 * max(t, sign)))
    assert outcome(VALUE, Region(high=0.1), term(*numbers)).p == pytest.approx(min(1, 2 * max(t, sign)))


def test_a_seed_at_the_edge_itself_is_not_above_it() -> None:
    numbers = np.array([0.1, *np.linspace(0.98, 1.02, 8)])
    sign = stats.binomtest(8, 9, alternative="greater").pvalue
    assert stats.ttest_1samp(numbers, 0.1, alternative="greater").pvalue < sign, "the sign test is to be the greater"
    assert outcome(VALUE, Region(low=0.1), term(*numbers)).p == pytest.approx(2 * sign)
    assert outcome(VALUE, Region(high=-0.1), term(*-numbers)).p == pytest.approx(2 * sign)


@pytest.mark.parametrize("together", [2, 9])
def test_of_several_comparisons_the_t_interval_shares_its_level(together: int) -> None:
    numbers = np.random.default_rng(2).uniform(-1.0, 1.0, 6)
    low, high = stats.t.interval(1 - 0.04 / together, 5, np.mean(numbers), stats.sem(numbers))
    assert low < min(numbers), "the t-interval is to be the wider one"
    for end, shared in ((low - 1e-6, True), (low + 1e-6, False)):
        found = outcome(VALUE, Region(high=end), term(*numbers), together=together)
        assert (found.shared, found.word in ("contradicted", "undecided")) == (shared, True)
    assert outcome(VALUE, Region(low=high + 1e-6), term(*numbers), together=together).shared
    assert outcome(VALUE, Region(high=low - 1e-6), term(*numbers), together=together).low == interval(numbers)[0]


def test_ratios_are_decided_on_their_logarithms_in_pairs() -> None:
    a, b = np.array([2.0, 4.4, 10.0, 15.2, 30.0, 70.0]), np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    low, high = np.exp(interval(np.log(a / b)))
    terms = [term(*a), term(*b)]
    found = outcome(RATIO, Region(low=1.0), *terms)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.effect == pytest.approx(math.exp(np.median(np.log(a / b))))
    assert found.each == pytest.approx(a / b)
    for region, word in (
        (Region(low=low * 0.999), "supported"),
        (Region(low=low * 1.001), "undecided"),
        (Region(0.0, high * 1.001), "supported"),
        (Region(high=0.0), "contradicted"),
        (Region(low=-1.0), "supported"),
        (Region(high=low * 0.999), "contradicted"),
    ):
        assert outcome(RATIO, region, *terms).word == word, region
    shuffled = [one.sample(frac=1, random_state=i) for i, one in enumerate(terms)]
    assert outcome(RATIO, Region(low=1.0), *shuffled).each == pytest.approx(a / b)


def test_differences_are_those_of_pairs() -> None:
    generator = np.random.default_rng(3)
    a, b = generator.normal(1, 1, 7), generator.normal(0, 1, 7)
    found = outcome(DIFFERENCE, Region(low=0.0), term(*a), term(*b))
    assert (found.low, found.high) == pytest.approx(interval(a - b))
    assert found.effect == pytest.approx(np.median(a - b))


def test_a_composite_is_the_mean_of_the_logarithms() -> None:
    generator = np.random.default_rng(4)
    pairs = np.exp(generator.normal(0.5, 0.4, (3, 2, 6)))
    logs = np.mean(np.log(pairs[:, 0] / pairs[:, 1]), axis=0)
    found = outcome(RATIO, Region(low=1.0), *(term(*own) for pair in pairs for own in pair))
    assert (found.low, found.high) == pytest.approx(np.exp(interval(logs)))
    assert found.each == pytest.approx(np.exp(logs))
    differences = np.mean(pairs[:, 0] - pairs[:, 1], axis=0)
    found = outcome(DIFFERENCE, Region(low=1.0), *(term(*own) for pair in pairs for own in pair))
    assert (found.low, found.high) == pytest.approx(interval(differences))


def test_no_difference_is_told_by_two_one_sided_tests() -> None:
    """A thousandth within the smallest effect; where equality is what is predicted, it supports."""
    numbers = np.random.default_rng(5).normal(0.02, 0.05, 6)
    low, high = interval(numbers)
    size = max(-low, high)
    assert low < 0 < high
    for smallest, word in ((size * 1.001, "no difference"), (size * 0.999, "undecided")):
        for region in (Region(low=0.0), Region(high=0.0), Region(low=-0.0)):
            assert DIFFERENCE.decide([term(*numbers), term(*[0.0] * 6)], region, smallest).word == word
        ratio = RATIO.decide([term(*np.exp(numbers)), term(*[1.0] * 6)], Region(low=2.0), math.exp(smallest))
        assert ratio.word == ("no difference" if word == "no difference" else "contradicted")
    assert DIFFERENCE.decide([term(*numbers), term(*[0.0] * 6)], Region(-1.0, 1.0), 2.0).word == "supported"
    assert DIFFERENCE.decide([term(*numbers), term(*[0.0] * 6)], Region(low=0.0)).word == "undecided"
    assert VALUE.decide([term(*numbers)], Region(low=0.0), 9.0).word == "undecided"
    assert RATIO.smallest == 1.25
    near = np.exp([0.1, 0.15, 0.12, 0.14, 0.11, 0.13])
    assert RATIO.decide([term(*near), term(*[1.0] * 6)], Region(low=1.0)).word == "no difference"


def test_what_is_read_off_a_grid_is_judged_at_both_ends() -> None:
    low, high = np.array([8, 9, 11, 10, 9, 10.0]), np.array([10, 12, 13, 12, 13, 12.0])
    other = term(*high / 2, low=low / 2, high=high / 2)
    both = interval(low)[0], interval(high)[1]
    found = outcome(VALUE, Region(low=0.0), term(*high, low=low, high=high))
    assert (found.low, found.high, found.effect) == pytest.approx((*both, np.median(high)))
    found = outcome(RATIO, Region(low=0.0), term(*high, low=low, high=high), other)
    logs = np.log(low / (high / 2)), np.log(high / (low / 2))
    assert (found.low, found.high) == pytest.approx((math.exp(interval(logs[0])[0]), math.exp(interval(logs[1])[1])))
    assert found.each == pytest.approx([2.0] * 6)
    found = outcome(DIFFERENCE, Region(low=0.0), term(*high, low=low, high=high), other)
    ends = low - high / 2, high - low / 2
    assert (found.low, found.high) == pytest.approx((interval(ends[0])[0], interval(ends[1])[1]))


def test_a_bound_has_no_other_end() -> None:
    numbers = [10.0, 12.0, 11.0, 13.0, 9.0, 10.0]
    high = [10.0, 12.0, math.inf, 13.0, 9.0, math.inf]
    found = outcome(VALUE, Region(low=0.0), term(*numbers, high=high))
    assert (found.low, found.high) == pytest.approx((interval(np.array(numbers))[0], math.inf))
    assert (found.word, found.reason) == ("supported", "2 of 6 seeds are only a bound")
    assert outcome(VALUE, Region(high=100.0), term(*numbers, high=high)).word == "undecided"
    assert outcome(VALUE, Region(high=1.0), term(*numbers, high=high)).word == "contradicted"


def test_infinite_numbers_are_neither_left_out_nor_clipped() -> None:
    """The order statistics alone decide: of six seeds all, of nine all but one."""
    some = [1.1, 1.2, 1.05, 1.3, math.inf, math.inf]
    found = outcome(VALUE, Region(low=1.0), term(*some))
    assert (found.word, found.low, found.high, found.effect) == ("supported", 1.05, math.inf, 1.25)
    assert found.reason == "2 of 6 seeds are infinite"
    assert outcome(VALUE, Region(high=2.0), term(*some)).word == "undecided"
    assert outcome(VALUE, Region(low=2.0), term(*[math.inf] * 6)).word == "supported"
    assert outcome(VALUE, Region(high=2.0), term(*[math.inf] * 6)).word == "contradicted"
    assert outcome(RATIO, Region(low=1.0), term(*[math.inf] * 6), term(*[1.0] * 6)).word == "supported"
    assert outcome(RATIO, Region(high=0.5), term(*[0.0] * 6), term(*[1.0] * 6)).word == "supported"
    nine = [0.5, *[math.inf] * 8]
    assert outcome(VALUE, Region(low=1.0), term(*nine)).word == "supported"
    assert outcome(VALUE, Region(low=1.0), term(0.5, *nine)).word == "undecided"  # two of ten are too many
    assert outcome(VALUE, Region(low=1.0), term(*nine[:8])).word == "undecided"


def test_equal_numbers_have_no_width_and_decide_by_their_side_alone() -> None:
    found = outcome(VALUE, Region(low=0.0), term(*[0.3] * 6))
    assert (found.word, math.isnan(found.low), math.isnan(found.high)) == ("supported", True, True)
    assert found.reason == "all seeds have the same number, so that no width is known"
    assert found.p == pytest.approx(2 / 64)
    assert outcome(VALUE, Region(low=0.3), term(*[0.3] * 6)).word == "undecided"
    nearly = [0.1 + 0.2, 0.3, 0.3, 0.3, 0.3, 0.3]
    assert math.isnan(outcome(VALUE, Region(low=0.0), term(*nearly)).low)


def test_seeds_that_have_no_number_do_not_count() -> None:
    a = term(2.0, math.nan, 0.0, math.inf, -1.0, 3.0, 2.0, 2.5)
    b = term(1.0, 1.0, 0.0, math.inf, 1.0, 1.0, 1.0, 1.0)
    found = outcome(RATIO, Region(low=1.0), a, b)
    assert (found.seeds, found.without, found.each) == (4, 4, pytest.approx((2.0, 3.0, 2.0, 2.5)))
    assert outcome(RATIO, Region(low=1.0), a.iloc[:4], b.iloc[3:]).seeds == 0
    assert outcome(RATIO, Region(low=1.0), a.iloc[:4], b.iloc[3:]).reason == "no seed has a number"
    two = outcome(VALUE, Region(low=0.0), term(1.0, math.nan, 1.1))
    assert (two.word, two.seeds, two.reason, two.effect) == ("undecided", 2, "2 seeds: 3 lean, 6 decide", 1.05)
    assert math.isnan(two.low)


@pytest.mark.parametrize("mean", [0.1, 0.2, 0.3, 0.5])
def test_the_seeds_that_would_decide(mean: float) -> None:
    """The fewest whose t-interval would be narrow enough and whose sign test would hold, at this share, by scipy."""
    z = np.array([-1.0, 1.0, -0.5, 0.5, -2.0, 2.0])
    numbers = mean + 0.3 * z / z.std(ddof=1)

    def enough(own: np.ndarray, edge: float) -> Iterator[bool]:
        """For 6, 7, ... 100 seeds."""
        for seeds in range(6, 101):
            off = math.ceil((own <= edge).mean() * seeds - 1e-9)
            narrow = float(stats.t.ppf(0.98, seeds - 1)) * 0.3 / math.sqrt(seeds) < own.mean() - edge
            yield bool(narrow and stats.binom.cdf(off, seeds, 0.5) <= 0.02)

    def fewest(*held: Iterator[bool]) -> int:
        return next((seeds for seeds, all_held in enumerate(zip(*held, strict=True), 6) if all(all_held)), 0)

    for region, expected in (
        (Region(low=0.0), fewest(enough(numbers, 0.0))),
        (Region(high=0.0), fewest(enough(numbers, 0.0))),
        (Region(-1.0, mean + 0.2), fewest(enough(-numbers, -mean - 0.2), enough(numbers, -1.0))),
    ):
        found = outcome(VALUE, region, term(*numbers))
        assert (found.word != "undecided") == (expected == 6)
        assert found.enough == (0 if expected == 6 else expected)
        if expected > 6:
            assert f"{expected} seeds would decide" in found.reason
    far = outcome(VALUE, Region(low=mean - 1e-3), term(*numbers))
    assert (far.enough, far.reason.partition(":")[0]) == (0, "not even 100 seeds would decide at the spread seen")
    alike = DIFFERENCE.decide([term(*(numbers - mean)), term(*[0.0] * 6)], Region(low=0.0), 0.4)
    assert alike.enough == fewest(enough(numbers - mean, -0.4), enough(mean - numbers, -0.4))
    assert outcome(VALUE, Region(low=0.0), term(*numbers[:2])).enough == 6


def test_no_fewer_seeds_than_there_are_would_decide() -> None:
    """The middles of these ends would decide with six seeds."""
    middles = np.linspace(1.0, 2.0, 9)
    found = outcome(VALUE, Region(low=0.0), term(*middles, low=list(middles - 2), high=list(middles + 2)))
    assert (found.word, found.enough) == ("undecided", 9)


def test_the_sign_test_is_that_of_98_percent() -> None:
    for seeds in range(1, 40):
        allowed = [k for k in range(seeds) if stats.binom.cdf(k, seeds, 0.5) <= 0.02]
        assert typical.off_side(seeds) == max(allowed, default=0)


# --------------------------------------------------------------------------------------------------- counts, identities


@pytest.mark.parametrize("n", [6, 7, 12])
def test_counts_have_the_exact_interval(n: int) -> None:
    for k in range(n + 1):
        numbers = [1.0] * k + [0.25] * (n - k)
        found = Count(0.25, "trains").decide([term(*numbers, math.nan)], Region(low=0.5))
        exact = stats.binomtest(k, n).proportion_ci(0.96, "exact")
        assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
        assert (found.effect, found.seeds, found.without) == (k / n, n, 1)
        above = stats.binomtest(k, n, 0.5, "greater").pvalue
        below = stats.binomtest(k, n, 0.5, "less").pvalue
        word = "supported" if above <= 0.02 else "contradicted" if below <= 0.02 else "undecided"
        assert (found.word, found.p) == (word, pytest.approx(min(1.0, 2 * min(above, below))))
        other = Count(0.25, "trains").decide([term(*numbers)], Region(high=0.5))
        assert other.word == {"supported": "contradicted", "contradicted": "supported"}.get(word, word)
        if word == "undecided":
            decide_at = [m for m in range(n + 1, 101) if binomial_decides(round(k / n * m), m)]
            assert found.enough == (decide_at[0] if decide_at else 0)
            assert found.reason.startswith(f"{found.enough} seeds" if decide_at else "not even 100 seeds")


def binomial_decides(k: int, n: int) -> bool:
    """Whether the exact interval of a share leaves a half out."""
    ends = stats.binomtest(k, n).proportion_ci(0.96, "exact")
    return bool(ends.low > 0.5 or ends.high < 0.5)


def test_few_seeds_that_agree_lean() -> None:
    kind = Count(0.5, "trains")
    words = [kind.decide([term(*[1.0] * n)], Region(low=0.5)).word for n in range(2, 7)]
    assert words == ["undecided", *["supported"] * 4]
    assert kind.decide([term(0.0, 0.0, 0.0)], Region(low=0.5)).word == "contradicted"
    assert kind.decide([term(1.0, 1.0, 0.0)], Region(low=0.5)).word == "undecided"
    assert kind.decide([term(math.nan)], Region(low=0.5)).reason == "no seed has a number"


def test_an_identity_holds_in_every_seed_or_fails() -> None:
    region = Region(high=1e-6)
    assert Identity().decide([term(1e-9, 1e-7)], region).word == "identity holds"
    found = Identity().decide([term(1e-9, 1e-5, 1e-9, math.nan)], region)
    assert (found.word, found.effect, found.without) == ("identity fails", 1e-9, 1)
    assert Identity().decide([term(math.nan)], region).word == "undecided"
    lost = Identity().decide([term(1e-9, math.nan, 1e-7)], region)  # of one seed it is not known whether it holds
    assert (lost.word, lost.seeds, lost.without, lost.reason) == ("undecided", 2, 1, "1 of 3 seeds have no number")


# ------------------------------------------------------------------------------------------------------------- fraction


def fieller_by_search(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The quotients that a t-test of the contrast does not reject, on a fine grid."""
    grid = np.linspace(-3, 3, 24001)
    kept = grid[stats.ttest_1samp(x[:, None] - grid * y[:, None], 0.0).pvalue > 0.04]
    return float(kept.min()), float(kept.max())


def test_a_fraction_is_judged_by_its_contrast() -> None:
    generator = np.random.default_rng(6)
    b = generator.normal(0.5, 0.02, 6)
    c = b + generator.normal(0.4, 0.05, 6)
    a = b + generator.normal(0.28, 0.03, 6)
    terms = [term(*a), term(*b), term(*c)]
    found = Fraction().decide(terms, Region(low=0.5))
    assert found.effect == pytest.approx((a - b).mean() / (c - b).mean())
    assert (found.low, found.high) == pytest.approx(fieller_by_search(a - b, c - b), abs=3e-4)
    for f in np.linspace(0.3, 1.1, 33):
        low, high = interval(a - b - f * (c - b))
        words = "supported" if low > 0 else "contradicted" if high < 0 else "undecided"
        assert Fraction().decide(terms, Region(low=f)).word == words, f
        assert Fraction().decide(terms, Region(high=f)).word == (
            {"supported": "contradicted", "contradicted": "supported"}.get(words, words)
        )
    assert Fraction().decide(terms, Region(0.3, 1.1)).word == "supported"
    assert Fraction().decide(terms, Region(1.05, 1.5)).word == "contradicted"
    assert Fraction().decide(terms, Region(0.1, 0.3)).word == "contradicted"


def test_where_there_is_no_gap_there_is_nothing_to_recover() -> None:
    c = [0.5, -0.5, 0.1, -0.1, 0.2, 0.3]
    found = Fraction().decide([term(*[9.0] * 6), term(*[0.0] * 6), term(*c)], Region(low=0.5))
    assert (found.word, found.reason.partition(":")[0]) == ("undecided", "no gap to measure in")
    two = Fraction().decide([term(1.0, 1.0), term(0.0, 0.0), term(1.0, 2.0)], Region(low=0.5))
    assert two.reason == "2 seeds: 3 lean, 6 decide"


# ------------------------------------------------------------------------------------------------------- spread, ranks


def test_spread_is_brown_and_forsythes_test() -> None:
    generator = np.random.default_rng(7)
    a, b = generator.normal(0, 2.0, 24), generator.normal(5, 1.0, 22)
    found = Spread().decide([term(*a, math.nan), term(*b)], Region(low=1.0))
    assert found.p == pytest.approx(stats.levene(a, b, center="median").pvalue)
    assert (found.word, found.without) == ("supported", 1)
    assert Spread().decide([term(*a), term(*b)], Region(high=1.0)).word == "contradicted"
    assert Spread().decide([term(*b), term(*a)], Region(low=1.0)).word == "contradicted"
    assert Spread().decide([term(*a), term(*b)], Region(low=found.effect)).word == "undecided"
    assert Spread().decide([term(*a), term(*b)], Region(0.1, 10.0)).word == "supported"
    assert Spread().decide([term(*a[:19]), term(*b)], Region(low=1.0)).reason == "19 seeds, 20 are needed"
    assert Spread().decide([term(*a, math.inf), term(*b)], Region(low=1.0)).word == "undecided"


def test_ranks_are_permuted_over_families() -> None:
    x = np.array([1.0, 2.0, 2.5, 3.0, 4.0, 5.0, 5.5])
    y = np.array([2.0, 1.0, 3.5, 3.0, 5.0, 6.0, 7.0])
    families = ("a", "a", "b", "c", "d", "e", "f")
    terms = [term(own, own + 0.1, own - 0.1) for pair in zip(x, y, strict=True) for own in pair]
    kind = RankOverFamilies(families)
    found = kind.decide(terms, Region(low=0.5))
    assert found.effect == pytest.approx(stats.spearmanr(x, y).statistic)
    own = np.array(families)
    left = [stats.spearmanr(x[own != name], y[own != name]).statistic for name in "abcdef"]
    assert (found.low, found.high) == pytest.approx((min(left), max(left)))
    assert found.word == "supported"
    assert kind.decide(terms, Region(low=min(left) + 0.01)).word == "undecided"
    flipped = [term(-one["number"].iloc[0]) if place % 2 else one for place, one in enumerate(terms)]
    assert kind.decide(flipped, Region(low=0.5)).word == "contradicted"
    alone = tuple("abcdefg")
    exact = stats.permutation_test(
        (x,), lambda z: stats.spearmanr(z, y).statistic, permutation_type="pairings", alternative="greater"
    )
    assert p_permuted(x, y, np.array(alone)) == pytest.approx(exact.pvalue)
    four = RankOverFamilies(("a", "a", "a", "b", "c", "d", "d"))
    assert four.decide(terms, Region(low=0.5)).reason == "4 families, 5 are needed"
    noise = [one if place % 2 == 0 else terms[place * 5 % 14 | 1] for place, one in enumerate(terms)]
    assert kind.decide(noise, Region(low=-0.99)).word == "undecided"


# ---------------------------------------------------------------------------------------------------------------- words


def test_the_word_of_a_claim() -> None:
    """By brute force over all sets of words, from what each word means."""
    words = [word for word in get_args(Word) if word != "mixed"]
    for count in (1, 2, 3):
        for some in itertools.product(words, repeat=count):
            for shared in (False, True):
                parts = [Outcome(word, shared=shared and word == "contradicted") for word in some]
                there = set(some)
                failed = there == {"contradicted"} or (shared and "contradicted" in there)
                if "supported" in there and (failed or "no difference" in there):
                    expected = "mixed"
                elif failed or there == {"contradicted", "no difference"}:
                    expected = "contradicted"
                elif there & {"not testable", "not run", "depends on the rule", "undecided", "contradicted"}:
                    expected = next(
                        (w for w in ("not testable", "not run", "depends on the rule") if w in there), "undecided"
                    )
                elif "identity fails" in there:
                    expected = "identity fails"
                elif "no difference" in there:
                    expected = "no difference"
                else:
                    expected = some[0]
                assert whole(parts) == expected, (some, shared)


def test_standings() -> None:
    assert [standing(seeds) for seeds in range(3, 8)] == ["leans", "leans", "provisional", "", ""]
    assert [standing(seeds, 20) for seeds in (4, 5, 19, 20)] == ["leans", "provisional", "provisional", ""]
    assert told("supported", "leans") == "leans: supported"
    assert told("undecided", "leans") == "undecided"
    assert {word for word in get_args(Word) if told(word, "interim") != word} == set(STANDING_WORDS)


def test_what_is_said_of_many() -> None:
    assert [expected_wrong(n) for n in (0, 1, 25, 26, 50)] == [0, 1, 1, 2, 2]
    p = [0.01, math.nan, 0.03, 0.2]
    assert q_values(p) == pytest.approx([0.03, math.nan, 0.045, 0.2], nan_ok=True)
    assert q_values(p)[[0, 2, 3]] == pytest.approx(stats.false_discovery_control([0.01, 0.03, 0.2]))
    assert len(q_values([])) == 0
    effects = [1.0, 2.0, 2.5, 1.5, 3.0]
    logs = np.log(effects)
    expected = stats.t.interval(0.96, 4, np.mean(logs), stats.sem(logs))
    assert over_settings(effects, log=True) == pytest.approx(np.exp(expected))
    expected = stats.t.interval(0.96, 4, np.mean(effects), stats.sem(effects))
    assert over_settings(effects, log=False) == pytest.approx(expected)
    for few in (effects[:4], [*effects, math.inf], [1.0] * 5):
        assert np.isnan(over_settings(few, log=True)).all()


@pytest.mark.parametrize(
    ("kind", "measures", "arms", "found", "line"),
    [
        (RATIO, ["m", "m"], ["a", "b"], Outcome("supported", 6, 140.0), "m: a 140 times b"),
        (RATIO, ["m", "n"], ["a", "a"], Outcome("supported", 6, 0.5), "a: m 0.5 times n"),
        (RATIO, ["m", "n"], ["a", "b"], Outcome("supported", 6, math.inf), "m of a ∞ times n of b"),
        (RATIO, ["m", "m", "n", "n"], ["a", "b"] * 2, Outcome("supported", 6, 2.0), "m, n together: a 2 times b"),
        (DIFFERENCE, ["m", "m"], ["a", "b"], Outcome("supported", 6, -0.0123), "m: a 0.0123 below b"),
        (VALUE, ["m"], ["a"], Outcome("supported", 6, -12345.0), "m of a: −12345"),
        (Count(0.5, "learns"), ["m"], ["a"], Outcome("undecided", 3, each=(1.0, 0.0, 1.0)), "a learns in 2 of 3 seeds"),
        (Identity(), ["m"], ["a"], Outcome("identity holds", 3, 1e-9), "m of a: 1e−09 in the median seed"),
        (Fraction(), ["m"] * 3, list("abc"), Outcome("supported", 6, 0.7), "m: a lies 70 % of the way from b to c"),
        (Spread(), ["m"] * 2, ["a", "b"], Outcome("supported", 20, 2.0), "spread over seeds of m: a 2 times b"),
        (
            RankOverFamilies(("f",) * 2),
            ["x", "y"] * 2,
            ["a", "a", "b", "b"],
            Outcome("supported", 6, 0.8),
            "rank correlation of y with x: 0.8 over 2 arms",
        ),
    ],
)  # fmt: skip
def test_every_kind_tells_what_came_out(
    kind: Kind, measures: list[str], arms: list[str], found: Outcome, line: str
) -> None:
    assert kind.line(measures, arms, found) == line
    assert kind.says
