"""How often a verdict is wrong: every kind of measure on planted seeds whose typical one lies at the edge of a region.

    python benchmarks/error_rates.py [--draws 20000]

There any word is wrong, so both directions are counted: "supported" (or "no difference") and "contradicted", in per
cent of the draws. Shapes are those of a difference of two arms, shifted so that their median is the truth. The last
table is the other side: how often an effect of 1.5 and of 2 times is found, with the deviation of log ratios that the
digits have. Twenty thousand draws take a quarter of an hour.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TypeAlias

import numpy as np
import pandas as pd

from analysis.decide import Count, Fraction, Outcome, RankOverFamilies, Region, Spread, over_settings, whole
from analysis.decide.kinds import typical
from analysis.decide.typical import Ends

Draw: TypeAlias = Callable[[np.random.Generator, int], np.ndarray]
"""One number for each of so many seeds."""
Judge: TypeAlias = Callable[[np.random.Generator], str]
"""The word of one draw."""
SEEDS = (3, 5, 6, 10)
DEVIATION = 0.29
"""Of log ratios of paired seeds, as measured on the digits."""
STEP = 1.0
"""Of the grid off which numbers are read."""


@dataclass(frozen=True)
class Row:
    """A kind of measure with one shape and number of seeds."""

    kind: str
    shape: str
    seeds: int
    judge: Judge


def stuck(share: float, generator: np.random.Generator, n: int) -> np.ndarray:
    """One arm is stuck far away in a share of seeds."""
    return 0.3 * generator.normal(size=n) + 5.0 * (generator.random(n) < share)


SHAPES: dict[str, Draw] = {
    "normal": lambda g, n: g.normal(size=n),
    "log-normal": lambda g, n: np.exp(g.normal(size=n)),
    "exponential": lambda g, n: g.exponential(size=n),
    "Laplace": lambda g, n: g.laplace(size=n),
    "two log-normal arms": lambda g, n: np.exp(g.normal(size=n)) - np.exp(g.normal(size=n)),
    **{f"stuck in {share:g}": partial(stuck, share) for share in (0.1, 0.3, 0.45)},
    "zero variance": lambda g, n: np.zeros(n),
}


@cache
def median(shape: str) -> float:
    """Of a shape, by half a million draws."""
    return float(np.median(SHAPES[shape](np.random.default_rng(123), 500_000)))


def centred(shape: str, generator: np.random.Generator, n: int) -> np.ndarray:
    """Draws of a shape whose median is 0."""
    return SHAPES[shape](generator, n) - median(shape)


def word(numbers: np.ndarray, region: Region, within: Region | None = None) -> str:
    """Of numbers that are known exactly."""
    return typical(Ends.exact(numbers), numbers, region, within).word


# ----------------------------------------------------------------------------------------------------------- the kinds


def ratio(shape: str, n: int, generator: np.random.Generator) -> str:
    """Ratios and differences, against an edge below and one above."""
    region = Region(low=0.0) if generator.random() < 0.5 else Region(high=0.0)
    return word(centred(shape, generator, n), region)


def between(shape: str, n: int, generator: np.random.Generator) -> str:
    """A region with two ends; the truth lies at one of them."""
    return word(3.0 + centred(shape, generator, n), Region(-3.0, 3.0))


def no_difference(shape: str, n: int, generator: np.random.Generator) -> str:
    """The truth lies at the smallest effect, where equality must not be told; the region is far."""
    found = word(1.0 + 0.2 * centred(shape, generator, n), Region(low=50.0), Region(-1.0, 1.0))
    return found if found == "no difference" else "undecided"  # that it lies below the region is right


def read_off_a_grid(spread: float, n: int, generator: np.random.Generator) -> str:
    """Two arms, each seen at the first place of the grid after it came, wherever the grid lies."""
    place = STEP * generator.random()
    arms = [10.0 + spread * generator.normal(size=n) for _ in range(2)]
    seen = [place + STEP * np.ceil((arm - place) / STEP) for arm in arms]
    low, high = seen[0] - STEP - seen[1], seen[0] - (seen[1] - STEP)
    return typical(Ends(low, high), seen[0] - seen[1], Region(low=0.0), None).word


def never_came(n: int, generator: np.random.Generator) -> str:
    """Half of an arm's seeds lie beyond the grid's end, and with it the typical one's number."""
    arms = [10.0 + generator.normal(size=n) for _ in range(2)]
    bound = arms[0] > 10.0
    low, high = np.where(bound, 10.0, arms[0]) - arms[1], np.where(bound, np.inf, arms[0]) - arms[1]
    return typical(Ends(low, high), low, Region(low=0.0), None).word


