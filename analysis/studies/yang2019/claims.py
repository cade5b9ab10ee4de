"""Claims about gradients over depth, at initialisation and after a step, and about how depth trains."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.across import curvature, slope
from analysis.best import best
from analysis.claims import Claim, Term, alike, difference, value
from analysis.measures import Levels, Measure, final, steps_to_learn
from analysis.runs import Runs
from analysis.select import Arm
from analysis.shifts import both_shifts

_YANG, _METEREZ = "Yang et al. 2019", "Meterez et al. 2024"
RELU_GROWTH = math.pi / (math.pi - 1)
"""Of the squared gradient, per layer towards the input, with relu and large batches (Yang et al. 2019)."""
NEAR = 0.05
"""Of the logarithm of a growth: as near as 512 units and 256 samples can be."""
NEAR_LINEAR = 0.10
"""The same without a non-linearity: at 16 units per sample or more the correction is of the order of 1 / 16."""
BATCHES = (8, 16)
"""Sizes of which the growth without a non-linearity is judged: of 256 it is 1.004, and cannot be told from none."""
SMALLEST = 1.25
"""The least difference of two growths, as a factor, that counts."""
SMALLEST_SLOPE = 0.25
"""The least difference of two powers of depth that counts."""
_RELU, _TANH = {"model": "mlp", "model.activation": "relu"}, {"model": "mlp", "model.activation": "tanh"}


def linear_growth(batch_size: int) -> float:
    """Of the squared gradient, per layer towards the input, without a non-linearity (Yang et al. 2019, section 3.2)."""
    return (batch_size - 2) / (batch_size - 3)


def squared_gradients(runs: Runs, which: int) -> dict[str, np.ndarray]:
    """By run: ||dL/dW||^2 of its layers from the input on, at its first (0), second (1), ... probed step; [layers].

    The last layer, which no normalisation follows, is left out; a run without that step too.
    """
    rows = runs.records("gradient_norm", "train")
    rows = rows[rows["layer"].notna()]
    found = {}
    for run, own in rows.groupby("run", observed=True):
        steps = np.unique(own["step"])
        if len(steps) > which:  # layers are recorded in the order of the network
            found[str(run)] = np.square(own.loc[own["step"] == steps[which], "value"].to_numpy(dtype=float))[:-1]
    return found


def log_growth() -> Measure:
    """Slope of log ||dL/dW||^2 over the layers at initialisation, per layer towards the input; layers 2 to L - 2."""

    def per_run(runs: Runs) -> pd.Series:
        found = {}
        for run, squares in squared_gradients(runs, 0).items():
            with np.errstate(divide="ignore"):
                inner = np.log(squares[1:-2])
            if len(inner) > 2 and np.isfinite(inner).all():
                found[run] = -float(np.polyfit(np.arange(len(inner)), inner, 1)[0])
        return pd.Series(found, dtype=float)

    says = "least-squares slope of log ||dL/dW||^2 over layers 2 to L - 2 at step 0, per layer towards the input"
    return Measure("log growth of the squared gradient", says, (("gradient_norm", "train"),), per_run)


def growth() -> Measure:
    """The same as a factor per layer."""
    log = log_growth()
    says = f"exponential of the {log.says}"
    return Measure("growth of the squared gradient", says, log.metrics, lambda runs: np.exp(log.per_run(runs)))


def levelling() -> Measure:
    """log(greatest / least) of the layers' squared gradients at the second probed step, over that at the first."""

    def per_run(runs: Runs) -> pd.Series:
        before, after = squared_gradients(runs, 0), squared_gradients(runs, 1)
        with np.errstate(divide="ignore", invalid="ignore"):  # gradients that vanish have no range
            ranges = {run: [np.log(s.max() / s.min()) for s in (before[run], after[run])] for run in after}
            return pd.Series({run: last / start for run, (start, last) in ranges.items()}, dtype=float)

    says = "log(max / min) over layers of ||dL/dW||^2 after one step, on a fresh batch, over that before it"
    return Measure("range of gradients left after a step", says, (("gradient_norm", "train"),), per_run)


SPEED = best(steps_to_learn(), "optim.lr", by=final("data_loss", "train"))
_SPEED_OVER_DEPTH = slope(SPEED, "model.depth")
_BEND = curvature(SPEED, "model.depth")
_BATCH = Arm.of("batch (He)", {"norm": "batch", "model.initialisation": "he"})
_NONE_HE = Arm.of("none (He)", {"norm": "none", "model.initialisation": "he"})
_NONE_ORTHOGONAL = Arm.of("none (orthogonal)", {"norm": "none", "model.initialisation": "orthogonal"})
ARMS = (_BATCH, _NONE_HE, _NONE_ORTHOGONAL)

