"""Pictures made small for a page that holds them, without a loss that is seen at twice their size."""

from __future__ import annotations

import base64
import io
import re
from urllib.parse import quote

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

DECIMALS = 2
"""Of a point, 1/72 inch: at twice the size on the page a hundredth of one is 0.035 pixels."""
COLOURS = 256
QUALITY = 40
"""Of a lossy picture, of 100; thin lines and text of 8 points stay legible."""
FARTHEST = 12
"""By how much, of 255, a palette may change a colour in all but a hundredth of the pixels; else there is none."""

_ATTRIBUTE = re.compile(r'\b(d|points|x|y)="([^"]*)"')
_NUMBER = re.compile(r"-?\d*\.\d+")
_STEP = re.compile(r"([A-Za-z])([^A-Za-z]*)")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_UNUSED = re.compile(r' id="(?:[a-z]+\d*d?|matplotlib\.axis|\w+Collection)_\d+"')
_SAFE = " =:/;,()'{}@!*+-._~&?[]|^"


def compact(svg: str) -> str:
    """matplotlib's SVG with coordinates of `DECIMALS` decimals, no repeated commands, names that nothing refers to, or
    line breaks.
    """

    def shorter(found: re.Match[str]) -> str:
        rounded = _NUMBER.sub(_rounded, found[2])
        return f'{found[1]}="{_joined(rounded) if found[1] == "d" else rounded.strip()}"'

    without = _UNUSED.sub("", _COMMENT.sub("", svg))
    return re.sub(r">\s+<", "><", re.sub(r"\s*\n\s*", " ", _ATTRIBUTE.sub(shorter, without)))


def _rounded(found: re.Match[str]) -> str:
    told = f"{float(found[0]):.{DECIMALS}f}".rstrip("0").rstrip(".")
    return "0" if told in ("-0", "") else told


def _joined(path: str) -> str:
    """A path in which a command that is the one before it, or a line after a move, is not named again."""
    told, before = [], ""
    for command, numbers in _STEP.findall(path):
        implied = command not in "MmZz" and (command == before or (command == "L" and before == "M"))
        told.append(("" if implied else command) + " ".join(numbers.split()))
        before = command
    return re.sub(r"(?<=[\dz]) (?=[A-Za-z])", "", " ".join(told))


def address(svg: str) -> str:
    """A vector picture as a data: address, which is shorter written out than in base64."""
    return f"data:image/svg+xml,{quote(compact(svg), safe=_SAFE)}"


def in_few_bytes(figure: Figure, dots_per_inch: float) -> str:
    """A figure as it is shown, in the dots of a lossy AVIF, as a data: address: about a tenth of its vectors' size."""
    dots, content = io.BytesIO(), io.BytesIO()
    figure.savefig(dots, format="png", dpi=dots_per_inch)
    Image.open(dots).convert("RGB").save(content, format="avif", quality=QUALITY, speed=6)
    return f"data:image/avif;base64,{base64.b64encode(content.getvalue()).decode()}"


def with_palette(png: bytes) -> bytes:
    """A picture of dots with a palette, where that changes no colour that is seen; else as it was."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    fewer = picture.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    apart = np.abs(np.asarray(fewer.convert("RGB"), dtype=int) - np.asarray(picture, dtype=int)).max(axis=2)
    if np.quantile(apart, 0.99) > FARTHEST:
        return png
    written = io.BytesIO()
    fewer.save(written, format="png", compress_level=9)
    return written.getvalue() if written.tell() < len(png) else png
