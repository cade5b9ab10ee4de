"""The small picture of a comparison, and numbers for people."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest

from analysis import forest
from analysis.claims import Comparison, Term
from analysis.decide import DIFFERENCE, RATIO, Kind, Outcome, Region
from analysis.ledger import Part
from analysis.measures import steps_to_learn


def picture(numbers: list[float], region: Region, kind: Kind = RATIO) -> str:
    term = Term.of("batch", steps_to_learn())
    comparison = Comparison((term, Term.of("none", term.measure)), region, kind)
    none = math.exp(0) if kind == RATIO else 0.0
    a = np.exp(numbers) if kind == RATIO else np.array(numbers)
    terms = [pd.DataFrame({"number": own, "low": own, "high": own}) for own in (a, np.full(len(a), none))]
    return forest.picture(Part(comparison, kind.decide(terms, region)))


@pytest.mark.parametrize(
    "numbers",
    [
        [0.1, 0.2, 0.3],
        [0.0, 0.0, 0.0],
        [-6.9, 6.9, 6.9],
        [1e-9, 2e-9, 3e-9],
        [5.0],
        [0.1, 50.0, -50.0],
        [0.1, math.inf],
    ],
)
@pytest.mark.parametrize("region", [Region(low=1.0), Region(high=0.5), Region(0.5, 2.0)])
@pytest.mark.parametrize("kind", [RATIO, DIFFERENCE], ids=["ratio", "difference"])
def test_the_small_picture_stays_in_its_frame(numbers: list[float], region: Region, kind: Kind) -> None:
    drawn = picture(numbers, region, kind)
    assert drawn.count("<circle") == len(numbers)
    places = [float(x) for x in re.findall(r'(?:cx|x1|x2|x)="([-\d.naif]+)"', drawn)]
    assert all(0 <= x <= forest.WIDTH for x in places)
    assert picture([], region) == ""


def test_numbers_for_people() -> None:
    said = [forest.number(x, "ratio") for x in (6.2996, 0.025, 140000.0, math.inf, math.nan)]
    assert said == ["6.3×", "0.025×", "1.4e+05×", "∞×", ""]
    assert [forest.number(0.5, unit) for unit in ("count", "fraction", "value")] == ["50 %", "50 %", "0.500"]
    assert [forest.number(x, "difference") for x in (0.1963, -0.5, 0.0, -1e-5)] == [
        "+0.196",
        "−0.500",
        "+0.000",
        "−1e−05",
    ]
    assert forest.interval(math.nan, math.nan, "ratio") == ""
    assert forest.interval(0.5, 2.0, "ratio") == "0.5× to 2×"
    assert forest.interval(0.5, math.inf, "ratio") == "above 0.5×"
    assert forest.interval(0.0, 2.0, "ratio") == "below 2×"
    assert forest.interval(0.0, 2.0, "difference") == "+0.000 to +2.000"
    assert forest.interval(-math.inf, 2.0, "value") == "below 2.000"
    assert forest.interval(0.0, math.inf, "ratio") == "not known"


@pytest.mark.parametrize(("number", "said"), [(14, "14"), (0.97234, "0.9723"), (27771.3, "27771"), (2e9, "2e+09")])
def test_measured_numbers(number: float, said: str) -> None:
    assert forest.value(number) == said
    assert forest.value(-number) == f"−{said}"


def test_the_arm_that_is_asked_about_stands_first() -> None:
    term, other = Term.of("batch", steps_to_learn()), Term.of("none", steps_to_learn())
    part = Part(Comparison((other, term), Region(low=1.0)), Outcome("supported"), (), (40, 8))
    assert forest.medians(part) == "none 40, batch 8"
    assert forest.medians(part, "batch") == "batch 8, none 40"


def test_seeds_in_words() -> None:
    assert [forest.seeds(a, b) for a, b in ((0, 0), (1, 1), (3, 3), (1, 3))] == [
        "",
        "1 seed",
        "3 seeds",
        "1 to 3 seeds",
    ]
