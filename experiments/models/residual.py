"""What residual networks are made of: a branch beside a shortcut, and how the two are joined."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from probes import statistics

Branch = Literal["plain", "skipinit", "scaled", "undone"]
"""How a branch is joined to its shortcut, see :class:`Residual`."""


class Residual(nn.Module):
    """shortcut(x) + f(x), f the branch, with what joins them (De & Smith 2020, arXiv:2002.10444):

    - plain: as it stands here;
    - skipinit: shortcut(x) + alpha f(x), with a learnt number alpha for each block, which starts at ``alpha``;
    - scaled: shortcut(x) + f(x) / sqrt(blocks);
    - undone: (shortcut(x) / sd + f(x)) / sqrt(2), with the deviation sd of all values of shortcut(x) over the batch
      taken as a constant: that the shortcut grows, which makes a normalised branch small beside it, is undone.

    Children ``branch``, with the child ``scale`` where it has a factor, and ``shortcut``.

    Args:
        layers: those of the branch, by name.
        joined: as above.
        blocks: how many blocks the network has.
        alpha: where skipinit's alpha starts.
        shortcut: what changes the shape where the branch does; None: nothing.
    """

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        joined: Branch,
        blocks: int,
        alpha: float = 0.0,
        shortcut: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.branch = nn.Sequential(OrderedDict(layers))
        self.shortcut = nn.Identity() if shortcut is None else shortcut
        if joined == "skipinit":
            self.branch.add_module("scale", Scale(alpha, learnt=True))
        elif joined == "scaled":
            self.branch.add_module("scale", Scale(blocks**-0.5))
        elif joined == "undone":
            self.branch.add_module("scale", Scale(0.5**0.5))
            parts = {"shape": self.shortcut, "standardise": Standardise(), "scale": Scale(0.5**0.5)}
            self.shortcut = nn.Sequential(OrderedDict(parts))

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of ``branch(x)``."""
        return self.shortcut(x) + self.branch(x)


class Scale(nn.Module):
    """alpha x, with a number alpha, learnt (shape (1,)) or not."""

    def __init__(self, alpha: float, learnt: bool = False) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.full((1,), alpha)) if learnt else alpha

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of x."""
        return self.alpha * x


class Standardise(nn.Module):
    """x / sd, the deviation of all values of a training batch as a constant; in evaluation mode its moving average.

    Attributes:
        momentum: weight of the newest batch in the moving average, 0.1.
        running_deviation: buffer, (1,), the moving average; initially 1.
        place: qualified name in the network, set by the network.
    """

    running_deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.place, self.momentum = "", 0.1
        self.register_buffer("running_deviation", torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of x."""
        if statistics.of_batch(self.training):
            deviation = (x.detach().var(correction=0) + 1e-5).sqrt().view(1)
            if statistics.moves(self.training):
                self.running_deviation.lerp_(deviation, self.momentum)
        else:
            (deviation,) = statistics.held(self.place, running_deviation=self.running_deviation)
        return x / deviation


class Shortcut(nn.Module):
    """Every ``stride``-th pixel, and channels of zeros for new ones (He et al. 2015, arXiv:1512.03385, option A)."""

    def __init__(self, stride: int, new_channels: int) -> None:
        super().__init__()
        self.stride, self.new_channels = stride, new_channels

    def forward(self, x: Tensor) -> Tensor:
        """(samples, channels + new ones, height / stride, width / stride)."""
        before = self.new_channels // 2
        return functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.new_channels - before))


class GlobalMean(nn.Module):
    """The mean of each channel: (samples, channels, height, width) to (samples, channels)."""

    def forward(self, x: Tensor) -> Tensor:
        """(samples, channels)."""
        return x.mean((2, 3))
