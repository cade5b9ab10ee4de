"""Where the optima of least squares lie, seen from the initialisation: Lemma 4.5, neuron by neuron.

One linear neuron per output, trained from one W0 until its angles stand still, without normalisation (it ends at the
plain optimum W*) and with batch normalisation (it ends on the ray of its optima v, whose loss knows no length). The
lemma bounds the squared distance from W0 to that ray by ||W0||^2 - <W0, W*>^2 / ||W*||^2 where <W0, W*> > 0, which is
the squared distance to the ray of W*: it says that the angle from W0 to v is no greater than that to W*.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.special import betainc

from analysis.claims import Grid, Unanswerable
from analysis.measure import refuse_two_of_a_seed
from analysis.runs import Runs
from analysis.select import NORM

ANGLE, NORMS, DISTANCE = "unit_angle_from_start", "unit_norm", "unit_distance_from_start"
"""Of each unit's weights, whose mean over units is in the records."""
BY_UNIT = {NORMS: "channel_norms"}
"""What the arrays by unit are called, where not by their mean's name, as they were in older runs."""
STILL = 5e-4
"""Radians within which two angles are one, and within which an angle stands still over the last probed steps."""
MOVING = 0.02
"""Of the neurons, so many may still turn, and are left out."""
_PLAIN = "none"


@dataclass(frozen=True)
class Neurons:
    """Of the neurons of one seed to which the lemma speaks (<W0, W*> > 0, both angles still), one number each.

    plain, normalised: angle from W0 to W* and to v, in radians; start: ||W0||; distance: ||W0 - W*||; dimension: of W.
    """

    plain: np.ndarray
    normalised: np.ndarray
    start: np.ndarray
    distance: np.ndarray
    dimension: int


def neurons(plain: Runs, normalised: Runs, run: str, other: str) -> Neurons:
    """Of the runs of one seed. Raises Unanswerable where too many of its neurons still turn, or that cannot be told."""
    layer = str(plain.records(ANGLE, "train")["layer"].iloc[0])

    def read(runs: Runs, name: str, metric: str) -> np.ndarray:
        stored = runs.arrays(BY_UNIT.get(metric, metric), [name], "train", [layer])
        (array,) = (stored or runs.arrays(metric, [name], "train", [layer])).values()
        found: np.ndarray = array.to_numpy().astype(float)
        return found

    angles = read(plain, run, ANGLE), read(normalised, other, ANGLE)
    if min(map(len, angles)) < 2:
        raise Unanswerable("whether the neurons still turn takes two probed steps or more")
    spoken = angles[0][-1] < math.pi / 2
    if not spoken.any():
        raise Unanswerable("the lemma speaks to none of the neurons: no plain optimum lies within 90 degrees")
    still = np.all([np.abs(own[-1] - own[-2]) < STILL for own in angles], axis=0)
    if (turning := np.mean(~still[spoken])) > MOVING:
        raise Unanswerable(f"{100 * turning:.0f} % of the neurons still turn at the end: more steps are needed")
    own = spoken & still
    if (dimension := plain.value(run, "data.dimension")) is None:
        raise Unanswerable("the data have no data.dimension, on which random directions depend")
    return Neurons(
        angles[0][-1][own],
        angles[1][-1][own],
        read(plain, run, NORMS)[0][own],
        read(plain, run, DISTANCE)[-1][own],
        int(dimension),
    )


@dataclass(frozen=True)
class OfNeurons:
    """One number per seed, of the neurons that were trained both with and without batch normalisation."""

    name: str
    says: str
    take: Callable[[Neurons], float] = field(compare=False)
    metrics: tuple[tuple[str, str | None], ...] = ((ANGLE, "train"), (NORMS, "train"), (DISTANCE, "train"))
    free: tuple[str, ...] = (NORM,)
    diverged_count: bool = False

    def by_seed(self, runs: Runs, grid: Grid | None = None) -> pd.DataFrame:
        """See `analysis.claims.BySeed`."""
        of = {norm: [run for run in runs.each.index if runs.norm_of(run)[0] == norm] for norm in (_PLAIN, "batch")}
        parts = {norm: runs.only(names) for norm, names in of.items()}
        for part in parts.values():
            refuse_two_of_a_seed(part)
        seeds = {norm: dict(zip(part.each["seed"], part.each.index, strict=True)) for norm, part in parts.items()}
        both = sorted(set(seeds[_PLAIN]) & set(seeds["batch"]))
        found = [
            self.take(neurons(parts[_PLAIN], parts["batch"], seeds[_PLAIN][seed], seeds["batch"][seed]))
            for seed in both
        ]
        return pd.DataFrame(
            {"number": found, "low": found, "high": found}, index=pd.Index(both, name="seed"), dtype=float
        )


def angle(normalised: bool) -> OfNeurons:
    """Mean angle from the initialisation to the optimum, in radians."""
    which = "ray of optima with batch normalisation" if normalised else "optimum without normalisation"
    return OfNeurons(
        f"angle to the {which}",
        f"mean angle, in radians, from W0 to the {which}, over neurons with <W0, W*> > 0",
        lambda own: float((own.normalised if normalised else own.plain).mean()),
    )


def violations() -> OfNeurons:
    """Share of the neurons that violate the lemma."""
    says = f"share of the neurons with <W0, W*> > 0 whose angle to v exceeds that to W* by more than {STILL:g}"
    return OfNeurons("violations of the lemma", says, lambda own: float((own.normalised > own.plain + STILL).mean()))


def random_within(weak: bool) -> OfNeurons:
    """Probability that a ray of random direction lies within the bound, the mean over neurons.

    Args:
        weak: no farther from W0 than W* is, in place of the lemma's bound.
    """

    def take(own: Neurons) -> float:
        # a ray that points away from W0 is ||W0|| away from it; it is never within the lemma's bound
        sine = own.distance / own.start if weak else np.sin(own.plain)
        return float(np.where(sine >= 1, 1.0, below(np.minimum(sine, 1), own.dimension)).mean())

    what = "W0 is no farther from a random ray than from W*" if weak else "a random ray meets the lemma's bound"
    name = "random rays no farther than the plain optimum" if weak else "random rays within the lemma's bound"
    return OfNeurons(name, f"probability that {what}, mean over neurons with <W0, W*> > 0", take)


def nearer() -> OfNeurons:
    """Share of the neurons that are no farther from the ray of v than from W*."""

    def take(own: Neurons) -> float:
        to_ray = own.start * np.where(own.normalised < math.pi / 2, np.sin(own.normalised), 1)
        return float((to_ray <= own.distance).mean())

    says = "share of the neurons with <W0, W*> > 0 for which W0 is no farther from the ray of v than from W*"
    return OfNeurons("optima with batch normalisation no farther", says, take)


def below(sine: np.ndarray, dimension: int) -> np.ndarray:
    """Probability that the angle to a random direction is below arcsin of `sine`, in so many dimensions."""
    found: np.ndarray = betainc((dimension - 1) / 2, 0.5, sine**2) / 2
    return found
