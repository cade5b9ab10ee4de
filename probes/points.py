"""The points in parameter space at which a training step is looked at.

A new one is a frozen dataclass derived from :class:`Point`; nothing has to be told of it.
"""

from __future__ import annotations

import abc
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Protocol

from torch import Tensor

from probes.errors import ProbeError
from probes.network import Layer, Moves, View
from probes.reductions.reduction import Reduction

TRAIN = "train"
"""Name of the step's own batch."""

Direction = Literal["gradient", "update", "random"]


class Moment(Protocol):
    """A probed step, as a point sees it that is to be reached from theta_t."""

    start: dict[str, Tensor]
    """theta_t: all parameters by name."""
    end: dict[str, Tensor]
    """theta_{t+1}: the trained ones."""
    view: View

    @property
    def learning_rate(self) -> float:
        """lr_t, the unit of step lengths."""

    @property
    def gradient(self) -> Mapping[str, Tensor]:
        """g_t, of the step's own batch; there if the point rests on it."""

    def load(self, values: Mapping[str, Tensor]) -> None:
        """Gives parameters these values."""

    def walk(self, direction: Mapping[str, Tensor], length: float) -> None:
        """Adds ``length`` times ``direction``."""

    def walk_by_rates(self, direction: Mapping[str, Tensor], multiple: float) -> None:
        """Adds ``multiple`` learning rates times ``direction``, to each parameter in its own rate."""

    def update(self) -> dict[str, Tensor]:
        """theta_t - theta_{t+1}, the learning rate included."""

    def drawn(self, index: int) -> dict[str, Tensor]:
        """A Gaussian direction of g_t's length, among parameters of one rate; a function of (seed, step, index)."""


class Prefix(NamedTuple):
    """What a point moves that is theta_{t+1} before some layer and theta_t from there on."""

    moves: Moves
    """Which parameters of the leaves that precede."""
    layer: Layer | None
    """The layer that stays, whose gradient alone is looked at; None: everything moves and is looked at."""

    def moving(self, view: View) -> list[str]:
        """The parameters that move."""
        return list(view.parameters) if self.layer is None else view.moving(self.layer, self.moves)


@dataclass(frozen=True)
class Point(abc.ABC):
    """A point in parameter space. Its text names it in the plan."""

    origin: ClassVar[bool] = False
    """Whether it is theta_t itself."""

    @property
    def of_update(self) -> bool:
        """Whether the real update decides where it is, so that a step without one has no such point."""
        return False

    @abc.abstractmethod
    def move(self, moment: Moment) -> None:
        """Takes the parameters from theta_t here."""

    def check(self, reduction: Reduction, view: View) -> None:
        """Whether the network has such a point, and ``reduction`` can be asked there.

        Raises:
            ProbeError: it has not, or it cannot.
        """
        if reduction.before_only and not self.origin:
            raise ProbeError(f"{type(reduction).__name__} at {self}: only before the update")

    def rests_on(self, batch: str) -> tuple[str, ...]:
        """The batches on which Before's gradient must be there first.

        Args:
            batch: the one that this point is evaluated on.
        """
        return ()

    def order(self, view: View) -> tuple[object, ...]:
        """Sorts the points of one batch: those that others rest on first, then those on lines, then the ascents."""
        return (1, type(self).__name__, str(self))

    def parameters(self, view: View) -> tuple[str, ...]:
        """The parameters that are looked at."""
        return view.parameters

    def prefix(self, view: View) -> Prefix | None:
        """What has moved, if that is the leaves up to one; points of a chain that have one share its evaluation."""
        return None

    @property
    def family(self) -> str:
        """Those that say the same here are one line of the plan."""
        return str(self)

    @property
    def directions(self) -> int:
        """How many vectors of the parameters' size are held on the way here."""
        return 0


@dataclass(frozen=True)
class Before(Point):
    """theta_t, before the update."""

    origin = True

    def __str__(self) -> str:
        return "before"

    def move(self, moment: Moment) -> None:
        """See :class:`Point`."""

    def order(self, view: View) -> tuple[object, ...]:
        """See :class:`Point`."""
        return (0,)


@dataclass(frozen=True)
class After(Point):
    """theta_{t+1}, after the real update."""

    def __str__(self) -> str:
        return "after"

    @property
    def of_update(self) -> bool:
        """See :class:`Point`."""
        return True

    def move(self, moment: Moment) -> None:
        """See :class:`Point`."""
        moment.load(moment.end)

    def order(self, view: View) -> tuple[object, ...]:
        """See :class:`Point`. Last, so that an ascent may end here."""
        return (3,)

    def prefix(self, view: View) -> Prefix:
        """See :class:`Point`."""
        return Prefix("all", None)


