"""The loss and its gradient along a line through theta_t (Santurkar et al. 2018, section 3.1, figures 4, 10 to 13)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from probes.errors import ProbeError
from probes.network import View
from probes.points import Along, Before, Direction, check_grid
from probes.protocol import At, Declaration, Field, Need
from probes.reductions import (
    DifferenceProducts,
    GradientComparison,
    GradientNorms,
    HessianProducts,
    LossParts,
    UpdateNorms,
)

DEFAULT_GRID = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
"""From a twentieth of a step, where beta is near its limit, to the four steps of figure 4."""


@dataclass(frozen=True)
class Landscape:
    """Losses, gradient differences and effective smoothness on the line theta_t - eta d, eta = multiple * lr_t.

    With g the gradient of the training batch's total loss at theta_t, g' the one at the point, on the same batch, in
    train mode, with the same noise, for each multiple: the losses; ||g' - g|| (gradient predictiveness);
    ||g' - g|| / ||eta d|| ("effective" beta-smoothness); cos(g', g). And lr_t, in which the step lengths are told.
    Where groups of parameters have learning rates of their own, eta d stands for those times the parts of d.

    g is the raw gradient: with momentum, an adaptive optimiser or clipping the real step is another (see ``update``).

    Args:
        multiples: step lengths in learning rates, ascending, >= 0.
        update: also along the real update, d = (theta_t - theta_{t+1}) / lr_t.
        random: also along this many random directions of g's length.
        limit: also the limit for eta -> 0, ||H g|| / ||g||: by a Hessian-vector product ("hessian"; refused for
            normalisations that stop gradients, of which it would leave out a part), or by the difference quotient of
            a step of 1e-7 ||theta||, evaluated in float64 ("difference").
        every: measure at every that-many-th step of the base schedule.

    Raises:
        ProbeError: an empty or unsorted grid, another option out of its range.
    """

    multiples: tuple[float, ...] = DEFAULT_GRID
    update: bool = False
    random: int = 0
    limit: Literal["off", "hessian", "difference"] = "off"
    every: int = 1

    def __post_init__(self) -> None:
        if self.random < 0:
            raise ProbeError(f"landscape random={self.random}: must be a number of directions, 0 or more")
        if self.limit not in ("off", "hessian", "difference"):
            raise ProbeError(f"landscape limit={self.limit!r}: must be 'off', 'hessian' or 'difference'")
        object.__setattr__(self, "multiples", check_grid("landscape multiples", self.multiples))

    def _lines(self) -> dict[str, tuple[Direction, int]]:
        lines: dict[str, tuple[Direction, int]] = {"": ("gradient", 0)}
        if self.update:
            lines["_along_update"] = ("update", 0)
        for index in range(self.random):
            lines[f"_along_random_{index}"] = ("random", index)
        return lines

    def declare(self, network: View) -> Declaration:
        """See :class:`probes.protocol.Probe`."""
        needs = [_BEFORE_LOSS, _BEFORE_NORM]
        paper = "Santurkar et al. 2018"
        raw = {"gradient": "; along the raw gradient, whatever the optimiser makes of it"}
        fields = {
            "loss_before": Field("loss", "loss", f"{paper}, section 3.1", "train", "before"),
            "gradient_norm": Field("gradient_norm", "loss/parameter", f"{paper}, section 3.1", "train", "before"),
            "learning_rate": Field("learning_rate", "1", "lr_t of the probed step: the unit of its step lengths"),
        }
        for suffix, (direction, index) in self._lines().items():
            for multiple in self.multiples:
                point = Along(multiple, direction, index)
                needs += [Need("train", point, LossParts()), Need("train", point, GradientComparison())]
                if direction == "update":
                    needs += [Need("train", point, UpdateNorms())]
            for metric, unit, where in (
                ("landscape_loss", "loss", "figure 4 (a)"),
                ("landscape_data_loss", "loss", "figure 4 (a)"),
                ("gradient_difference", "loss/parameter", "figure 4 (b)"),
                ("gradient_cosine", "1", "section 3.1"),
                ("effective_beta", "loss/parameter^2", "figure 4 (c)"),
            ):
                fields[metric + suffix] = Field(
                    metric + suffix,
                    unit,
                    f"{paper}, {where}{raw.get(direction, '')}",
                    "train",
                    "along",
                    dims=("x",),
                    x=self.multiples,
                )
        if self.limit != "off":
            metric = f"effective_beta_limit_by_{self.limit}"
            needs.append(_HESSIAN if self.limit == "hessian" else _DIFFERENCE)
            fields[metric] = Field(
                metric, "loss/parameter^2", "||H g|| / ||g||, the limit of figure 4 (c)", "train", "before"
            )
        return Declaration(tuple(needs), fields)

    def measure(self, at: At) -> Mapping[str, Tensor]:
        """See :class:`probes.protocol.Probe`."""
        length = at[_BEFORE_NORM].norm()
        rate = torch.tensor(at.learning_rate, dtype=torch.float64)
        answer = {"loss_before": at[_BEFORE_LOSS][0], "gradient_norm": length, "learning_rate": rate}
        steps = torch.tensor(self.multiples, dtype=torch.float64) * at.learning_rate * length
        if at.own_rates:  # ||lr_t g||, each part of g by its own rate
            rates = torch.tensor([at.own_rates[name] for name in at.network.parameters], dtype=torch.float64)
            steps = torch.tensor(self.multiples, dtype=torch.float64) * (rates * at[_BEFORE_NORM]).norm()
        for suffix, (direction, index) in self._lines().items():
            points = [Along(multiple, direction, index) for multiple in self.multiples]
            losses = torch.stack([at[Need("train", point, LossParts())] for point in points])
            found = torch.stack([at[Need("train", point, GradientComparison())] for point in points])
            differences = found[:, 0].norm(dim=1)
            distances = steps
            if direction == "update":
                distances = torch.stack([at[Need("train", point, UpdateNorms())].norm() for point in points])
            answer["landscape_loss" + suffix] = losses[:, 0]
            answer["landscape_data_loss" + suffix] = losses[:, 1]
            answer["gradient_difference" + suffix] = differences
            answer["gradient_cosine" + suffix] = found[:, 1].sum(1) / (found[:, 2].norm(dim=1) * length)
            answer["effective_beta" + suffix] = differences / distances
        if self.limit == "hessian":
            answer["effective_beta_limit_by_hessian"] = at[_HESSIAN][0].norm() / length
        elif self.limit == "difference":
            curved, _, gradient = at[_DIFFERENCE].norm(dim=1)
            answer["effective_beta_limit_by_difference"] = curved / gradient
        return answer


_BEFORE_LOSS = Need("train", Before(), LossParts())
_BEFORE_NORM = Need("train", Before(), GradientNorms())
_HESSIAN = Need("train", Before(), HessianProducts())
_DIFFERENCE = Need("train", Before(), DifferenceProducts())