def counted(n: int, generator: np.random.Generator) -> str:
    """Every second seed trains; asked is whether more do."""
    trains = (generator.random(n) < 0.5).astype(float)
    return Count(0.5, "trains").decide([_term(trains)], Region(low=0.5)).word


def best_rate(rates: int, n: int, generator: np.random.Generator) -> str:
    """Two arms alike, each at the best of rates that are alike too: two pilots choose, the others are judged."""
    found = []
    for _ in range(2):
        numbers = generator.normal(size=(n + 2, rates))
        found.append(numbers[2:, int(np.argmin(np.median(numbers[:2], axis=0)))])
    return word(found[0] - found[1], Region(low=0.0))


def range_of_rates(n: int, generator: np.random.Generator) -> str:
    """Widths in decades, each end bisected to a factor of 1.1; the arms are alike."""
    fine = np.log10(1.1)
    arms = [3.0 + 0.1 * generator.normal(size=n) for _ in range(2)]
    low = [fine * np.floor(arm / fine) for arm in arms]
    ends = Ends(low[0] - low[1] - 2 * fine, low[0] + 2 * fine - low[1])
    return typical(ends, low[0] - low[1], Region(low=0.0), None).word


def slope_over_depth(n: int, generator: np.random.Generator) -> str:
    """A slope for each seed over layers that share the seed's own drift."""
    depth = np.arange(10) - 4.5
    slopes = []
    for _ in range(2):
        layers = np.cumsum(generator.normal(size=(n, 10)), axis=1)
        slopes.append(layers @ depth / (depth @ depth))
    return word(slopes[0] - slopes[1], Region(low=0.0))


def trend_in_a_run(n: int, generator: np.random.Generator) -> str:
    """Random walks: the median of the last third minus that of the first."""
    walks = np.cumsum(generator.normal(size=(n, 60)), axis=1)
    return word(np.median(walks[:, 40:], axis=1) - np.median(walks[:, :20], axis=1), Region(low=0.0))


def ranks(families: int, n: int, generator: np.random.Generator) -> str:
    """No correlation over arms, two of which are one family; arms of a family are alike."""
    names = tuple(f"f{max(i - 1, 0)}" for i in range(families + 1))
    own = {name: generator.normal(size=2) for name in names}
    points = [own[name] + 0.1 * generator.normal(size=2) for name in names]
    terms = [_term(np.full(n, number)) for point in points for number in point]
    return RankOverFamilies(names).decide(terms, Region(low=0.0)).word


def fraction(n: int, generator: np.random.Generator) -> str:
    """Half of the gap is recovered; asked is whether more is."""
    b, c = generator.normal(0.0, 0.2, n), 1.0 + generator.normal(0.0, 0.2, n)
    a = b + 0.5 * (c - b) + generator.normal(0.0, 0.1, n)
    return Fraction().decide([_term(a), _term(b), _term(c)], Region(low=0.5)).word


def spread(shape: str, n: int, generator: np.random.Generator) -> str:
    """Two arms of one shape."""
    return Spread().decide([_term(SHAPES[shape](generator, n)) for _ in range(2)], Region(low=1.0)).word


def settings(n: int, generator: np.random.Generator) -> str:
    """One number for each of n settings, without an effect on average."""
    low, high = over_settings(tuple(generator.normal(size=n)), log=False)
    return "supported" if low > 0 else "contradicted" if high < 0 else "undecided"


