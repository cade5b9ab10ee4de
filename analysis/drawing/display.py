"""One panel of a figure alone, on axes of one's own."""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.errors import WrongInput
from analysis.style import house


class Picture(Figure):
    """A matplotlib figure that Jupyter shows when it is the last line of a cell; its layout is constrained."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"layout": "constrained", **options})

    def _repr_png_(self) -> bytes:
        png = io.BytesIO()
        with house():
            self.savefig(png, format="png", dpi=110)
        return png.getvalue()


@dataclass
class PanelDisplay:
    """One panel of a figure, computed; `plot` draws it, as often as one likes.

    Attributes:
        setting: the label of the setting that it shows.
        name: what it shows of it.
        ax: the axes that it was drawn on last.
    """

    setting: str
    name: str
    draw_on: Callable[[Axes], None]
    numbers: Callable[[], pd.DataFrame]
    ax: Axes | None = None
    _picture: Picture | None = None

    def plot(self, ax: Axes | None = None) -> PanelDisplay:
        """Draws it on `ax`, or on a picture of its own, which a notebook shows; gives itself."""
        with house():
            if ax is None:
                self._picture = Picture(figsize=(5.2, 3.2))
                ax = self._picture.subplots()
            else:
                self._picture = None
            self.draw_on(ax)
        self.ax = ax
        return self

    def table(self) -> pd.DataFrame:
        """The numbers behind it, in long form."""
        return self.numbers()

    def _repr_png_(self) -> bytes | None:
        return None if self._picture is None else self._picture._repr_png_()


def one_of(displays: Sequence[PanelDisplay], panel: str | None, setting: str | None) -> PanelDisplay:
    """The one panel whose name and setting's label have these parts, whatever their case; Greek letters by name too.

    Raises:
        WrongInput: none has, or several have; the line says which there are.
    """
    found = list(displays)
    if setting is not None:
        found = _having(found, setting, lambda one: one.setting, "setting")
    if panel is not None:
        found = _having(found, panel, lambda one: one.name, "panel")
    for key, part, told in (
        ("panel", panel, [one.name for one in found]),
        ("setting", setting, [one.setting for one in found]),
    ):
        several = list(dict.fromkeys(told))
        if len(several) > 1:
            which = f"{len(several)} {key}s" if part is None else f"{key}={part!r}: {len(several)} {key}s have it"
            raise WrongInput(f"{which}; give a part of one as {key}=: {'; '.join(several)}")
    return found[0]


def _having(
    displays: list[PanelDisplay], part: str, text_of: Callable[[PanelDisplay], str], key: str
) -> list[PanelDisplay]:
    """Those whose text is `part`, else has it as a word, else has a word that begins with it."""
    asked = _typed(part)
    whole = rf"(?<!\w){re.escape(asked)}(?![\w.])" if asked else r"\A\Z"
    begun = rf"(?<![^\W_]){re.escape(asked)}" if asked else r"\A\Z"
    for fits in (asked.__eq__, re.compile(whole).search, re.compile(begun).search):
        found = [one for one in displays if fits(_typed(text_of(one)))]
        if found:
            return found
    there = "; ".join(dict.fromkeys(map(text_of, displays)))
    raise WrongInput(f"{key}={part!r}: no such {key}; there is: {there}")


def _typed(text: str) -> str:
    """A name as one may type it: small letters, beta for β, ' for ′, || for ‖, - for −."""
    letters = []
    for letter in text.lower():
        greek = re.fullmatch(r"GREEK SMALL (?:LETTER )?(\w+)", unicodedata.name(letter, ""))
        letters.append(greek[1].lower() if greek else letter)
    return " ".join("".join(letters).replace("′", "'").replace("‖", "||").replace("−", "-").split())
