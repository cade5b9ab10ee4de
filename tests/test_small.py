"""Pictures made small: the same picture, drawn from fewer characters or with a palette."""

from __future__ import annotations

import io
import re
import xml.dom.minidom
from urllib.parse import unquote

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from analysis import small

NUMBERS = re.compile(r"-?[\d.]+")


def drawn(kind: str, **options: object) -> bytes:
    generator = np.random.default_rng(0)
    figure = Figure(figsize=(4, 2))
    axes = figure.subplots()
    axes.plot(generator.normal(size=400).cumsum(), marker="o", markevery=40, label="50 % & more <")
    axes.fill_between(range(400), -1, generator.normal(size=400), alpha=0.2)
    axes.legend()
    content = io.BytesIO()
    figure.savefig(content, format=kind, **options)
    return content.getvalue()


def points(svg: str) -> list[list[float]]:
    """The numbers of every path, in order."""
    return [[float(x) for x in NUMBERS.findall(path)] for path in re.findall(r'\bd="([^"]*)"', svg)]


def test_a_path_keeps_its_points_to_a_hundredth() -> None:
    svg = drawn("svg").decode()
    fewer = small.compact(svg)
    assert len(fewer) < 0.7 * len(svg)
    before, after = points(svg), points(fewer)
    assert [len(path) for path in before] == [len(path) for path in after]
    assert max(abs(a - b) for x, y in zip(before, after, strict=True) for a, b in zip(x, y, strict=True)) <= 0.00501


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("M 1.004 2.006 \nL 3 4 \nL 5 6 \nz\n", "M1 2.01 3 4 5 6z"),
        ("M 0 1 \nQ 1 2 3 4 \nQ 5 6 7 8 \nL 9 9 \n", "M0 1Q1 2 3 4 5 6 7 8L9 9"),
        ("M 0 0 \nL 1 1 \nM 2 2 \nL -0.001 3 \n", "M0 0 1 1M2 2 0 3"),
        ("M 0 0 \nM 2 2 \n", "M0 0M2 2"),  # one after another they would be a line
        ("M 0 0 \nL 1 1 \nz \nM 0.5 .126 \nz \n", "M0 0 1 1zM0.5 0.13z"),
    ],
)
def test_commands_that_go_on_are_not_repeated(path: str, told: str) -> None:
    assert small.compact(f'<path d="{path}"/>') == f'<path d="{told}"/>'


def test_scales_and_styles_are_left_as_they_are_and_what_is_referred_to_keeps_its_name() -> None:
    svg = drawn("svg").decode()
    fewer = small.compact(svg)
    for attribute in ("transform", "style", "clip-path", "viewBox"):
        assert re.findall(rf'{attribute}="[^"]*"', fewer) == re.findall(rf'{attribute}="[^"]*"', svg)
    names = set(re.findall(r'id="([^"]*)"', fewer))
    assert {name for name in re.findall(r'#([\w-]+)[")]', fewer) if not re.fullmatch(r"[0-9a-f]{6}", name)} <= names


def test_the_address_is_the_picture() -> None:
    svg = drawn("svg").decode()
    address = small.address(svg)
    head, _, text = address.partition(",")
    assert head == "data:image/svg+xml"
    assert not set(text) & set('<>"#\n%') - {"%"}  # nothing that ends an attribute or an address
    assert unquote(text) == small.compact(svg)
    assert xml.dom.minidom.parseString(unquote(text)).documentElement.tagName == "svg"


def test_a_palette_changes_no_colour_that_is_seen() -> None:
    png = drawn("png", dpi=170)
    fewer = small.with_palette(png)
    assert len(fewer) < 0.6 * len(png)
    one, other = (np.asarray(Image.open(io.BytesIO(c)).convert("RGB"), dtype=int) for c in (png, fewer))
    assert one.shape == other.shape
    assert np.quantile(np.abs(one - other).max(axis=2), 0.99) <= small.FARTHEST
    assert Image.open(io.BytesIO(fewer)).mode == "P"


def test_a_picture_of_too_many_colours_keeps_them() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8))
    content = io.BytesIO()
    noise.save(content, format="png")
    assert small.with_palette(content.getvalue()) == content.getvalue()
