"""Claims about noise after batch normalisation: drawn anew at each step, remembered for ever, or for each sample."""

from __future__ import annotations

import math

from analysis.across import Across
from analysis.best import best
from analysis.claims import BySeed, Claim, Comparison, Term, alike, fraction, in_forms, less, more
from analysis.measures import drift
from analysis.select import Arm
from analysis.shifts import both_shifts
from analysis.studies.correlated_noise.own_measures import OFF, REDRAWN, steps_to_level

RATE = "optim.lr"
_OURS, _SANTURKAR = "our own", "Santurkar et al. 2018, section 2.2"
_ABOUT = {"task": "classification"}


def noisy(name: str, *, correlation_time: float = 1.0, per: str = "unit") -> Arm:
    """Batch normalisation and Algorithm 1's noise."""
    where = {"norm": "noisy_batch", "norm.correlation_time": correlation_time, "norm.noise_per": per}
    return Arm.of(name, where)


NONE, BATCH = Arm.norm("none"), Arm.norm("batch")
ANEW = noisy("noise drawn anew")
SOME = noisy("noise kept for 16 steps", correlation_time=16.0)
KEPT = noisy("noise kept for ever", correlation_time=math.inf)
SAMPLES = noisy("noise of each sample", per="sample")
NOISY = (ANEW, SOME, KEPT, SAMPLES)


def tuned(evaluation: str | None, *, log: bool = False) -> Across:
    """Steps to half a nat at the learning rate at which they are fewest."""
    return best(steps_to_level(evaluation, log=log), RATE, by=steps_to_level(evaluation))


_STEPS = {"noise off": tuned(OFF), "noise drawn afresh": tuned(REDRAWN)}
_LOGS = {"noise off": tuned(OFF, log=True), "noise drawn afresh": tuned(REDRAWN, log=True)}
_JUMPS = drift("mean", batch="train", since="step", relative=True, name="change of means in deviations")


def _half(measure: BySeed) -> Comparison:
    return fraction(Term.of(ANEW, measure), Term.of(BATCH, measure), Term.of(NONE, measure), low=0.5)


CLAIMS = (
    Claim(
        name="CN1",
        statement="Noise that moves every unit's distribution at every step costs more than half of the steps that "
        "batch normalisation saves, in logarithms: drift matters.",
        source=f"{_OURS}; against {_SANTURKAR}",
        about=_ABOUT,
        comparisons=(in_forms(_half, _LOGS),),
        remark="In logarithms of steps, each arm at the rate at which its own are fewest. The noise is off where the "
        "loss is measured, for noise in the measurement is not slower training; with noise drawn afresh it is the loss "
        "of the function that is trained.",
        figure="steps_by_noise",
        experiment="correlated_noise/rates",
        intervention=True,
    ),
    Claim(
        name="CN2",
        statement="With noise drawn anew at every step a network trains in as many steps as with batch normalisation "
        "alone: drift does not matter.",
        source=f"{_SANTURKAR} and figure 2, at its word",
        about=_ABOUT,
        comparisons=(in_forms(lambda m: alike(Term.of(ANEW, m), Term.of(BATCH, m), 1.25), _STEPS),),
        remark="Each arm at its own best rate.",
        figure="steps_by_noise",
        experiment="correlated_noise/rates",
        intervention=True,
    ),
    Claim(
        name="CN3",
        statement="Noise that a whole unit shares costs more steps than the same noise drawn for each sample, which "
        "moves no distribution.",
        source=f"{_OURS}, the control that noise itself needs",
        about=_ABOUT,
        comparisons=(in_forms(lambda m: more(Term.of(ANEW, m), Term.of(SAMPLES, m)), _STEPS),),
        remark="At each step and sample the noise has one and the same distribution in both.",
        figure="steps_by_noise",
        experiment="correlated_noise/rates",
        intervention=True,
    ),
    Claim(
        name="CN4",
        statement="How progress is measured decides: noise that is kept for ever takes fewer steps than noise drawn "
        "anew on the noisy batches themselves, and more with the noise off.",
        source=_OURS,
        about=_ABOUT,
        comparisons=(
            less(Term.of(KEPT, tuned(None)), Term.of(ANEW, tuned(None))),
            more(Term.of(KEPT, tuned(OFF)), Term.of(ANEW, tuned(OFF))),
        ),
        remark="Noise that stays is learnt: to switch it off is then a change of the function.",
        figure="steps_by_noise",
        experiment="correlated_noise/rates",
        core=False,
        intervention=True,
    ),
    Claim(
        name="CN5",
        statement="The noise of Algorithm 1 makes the distributions of layers drift, as is intended, and the same "
        "noise of each sample does not.",
        source=f"{_OURS}; {_SANTURKAR} and figure 8",
        about=_ABOUT,
        comparisons=(
            more(Term.of(ANEW, _JUMPS), Term.of(BATCH, _JUMPS), 2.0),
            alike(Term.of(SAMPLES, _JUMPS), Term.of(BATCH, _JUMPS), 1.5),
            more(Term.of(ANEW, _JUMPS), Term.of(KEPT, _JUMPS), 2.0),
        ),
        remark="From one step to the next, each with its own batch. What the other claims take for granted.",
        experiment="correlated_noise/shift",
        core=False,
        intervention=True,
    ),
    both_shifts(
        "CN6",
        "against one name for two things; Santurkar et al. 2018, Definition 2.1; Haas et al. 2025",
        BATCH,
        ANEW,
        levels=None,
        about=_ABOUT,
        experiment="correlated_noise/shift",
    ),
)
