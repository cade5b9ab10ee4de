"""The scoreboard as a picture: a row for each explanation, a tile for each of its verdicts."""

from __future__ import annotations

import hashlib
import io
import math
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from analysis.explanations import COUNTED, Results
from analysis.files import replace
from analysis.scoreboard import MARKS, short
from analysis.small import with_palette
from analysis.studies import Study
from analysis.style import house

COLOURS = {
    "supported": ("#1b7a4b", "#e2f3e9"),
    "identity holds": ("#1b7a4b", "#e2f3e9"),
    "contradicted": ("#a8321a", "#fbe6e0"),
    "identity fails": ("#a8321a", "#fbe6e0"),
    "no difference": ("#5a606b", "#ecebe7"),
}
"""Ink and ground, as in the report; of all other words those of what is not decided."""
OPEN = ("#7a5a00", "#fbf0d0")
DOTS_PER_INCH = 110
PER_ROW = 22
"""Tiles side by side; more go on below."""


def write_tiles(found: Sequence[Study], results: Results, path: Path) -> Path:
    """Draws it to `path`, a PNG that names what it was drawn from (`drawn_from`)."""
    drawn, told = io.BytesIO(), PngInfo()
    with house():
        draw(found, results).savefig(drawn, format="png", dpi=DOTS_PER_INCH)
    picture = Image.open(io.BytesIO(with_palette(drawn.getvalue())))
    told.add_text("Description", drawn_from(found, results))  # a palette keeps no words
    return replace(path, lambda place: picture.save(place, format="png", optimize=True, pnginfo=told))


def drawn_from(found: Sequence[Study], results: Results) -> str:
    """A digest of what the picture shows: rows and their words, in order."""
    rows = [(_label(study), _words(study, results)) for study in found]
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def draw(found: Sequence[Study], results: Results) -> Figure:
    """The picture: explanations from top to bottom, verdicts from left to right, in the order of `MARKS`."""
    rows = [(_label(study), _words(study, results)) for study in found]
    waiting = textwrap.wrap(f"no verdict yet: {', '.join(label for label, words in rows if not words)}", 95)
    waiting = waiting if not all(words for _, words in rows) else []
    rows = [(label, words) for label, words in rows if words]
    lines = [math.ceil(len(words) / PER_ROW) for _, words in rows]
    height = 0.31 * sum(lines) + 0.1 * len(rows) + 0.19 * len(waiting)
    figure = Figure(figsize=(7.4, height + 0.8))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0, 7.4), ylim=(-height - 0.7, 0.1))
    axes.axis("off")
    top = 0.0
    for (label, words), count in zip(rows, lines, strict=True):
        axes.text(0.05, top - 0.15, label, va="center", fontsize=9.5)
        for place, (word, standing) in enumerate(words):
            _tile(axes, 2.05 + 0.24 * (place % PER_ROW), top - 0.15 - 0.31 * (place // PER_ROW), word, standing)
        top -= 0.31 * count + 0.1
        axes.plot((0.05, 7.35), (top + 0.05, top + 0.05), color="#e2dfd8", lw=0.6)
    for line in waiting:
        axes.text(0.05, top - 0.1, line, va="center", fontsize=9, color="#5a606b")
        top -= 0.19
    shown = [word for word in COUNTED if any(word == own for _, words in rows for own, _ in words)]
    for place, word in enumerate(shown):
        x, y = 0.15 + 1.85 * (place % 4), top - 0.2 - 0.26 * (place // 4)
        _tile(axes, x, y, word, "")
        axes.text(x + 0.18, y, word, va="center", fontsize=9)
    if any(standing for _, words in rows for _, standing in words):
        x, y = 0.15 + 1.85 * (len(shown) % 4), top - 0.2 - 0.26 * (len(shown) // 4)
        axes.text(x - 0.1, y, "dotted: leans, or so far", va="center", fontsize=9)
    return figure


def _tile(axes: Axes, x: float, y: float, word: str, standing: str) -> None:
    ink, ground = COLOURS.get(word, OPEN)
    box = FancyBboxPatch((x - 0.085, y - 0.1), 0.17, 0.2, boxstyle="round,pad=0.01,rounding_size=0.03")
    box.set(facecolor="white" if standing else ground, edgecolor=ink, linewidth=0.7, linestyle=":" if standing else "-")
    axes.add_patch(box)
    axes.text(x, y - 0.005, MARKS[word], ha="center", va="center", fontsize=8.5, color=ink, fontweight="bold")


def _words(study: Study, results: Results) -> list[tuple[str, str]]:
    """The words of its verdicts with their standing, in order."""
    own = [(told.word, told.standing) for told in results.of(study)]
    return sorted(own, key=lambda told: (COUNTED.index(told[0]), bool(told[1])))


def _label(study: Study) -> str:
    """`Somebody et al. 2018`: its source in as few words as tell it."""
    told = short(study)
    head, _, year = told.rpartition(" ")
    first, *others = re.split(r", | & ", head)
    return textwrap.shorten(f"{first} et al. {year}" if len(others) > 1 else told, 25, placeholder=" ...")