def conjunction(parts: int, n: int, generator: np.random.Generator) -> str:
    """A claim of several comparisons, each at its edge."""
    found = [_at_edge(generator.normal(size=n), parts) for _ in range(parts)]
    return whole(found)


def _at_edge(numbers: np.ndarray, together: int) -> Outcome:
    return typical(Ends.exact(numbers), numbers, Region(low=0.0), None, together)


def _term(numbers: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"number": numbers, "low": numbers, "high": numbers})


def rows(seeds: Sequence[int] = SEEDS) -> Iterator[Row]:
    """Every row of the table."""
    for n in seeds:
        for shape in SHAPES:
            yield Row("ratio, difference", shape, n, partial(ratio, shape, n))
        for shape in ("normal", "exponential", "stuck in 0.3"):
            yield Row("between two ends", shape, n, partial(between, shape, n))
            yield Row("no difference", shape, n, partial(no_difference, shape, n))
        for width in (0.2, 0.5, 1.0):
            yield Row("read off a grid", f"deviation {width:g} steps", n, partial(read_off_a_grid, width, n))
        yield Row("read off a grid", "half never came", n, partial(never_came, n))
        yield Row("count", "half of the seeds", n, partial(counted, n))
        yield Row("at the best rate", "of 5 alike", n, partial(best_rate, 5, n))
        yield Row("range of rates", "to a factor of 1.1", n, partial(range_of_rates, n))
        yield Row("slope over depth", "random walk over layers", n, partial(slope_over_depth, n))
        yield Row("trend in a run", "random walk", n, partial(trend_in_a_run, n))
        yield Row("fraction", "normal", n, partial(fraction, n))
        for parts in (2, 3, 9):
            yield Row("claim of several", f"{parts} comparisons", n, partial(conjunction, parts, n))
    for families in (5, 6):
        yield Row("ranks over families", f"{families} families", 6, partial(ranks, families, 6))
    for shape in ("normal", "exponential", "Laplace"):
        yield Row("spread over seeds", shape, 20, partial(spread, shape, 20))
    for n in (5, 8):
        yield Row("over settings", "normal", n, partial(settings, n))


def rates(judge: Judge, draws: int, seed: int = 0) -> tuple[float, float]:
    """Shares of draws that are called supported (or no difference), and contradicted."""
    generator = np.random.default_rng(seed)
    words = Counter(judge(generator) for _ in range(draws))
    return (words["supported"] + words["no difference"]) / draws, words["contradicted"] / draws


def power(n: int, factor: float, draws: int, *, composite: int = 1) -> float:
    """How often more is found where there is so much more.

    composite: how many comparisons the claim has, all of which must hold; below 0: their mean, as one.
    """
    generator = np.random.default_rng(1)
    truth = np.log(factor)
    found = 0
    for _ in range(draws):
        logs = truth + DEVIATION * generator.normal(size=(abs(composite), n))
        numbers = [logs.mean(axis=0)] if composite < 0 else list(logs)
        found += whole([_at_edge(one, len(numbers)) for one in numbers]) == "supported"
    return found / draws


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20_000)
    draws = parser.parse_args().draws
    print(f"per cent of {draws} draws, all of them wrong")
    print(f"{'kind':22}{'planted':26}{'seeds':>6}{'supported':>11}{'contradicted':>14}")
    for row in rows():
        up, down = rates(row.judge, draws)
        print(f"{row.kind:22}{row.shape:26}{row.seeds:6}{100 * up:11.2f}{100 * down:14.2f}", flush=True)
    print(f"\nfound, per cent; deviation of log ratios {DEVIATION:g}")
    print(f"{'':36}{'seeds':>6}{'1.5 times':>11}{'2 times':>11}")
    for what, composite in (("one comparison", 1), ("all of nine", 9), ("the mean of nine logarithms", -9)):
        for n in SEEDS:
            found = [100 * power(n, factor, draws // 4, composite=composite) for factor in (1.5, 2.0)]
            print(f"{what:36}{n:6}{found[0]:11.1f}{found[1]:11.1f}", flush=True)


if __name__ == "__main__":
    main()
