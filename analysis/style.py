"""One look for all figures: the house style, and one colour, line and marker per arm, the same everywhere."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.colors import to_hex, to_rgb

# Okabe and Ito (2008), told apart by colour-blind readers; their yellow is too pale for a line on white.
_BLACK, _ORANGE, _SKY, _GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
_BLUE, _VERMILION, _PURPLE, _GREY = "#0072B2", "#D55E00", "#CC79A7", "#7F7F7F"
_PALE_GREY = "#A9A9A9"  # told from _GREY, and from #555555, that of no normalisation with options


@dataclass(frozen=True)
class NormStyle:
    """How an arm is drawn. `dashes`: on, off, ... in line widths; empty: solid."""

    colour: str
    dashes: tuple[float, ...]
    marker: str

    def line(self) -> dict[str, Any]:
        """Keyword arguments for `Axes.plot`."""
        return {"color": self.colour, "linestyle": (0, self.dashes) if self.dashes else "-", "marker": self.marker}


# No two share a dash pattern, so that they are told apart in grey too.
NORMS: dict[str, NormStyle] = {
    "none": NormStyle(_BLACK, (4, 1.5), "o"),
    "batch": NormStyle(_VERMILION, (), "s"),
    "noisy_batch": NormStyle(_BLUE, (7, 1.5, 1.2, 1.5), "^"),
    "noise": NormStyle(_GREY, (1, 1), "v"),
    "l1": NormStyle(_GREEN, (9, 2), "D"),
    "l2": NormStyle(_ORANGE, (1.5, 1.2), "P"),
    "linf": NormStyle(_PURPLE, (5, 1.2, 1.2, 1.2, 1.2, 1.2), "X"),
    "layer": NormStyle(_SKY, (12, 2), "h"),
    "group": NormStyle(_BLUE, (2.5, 2.5), "<"),
    "instance": NormStyle(_GREEN, (9, 1.5, 3, 1.5), ">"),
    "weight": NormStyle(_PURPLE, (3, 1, 1, 1), "p"),
    "batch_renorm": NormStyle(_SKY, (6, 1, 6, 1, 1, 1), "d"),
    "whitening": NormStyle(_ORANGE, (10, 1.5, 4, 1.5), "*"),
    "cosine": NormStyle(_PALE_GREY, (5, 5), "H"),
    "dyt": NormStyle(_GREEN, (2, 3, 6, 3), "8"),
}
_COLOURS = (_VERMILION, _BLUE, _GREEN, _ORANGE, _PURPLE, _SKY, _GREY)
_DASHES = ((3, 3), (1, 2), (6, 3), (8, 2, 2, 2), (4, 1, 1, 1, 4, 3), (2, 1, 2, 3))
_MARKERS = ("*", "H", "8", "d", "p", "^")


def norm_style(name: str) -> NormStyle:
    """The style of an arm by its label: a normalisation's own; with options (`l2 centered`) a darker shade of its
    colour with another line and marker; of any other, a function of the label alone.
    """
    if name in NORMS:
        return NORMS[name]
    number = zlib.crc32(name.encode())
    colour, number = _COLOURS[number % len(_COLOURS)], number // len(_COLOURS)
    dashes, number = _DASHES[number % len(_DASHES)], number // len(_DASHES)
    choice = name.partition(" ")[0]
    if choice in NORMS:
        colour = _shade(NORMS[choice].colour)
    return NormStyle(colour, dashes, _MARKERS[number % len(_MARKERS)])


def _shade(colour: str) -> str:
    """Darker; of black, a grey."""
    if colour == _BLACK:
        return "#555555"
    red, green, blue = to_rgb(colour)
    return to_hex((0.62 * red, 0.62 * green, 0.62 * blue))


def in_order(names: Iterable[str]) -> list[str]:
    """Arms as legends list them: known normalisations in the table's order, each before those of it with options, then
    others by label.
    """
    known = list(NORMS)

    def place(name: str) -> tuple[int, str]:
        choice = name.partition(" ")[0]
        return (known.index(choice), name) if choice in NORMS else (len(known), name)

    return sorted(set(names), key=place)


@contextmanager
def house() -> Iterator[None]:
    """The house style over matplotlib's own defaults, whatever the user's matplotlibrc says; undone on leaving."""
    with matplotlib.rc_context(fname=Path(__file__).with_name("house.mplstyle")):
        yield
