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

PRESETS: dict[str, tuple[float, ...]] = {
    # seven step lengths that hold the paper's grid and both finer ones
    "standard": (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0),
    # the grids of the figures, as multiples of the learning rates 0.1 and 1e-6
    "vgg": (0.5, 1.0, 2.0, 4.0),
    "vgg_quarter": (0.25, 0.5, 1.0, 2.0, 4.0),
    "vgg_twentieth": (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0),
    "deep_linear": (0.01, 0.1, 1.0, 10.0, 31.6),
    # the same, but with the shortest step lr/4 or lr/20: where the plateau of beta follows it, it is 1/eta_min
    "deep_linear_quarter": (0.25, 1.0, 10.0, 31.6),
    "deep_linear_twentieth": (0.05, 0.1, 1.0, 10.0, 31.6),
}


@dataclass(frozen=True)
class Landscape:
    """Losses, gradient differences and effective smoothness on the line theta_t - eta d, eta = multiple * lr_t.

    With g the gradient of the training batch's total loss at theta_t, g' the one at the point, on the same batch, in
    train mode, with the same noise, for each multiple: the losses; ||g' - g|| (gradient predictiveness);
    ||g' - g|| / ||eta d|| ("effective" beta-smoothness); cos(g', g).

    Args:
        multiples: step lengths in learning rates, ascending, >= 0; None for the preset's.
        preset: "standard"; "vgg" or "deep_linear", the paper's grids; each with "_quarter" or "_twentieth", whose
            shortest step is lr/4 or lr/20.
        update: also along the real update, d = (theta_t - theta_{t+1}) / lr_t.
        random: also along this many random directions of g's length.
        limit: also the limit for eta -> 0, ||H g|| / ||g||: by a Hessian-vector product ("hessian"; refused for
            normalisations that stop gradients, of which it would leave out a part), or by the difference quotient of
            a step of 1e-7 ||theta||, evaluated in float64 ("difference").
        every: measure at every that-many-th step of the base schedule.

    Raises:
        ProbeError: an empty or unsorted grid, an unknown preset.
    """

    multiples: tuple[float, ...] | None = None
    preset: str = "standard"
    update: bool = False
    random: int = 0
    limit: Literal["off", "hessian", "difference"] = "off"
    every: int = 1

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ProbeError(f"landscape preset={self.preset!r}: unknown; allowed: {', '.join(PRESETS)}")
        if self.random < 0:
            raise ProbeError(f"landscape random={self.random}: must be a number of directions, 0 or more")
        if self.limit not in ("off", "hessian", "difference"):
            raise ProbeError(f"landscape limit={self.limit!r}: must be 'off', 'hessian' or 'difference'")
        check_grid("landscape multiples", self.grid)

    @property
    def grid(self) -> tuple[float, ...]:
        """The step lengths, in learning rates."""
        return tuple(map(float, self.multiples)) if self.multiples is not None else PRESETS[self.preset]

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
        fields = {
            "loss_before": Field("loss", "loss", f"{paper}, section 3.1", "train", "before"),
            "gradient_norm": Field("gradient_norm", "loss/parameter", f"{paper}, section 3.1", "train", "before"),
        }
        for suffix, (direction, index) in self._lines().items():
            for multiple in self.grid:
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
                    metric + suffix, unit, f"{paper}, {where}", "train", "along", dims=("x",), x=self.grid
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
        answer = {"loss_before": at[_BEFORE_LOSS][0], "gradient_norm": length}
        for suffix, (direction, index) in self._lines().items():
            points = [Along(multiple, direction, index) for multiple in self.grid]
            losses = torch.stack([at[Need("train", point, LossParts())] for point in points])
            found = torch.stack([at[Need("train", point, GradientComparison())] for point in points])
            differences = found[:, 0].norm(dim=1)
            distances = torch.tensor(self.grid, dtype=torch.float64) * at.learning_rate * length
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
