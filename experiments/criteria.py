"""Criteria: what one sample's output costs, by name. A further one is a function and its name here.

Imports no torch until a loss is made: their names are checked while a configuration is composed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from experiments.errors import WrongInput

if TYPE_CHECKING:
    from torch import Tensor


def _squared_error(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).square().sum()


def _half_squared_error(output: Tensor, target: Tensor) -> Tensor:
    return 0.5 * _squared_error(output, target)


def _linear(output: Tensor, target: Tensor) -> Tensor:
    return -(output * target).sum()


def _logistic(output: Tensor, target: Tensor) -> Tensor:
    from torch.nn.functional import softplus

    return softplus(-output * target).sum()


CRITERIA: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "squared_error": _squared_error,
    "half_squared_error": _half_squared_error,
    "linear": _linear,
    "logistic": _logistic,
}
"""Of outputs and targets, both (samples, outputs), summed over samples and outputs."""
NAMES = ("cross_entropy", *CRITERIA)


def usual(task: str) -> str:
    """The criterion of a task where none is named."""
    return "cross_entropy" if task == "classification" else "squared_error"


def unit(criterion: str) -> str:
    """Of the data loss of one sample."""
    return "nats" if criterion in ("cross_entropy", "logistic") else criterion.replace("_", " ")


def check_targets(criterion: str | None, targets: Tensor) -> None:
    """Raises WrongInput for targets that the criterion is not for, though they are values as it takes them."""
    if criterion == "logistic" and not bool((targets.abs() == 1).all()):
        raise WrongInput(
            "optim.criterion=logistic: these data have other targets than signs, 1 and -1, as data=gaussian_signs has"
        )


def data_loss(task: str, reduction: str, criterion: str | None = None) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of predictions.

    Args:
        task: classification or regression.
        reduction: mean or sum over the samples of a batch.
        criterion: cross_entropy (nats); the squared error ||output - target||^2 summed over outputs, or half of it
            (torch's mean squared error divides by the number of outputs too); linear, -<output, target>, whose gradient
            with respect to the outputs does not depend on them, as theories of initialisation ask (Yang et al. 2019).
            The target of a class is its one-hot vector; logistic, log(1 + exp(-output target)), of targets that are
            signs, 1 and -1. None: cross-entropy for classes, the squared error for values.

    Raises:
        WrongInput: the cross-entropy of targets that are no classes, the logistic loss of classes.
    """
    from torch import nn

    criterion = criterion or usual(task)
    if criterion == "cross_entropy":
        if task != "classification":
            raise WrongInput(f"optim.criterion=cross_entropy: these data have values as targets, not classes ({task})")
        cross_entropy: Any = nn.CrossEntropyLoss(reduction=reduction)
        return cross_entropy
    if criterion == "logistic" and task == "classification":
        told = "these data have classes; it takes signs, 1 and -1, as targets (data=gaussian_signs)"
        raise WrongInput(f"optim.criterion=logistic: {told}")
    summed = CRITERIA[criterion]

    def loss(output: Tensor, target: Tensor) -> Tensor:
        if task == "classification":
            target = nn.functional.one_hot(target, output.shape[1]).to(output.dtype)
        total = summed(output, target)
        return total / len(target) if reduction == "mean" else total

    return loss
