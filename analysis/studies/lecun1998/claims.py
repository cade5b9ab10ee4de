"""Claims about inputs and layers that are centred, standardised, whitened."""

from __future__ import annotations

from analysis.best import best
from analysis.claims import BySeed, Claim, Comparison, Term, alike, in_forms, more
from analysis.select import Arm
from analysis.standard import LARGEST_RATE, QUICKEST
from analysis.studies.lecun1998.own_measures import steps_to_loss

_LECUN, _IOFFE = "LeCun et al. 1998, section 4.3", "Ioffe & Szegedy 2015, section 2"
LEVEL = 0.1
"""Data loss in nats: low enough that the arms take tens of steps to it."""
TO_LEVEL = steps_to_loss(LEVEL)
SPEEDS: dict[str, BySeed] = {
    f"loss of {LEVEL:g}": best(TO_LEVEL, "optim.lr", by=TO_LEVEL),
    "90 % accuracy": QUICKEST,
}
"""Each arm at the rate at which its own pilots are quickest."""


def _inputs(name: str, standardise: bool | str) -> Arm:
    return Arm.of(name, {"data.standardise": standardise})


RAW = _inputs("raw", False)
WHOLE = _inputs("standardised as a whole", True)
CENTRED = _inputs("centred", "centred_per_pixel")
STANDARDISED = _inputs("standardised", "standardised_per_pixel")
WHITENED = _inputs("whitened", "whitened")
INPUTS = (RAW, WHOLE, CENTRED, STANDARDISED, WHITENED)
ATTACHED = Arm.of("whitening, attached", {"norm": "whitening", "norm.detach": "none"})
DETACHED = Arm.of("whitening, detached", {"norm": "whitening", "norm.detach": "both"})
_PLAIN = {"model": "mlp", "norm": "none", "task": "classification"}


def _slower(a: Arm, b: Arm) -> Comparison:
    return in_forms(lambda speed: more(Term.of(a, speed), Term.of(b, speed)), SPEEDS)


CLAIMS = (
    Claim(
        name="LC1",
        statement="With centred inputs a network learns in fewer steps than with raw ones.",
        source=_LECUN,
        about=_PLAIN,
        comparisons=(
            _slower(RAW, CENTRED),
            more(Term.of(RAW, SPEEDS["90 % accuracy"]), Term.of(WHOLE, SPEEDS["90 % accuracy"]), decides=False),
        ),
        remark="Raw: bytes / 255, as unequal in scale as centred ones, so that the mean alone differs. Beside it: one "
        "mean and one deviation for all pixels.",
        figure="prepared_inputs",
        experiment="lecun1998/inputs",
        intervention=True,
    ),
    Claim(
        name="LC2",
        statement="With inputs scaled to one variance besides, it learns in fewer steps than with centred ones.",
        source=_LECUN,
        about=_PLAIN,
        comparisons=(_slower(CENTRED, STANDARDISED),),
        remark="Each pixel by its own deviation; a pixel that never varies stays 0.",
        figure="prepared_inputs",
        experiment="lecun1998/inputs",
        intervention=True,
    ),
    Claim(
        name="LC3",
        statement="With inputs that are decorrelated besides, it learns in fewer steps than with standardised ones.",
        source=_LECUN,
        about=_PLAIN,
        comparisons=(_slower(STANDARDISED, WHITENED),),
        remark="Whitened by ZCA over the training images.",
        figure="prepared_inputs",
        experiment="lecun1998/inputs",
        intervention=True,
    ),
    Claim(
        name="LC4",
        statement="Layers whitened in groups learn as fast as layers that are standardised, no faster.",
        source=f"{_IOFFE}, which makes do with standardised units; ours",
        about={"model": "mlp", "model.activation": "relu", "task": "classification"},
        comparisons=(
            alike(Term.of("whitening", SPEEDS["90 % accuracy"]), Term.of("batch", SPEEDS["90 % accuracy"])),
            alike(Term.of("whitening", SPEEDS[f"loss of {LEVEL:g}"]), Term.of("batch", SPEEDS[f"loss of {LEVEL:g}"])),
        ),
        remark="In steps; what a step costs is measured by benchmarks/whitening_cost.py.",
        experiment="lecun1998/layers",
        intervention=True,
    ),
    Claim(
        name="LC5",
        statement="Where layers are whitened outside of the gradient step, only far lower learning rates train.",
        source=_IOFFE,
        about={"model": "mlp_ioffe_szegedy", "task": "classification"},
        comparisons=(more(Term.of(ATTACHED, LARGEST_RATE), Term.of(DETACHED, LARGEST_RATE), 3.0),),
        remark="Mean and root of the covariance are taken as constants by the gradient. A rate lies between the last "
        "that trains and the next that was run. Each activation function is a setting of its own.",
        experiment="lecun1998/detached",
        intervention=True,
    ),
)