@dataclass(frozen=True)
class Along(Point):
    """theta_t - multiple * lr_t * d; where parameters have learning rates of their own, each part of d by its own.

    Args:
        multiple: step length, in learning rates, >= 0.
        direction: d is g_t, the gradient of the training batch's loss at theta_t ("gradient"); the real update's
            (theta_t - theta_{t+1}) / lr_t ("update"); a Gaussian direction of g_t's length ("random").
        index: which random direction; they are fixed by (seed, step, index).
    """

    multiple: float
    direction: Direction = "gradient"
    index: int = 0

    def __str__(self) -> str:
        which = f" {self.index}" if self.direction == "random" else ""
        return f"along the {self.direction}{which} x {self.multiple:g}"

    @property
    def of_update(self) -> bool:
        """See :class:`Point`."""
        return self.direction == "update"

    def check(self, reduction: Reduction, view: View) -> None:
        """See :class:`Point`."""
        super().check(reduction, view)
        if self.direction not in _LINES:
            raise ProbeError(f"direction {self.direction!r}: must be {', '.join(map(repr, _LINES))}")
        if not 0 <= self.multiple < float("inf"):
            raise ProbeError(f"step length {self.multiple}: must be finite and not negative")

    def move(self, moment: Moment) -> None:
        """See :class:`Point`."""
        line = _LINES[self.direction]
        if line.in_rates:
            moment.walk_by_rates(line.of(moment, self.index), -self.multiple)
        else:
            moment.walk(line.of(moment, self.index), -self.multiple)

    def rests_on(self, batch: str) -> tuple[str, ...]:
        """See :class:`Point`."""
        return (TRAIN,) if _LINES[self.direction].by_gradient else ()

    def order(self, view: View) -> tuple[object, ...]:
        """See :class:`Point`."""
        return (1, type(self).__name__, self.direction, self.index, self.multiple)

    @property
    def family(self) -> str:
        """See :class:`Point`."""
        return f"along the {'raw ' if self.direction == 'gradient' else ''}{self.direction}"

    @property
    def directions(self) -> int:
        """See :class:`Point`."""
        return _LINES[self.direction].directions


class _Line(NamedTuple):
    """A direction that Along can take."""

    of: Callable[[Moment, int], Mapping[str, Tensor]]
    """(moment, index) -> the direction by parameter."""
    in_rates: bool
    """Whether one multiple is a learning rate, each parameter's own; else it is the direction itself."""
    by_gradient: bool
    directions: int


_LINES: dict[str, _Line] = {
    "gradient": _Line(lambda moment, index: moment.gradient, in_rates=True, by_gradient=True, directions=0),
    "update": _Line(lambda moment, index: moment.update(), in_rates=False, by_gradient=False, directions=1),
    "random": _Line(lambda moment, index: moment.drawn(index), in_rates=True, by_gradient=True, directions=1),
}


@dataclass(frozen=True)
class Hybrid(Point):
    """What precedes ``layer`` from theta_{t+1}, the rest from theta_t (Santurkar et al. 2018, Definition 2.1).

    Args:
        layer: the first layer that stays.
        moves: every parameter of the leaves before it moves ("all"), or only those of the weight leaves, bias
            included, gamma and beta staying ("weights").
    """

    layer: str
    moves: Moves = "all"

    def __str__(self) -> str:
        return f"hybrid at {self.layer}" + (" (weight leaves only)" if self.moves == "weights" else "")

    @property
    def of_update(self) -> bool:
        """See :class:`Point`."""
        return True

    def check(self, reduction: Reduction, view: View) -> None:
        """See :class:`Point`."""
        layer = view.layer(self.layer)
        if not reduction.by_parameter:
            raise ProbeError(
                f"{type(reduction).__name__} at a hybrid: only gradients of the layer's own parameters are"
            )
        if not layer.parameters:
            raise ProbeError(f"layer {layer.name!r} has no trained parameters, so there is no gradient to compare")
        between = next((name for name in view.moving(layer, self.moves) if name in layer.astride), None)
        if between is not None:
            tied = layer.astride[between]
            used = ", ".join(leaf.tap for leaf in view.leaves if tied in leaf.parameters)
            what = "others are trained between" if tied in layer.parameters else "not all of these precede the layer"
            raise ProbeError(
                f"layer {layer.name!r} has no one place in the order: {tied!r} is used in several ({used}), and {what} "
                "(tied weights, or a module that is called again); name other layers"
            )

    def move(self, moment: Moment) -> None:
        """See :class:`Point`."""
        moment.load({name: moment.end[name] for name in self.prefix(moment.view).moving(moment.view)})

    def rests_on(self, batch: str) -> tuple[str, ...]:
        """See :class:`Point`."""
        return (batch,)

    def order(self, view: View) -> tuple[object, ...]:
        """See :class:`Point`."""
        return (2, self.moves, view.layer(self.layer).first)

    def parameters(self, view: View) -> tuple[str, ...]:
        """See :class:`Point`."""
        return view.layer(self.layer).parameters

    def prefix(self, view: View) -> Prefix:
        """See :class:`Point`."""
        layer = view.layer(self.layer)
        return Prefix(self.moves, layer)

    @property
    def family(self) -> str:
        """See :class:`Point`."""
        return "hybrid" + (", weight leaves only" if self.moves == "weights" else "")


def check_grid(name: str, multiples: Sequence[float]) -> tuple[float, ...]:
    """The grid as floats.

    Raises:
        ProbeError: it is empty, unsorted, has equal or negative entries.
    """
    grid = tuple(float(multiple) for multiple in multiples)
    if not grid:
        raise ProbeError(f"{name}=[]: at least one step length is needed, in multiples of the learning rate")
    # written so that NaN fails too
    if not grid[0] >= 0 or not all(a < b for a, b in itertools.pairwise(grid)) or grid[-1] == float("inf"):
        raise ProbeError(f"{name}={list(grid)}: must be finite, ascending, not negative (the walk is along -direction)")
    return grid
