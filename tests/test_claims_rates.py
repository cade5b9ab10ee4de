"""How often a verdict is wrong: many random draws without an effect, at the very edge of the region."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from analysis.claims import Region, decide

DRAWS = 4000
# three standard deviations of a rate of 5 %
ALLOWED = 0.05 + 3 * math.sqrt(0.05 * 0.95 / DRAWS)
PAIRED = {
    "normal": lambda g, n: g.normal(size=n),
    "log-normal": lambda g, n: np.exp(g.normal(size=n)) - np.exp(g.normal(size=n)),
    "uniform": lambda g, n: g.random(n) - g.random(n),
    "Laplace": lambda g, n: g.laplace(size=n),
    "heavy tails": lambda g, n: g.standard_t(2, n),
    "one side diverges at random": lambda g, n: 5.0 * (g.integers(0, 2, n) - g.integers(0, 2, n)),
}
SINGLE = {"normal": PAIRED["normal"], "exponential": lambda g, n: g.exponential(size=n) - 1}


@pytest.fixture
def no_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "_bootstrap", lambda numbers: (math.nan, math.nan))


def wrong_rate(draw: Callable[..., np.ndarray], seeds: int, region: Region, edge: float, **options: Any) -> float:
    """How often there is a verdict although the truth lies on the region's edge, where either is wrong."""
    generator = np.random.default_rng(0)
    words = [decide.decide(edge + draw(generator, seeds), region, "value", **options).word for _ in range(DRAWS)]
    return sum(word != "inconclusive" for word in words) / DRAWS


@pytest.mark.usefixtures("no_bootstrap")
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("law", PAIRED)
def test_wrong_verdicts_of_paired_comparisons_are_below_5_percent(law: str, seeds: int) -> None:
    assert wrong_rate(PAIRED[law], seeds, Region(low=0.0), 0.0, paired=True) <= ALLOWED


@pytest.mark.usefixtures("no_bootstrap")
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("law", SINGLE)
def test_wrong_verdicts_against_a_threshold_are_below_5_percent(law: str, seeds: int) -> None:
    assert wrong_rate(SINGLE[law], seeds, Region(high=0.5), 0.5, paired=False) <= ALLOWED


@pytest.mark.usefixtures("no_bootstrap")
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("spread", [0.2, 0.5, 1.0])
def test_wrong_verdicts_from_numbers_on_a_grid_are_below_5_percent(spread: float, seeds: int) -> None:
    """Steps read every so often: without the floor under the deviation, equal readings look certain."""

    def draw(generator: np.random.Generator, n: int) -> np.ndarray:
        place = generator.random()  # where the grid lies
        return np.round(place + spread * generator.normal(size=n)) - np.round(place + spread * generator.normal(size=n))

    assert wrong_rate(draw, seeds, Region(low=0.0), 0.0, paired=True, resolution=1.0) <= ALLOWED


@pytest.mark.usefixtures("no_bootstrap")
@pytest.mark.parametrize("seeds", [3, 5])
def test_wrong_verdicts_of_equivalence_are_below_5_percent(seeds: int) -> None:
    region = Region(-0.5, 0.5)
    tight = wrong_rate(lambda g, n: 0.05 * g.normal(size=n), seeds, region, 0.5, paired=True)
    wide = wrong_rate(PAIRED["normal"], seeds, region, 0.5, paired=True)
    assert max(tight, wide) <= ALLOWED


@pytest.mark.usefixtures("no_bootstrap")
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("together", [2, 9])
def test_wrong_verdicts_of_claims_of_several_comparisons_are_below_5_percent(together: int, seeds: int) -> None:
    generator = np.random.default_rng(0)
    wrong = 0
    for _ in range(DRAWS // 4):
        numbers = generator.normal(size=(together, seeds))
        parts = [decide.decide(n, Region(low=0.0), "value", paired=True, together=together) for n in numbers]
        wrong += decide.worst([part.word for part in parts]) != "inconclusive"
    assert wrong / (DRAWS // 4) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / (DRAWS // 4))


@pytest.mark.usefixtures("no_bootstrap")
@pytest.mark.parametrize(("seeds", "found"), [(3, 0.55), (5, 0.99)])
def test_an_effect_of_four_deviations_is_found(seeds: int, found: float) -> None:
    generator = np.random.default_rng(0)
    words = [
        decide.decide(4 + generator.normal(size=seeds), Region(low=0.0), "value", paired=True).word for _ in range(1000)
    ]
    assert words.count("supported") / 1000 > found
    assert words.count("contradicted") == 0


def test_intervals_against_plain_formulas() -> None:
    numbers = np.log([2.0, 3.0, 2.5, 4.0])
    outcome = decide.decide(numbers, Region(low=1.0), "ratio", paired=True)
    assert outcome.effect == pytest.approx(math.exp(numbers.mean()))
    # Student's t at 0.98, three degrees of freedom: 3.4819
    half = 3.4819 * numbers.std(ddof=1) / 2
    assert (outcome.low, outcome.high) == pytest.approx(
        (math.exp(numbers.mean() - half), math.exp(numbers.mean() + half)), rel=1e-3
    )
    assert 2.0 < outcome.bootstrap_low < outcome.effect < outcome.bootstrap_high < 4.0
    assert outcome.word == "supported"
    assert outcome.each == pytest.approx((2.0, 3.0, 2.5, 4.0))


def test_equal_and_infinite_numbers_have_intervals_too() -> None:
    same = decide.decide(np.zeros(3), Region(low=0.0), "value", paired=True)
    assert (same.word, same.low, same.high, same.bootstrap_low) == ("inconclusive", 0.0, 0.0, 0.0)
    endless = decide.combine(np.array([np.inf, 1.0, 0.0]), np.array([1.0, 1.0, 0.0]), "ratio")
    assert np.exp(endless[:2]) == pytest.approx([1000.0, 1.0])
    assert math.isnan(endless[2])