CLAIMS = (
    Claim(
        name="Y1",
        statement="With relu and batch normalisation the squared gradient grows by pi / (pi - 1) = 1.467 per layer "
        "towards the input.",
        source=f"{_YANG}, abstract and section 3.2",
        about={**_RELU, "optim.batch_size": 256},
        comparisons=(value(Term.of("batch", growth()), low=RELU_GROWTH ** (1 - NEAR), high=RELU_GROWTH ** (1 + NEAR)),),
        remark="The theory is about the gradient with respect to pre-activations in wide networks and large batches; "
        "that of the weights grows with it, since normalised activations keep their size. Within 5 % of the logarithm.",
        figure="gradients_over_depth",
        experiment="yang2019/initialisation",
    ),
    Claim(
        name="Y2",
        statement="Without a non-linearity the squared gradient grows by (B - 2) / (B - 3) per layer for batches of B.",
        source=f"{_YANG}, section 3.2",
        about={"model": "mlp", "model.activation": "none", "optim.criterion": "linear"},
        comparisons=tuple(
            replace(
                value(
                    Term.of("batch", growth()),
                    low=linear_growth(size) ** (1 - NEAR_LINEAR),
                    high=linear_growth(size) ** (1 + NEAR_LINEAR),
                ),
                about={"optim.batch_size": size},
            )
            for size in BATCHES
        ),
        remark="The loss is linear in the outputs, as the theory asks: under cross-entropy and squared error what "
        "comes back depends on the outputs, and the growth is another.",
        figure="gradients_over_depth",
        experiment="yang2019/linear_batches",
    ),
    Claim(
        name="Y3",
        statement="With tanh, layer normalisation makes the gradient grow as batch normalisation does, so that the "
        "growth is not batch normalisation's own.",
        source=f"against {_YANG}, abstract, which holds batch normalisation itself responsible",
        about=_TANH,
        comparisons=(alike(Term.of("layer", log_growth()), Term.of("batch", log_growth()), SMALLEST),),
        remark="Layer normalisation fixes the scale of the pre-activations too, without looking at the batch.",
        figure="gradients_over_depth",
        experiment="yang2019/initialisation",
    ),
    Claim(
        name="Y4",
        statement="A single step of gradient descent shrinks the range of gradients over the layers greatly.",
        source=f"{_YANG}, abstract and section 5",
        about={**_RELU, "model.depth": 50},
        comparisons=(value(Term.of("batch", levelling()), high=0.6),),
        remark="At a depth of ten there is nothing to shrink.",
        figure="gradients_over_depth",
        experiment="yang2019/one_step",
    ),
    Claim(
        name="Y5",
        statement="With batch normalisation depth costs more steps than without.",
        source=f"{_YANG}, section 5",
        about=_RELU,
        comparisons=(
            *(
                difference(
                    Term.of(_BATCH, _SPEED_OVER_DEPTH),
                    Term.of(arm, _SPEED_OVER_DEPTH),
                    low=0.0,
                    smallest=SMALLEST_SLOPE,
                )
                for arm in (_NONE_HE, _NONE_ORTHOGONAL)
            ),
            *(
                difference(Term.of(_BATCH, _BEND), Term.of(arm, _BEND), high=0.0, decides=False)
                for arm in (_NONE_HE, _NONE_ORTHOGONAL)
            ),
        ),
        remark="Each arm at its own best rate, within a budget of steps that is the run's length.",
        figure="steps_over_depth",
        experiment="yang2019/depth",
    ),
    Claim(
        name="Y6",
        statement="Without a non-linearity and with orthogonal weights, gradients do not grow under batch "
        "normalisation.",
        source=f"{_METEREZ}, abstract and theorem 1",
        about={"model": "deep_linear", "model.initialisation": "orthogonal"},
        comparisons=(value(Term.of("batch", log_growth()), low=-0.002, high=0.002),),
        remark="For inputs of full rank and no fewer samples than dimensions. It says nothing of batch normalisation "
        "with a non-linearity, or on fewer samples.",
        figure="gradients_over_depth",
        experiment="yang2019/linear",
    ),
    both_shifts(
        "Y7",
        "against one name for two things; Santurkar et al. 2018, Definition 2.1; Haas et al. 2025",
        _BATCH,
        _NONE_HE,
        levels=Levels(2.0, 0.5),
        about=_RELU,
        experiment="yang2019/shift",
    ),
)
