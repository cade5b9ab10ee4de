"""Layers of a publication, in a network of another depth."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LAYER_NOTE = "name (for N): the layer at the relative depth of the publication's layer N"


@dataclass(frozen=True)
class ShownLayer:
    """A layer of ours that stands for the number `published`."""

    name: str
    published: int
    exact: bool

    @property
    def label(self) -> str:
        return self.name if self.exact else f"{self.name} (for {self.published})"


def depth_order(names: Iterable[str]) -> list[str]:
    """The layers that papers count, from the input on: all but the head and its hidden layers, where others are."""
    found = sorted(set(map(str, names)), key=lambda n: [int(t) if t.isdigit() else t for t in re.split(r"(\d+)", n)])
    hidden = [name for name in found if name != "head"]
    return [name for name in hidden if not re.fullmatch(r"fc\d*", name)] or hidden or found


def layers_at(names: Iterable[str], numbers: Sequence[int], depth: int) -> list[ShownLayer]:
    """The layers at the relative depths of `numbers` of `depth`; two that fall on one layer are shown once."""
    ours = depth_order(names)
    shown: dict[str, ShownLayer] = {}
    for number in numbers:
        if ours:
            place = round((number - 1) / (depth - 1) * (len(ours) - 1))
            shown.setdefault(ours[place], ShownLayer(ours[place], number, len(ours) == depth))
    return list(shown.values())


def spread(names: Iterable[str], most: int) -> list[str]:
    """At most so many layers, evenly over the depth, the first and the last among them."""
    ours = depth_order(names)
    if len(ours) <= most:
        return ours
    return [ours[round(i * (len(ours) - 1) / (most - 1))] for i in range(most)]
