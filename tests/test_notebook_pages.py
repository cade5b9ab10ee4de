"""The notebooks' pages, with what their cells show: they are those of the notebooks, small, and tell no place."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import image
from PIL import Image

from notebooks import pages

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
OUT = ROOT / "docs" / "notebooks"
AGAIN = "execute it again: python -m notebooks.pages"
by_name = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
_FENCED = re.compile(r"```(\w*)\n(.*?)\n```", re.DOTALL)
_PICTURE = re.compile(r"!\[[^\]]*\]\(([^)]+)\)")
_PLACE = re.compile(r"(?<![\w.:<~/-])/[\w.-]+/[\w./-]+")
"""A path from the root of a file system."""


def cells(notebook: Path, kind: str) -> list[str]:
    """The sources of the cells of one kind, in order."""
    return ["".join(c["source"]) for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == kind]


def text_of(notebook: Path) -> str:
    page = OUT / f"{notebook.stem}.md"
    assert page.is_file(), f"{page.name} is missing: {AGAIN} {notebook.stem}"
    return page.read_text()


@by_name
def test_a_page_has_the_cells_of_its_notebook(notebook: Path) -> None:
    text = text_of(notebook)
    shown = [source for language, source in _FENCED.findall(text) if language == "python"]
    assert shown == cells(notebook, "code"), f"{notebook.name} has changed: {AGAIN} {notebook.stem}"
    place = 0
    for said in cells(notebook, "markdown"):
        assert said in text[place:], f"{notebook.name} has changed: {AGAIN} {notebook.stem}"
        place = text.index(said, place) + len(said)
    assert f"(../../notebooks/{notebook.name})" in text


@by_name
def test_a_page_shows_every_figure(notebook: Path) -> None:
    text = text_of(notebook)
    pictures = _PICTURE.findall(text)
    assert len(pictures) == len(set(pictures))
    assert {*pictures} == {f"{notebook.stem}/{path.name}" for path in (OUT / notebook.stem).glob("*")}
    parts = re.split(r"```python\n.*?\n```\n", text, flags=re.DOTALL)[1:]
    for source, after in zip(cells(notebook, "code"), parts, strict=True):
        if source.splitlines()[-1].startswith(("figures.show(", "picture")):
            assert after.lstrip().startswith("!["), f"no picture below {source.splitlines()[-1]}"
    for picture in pictures:
        pixels = image.imread(OUT / picture)
        assert pixels.shape[0] > 200
        assert pixels[..., :3].std() > 0.02, f"{picture} is blank"


@by_name
def test_a_page_tells_no_place_and_no_error(notebook: Path) -> None:
    text = text_of(notebook)
    assert _PLACE.findall(text) == []
    assert not re.search(r"Traceback|\w*Error:|<style", text)


def test_a_place_is_found() -> None:
    assert _PLACE.findall("in '/home/me/runs' and (/tmp/x/y)") == ["/home/me/runs", "/tmp/x/y"]
    assert _PLACE.findall("../runs/tiny, <td>1</td>, gamma/sigma/x, https://arxiv.org/abs/1") == []


def test_pages_are_small_and_of_notebooks_alone() -> None:
    files = [path for path in OUT.rglob("*") if path.is_file()]
    assert {path.stem for path in OUT.glob("*.md")} == {path.stem for path in NOTEBOOKS}
    assert {path.suffix for path in files} == {".md", ".png"}
    assert max(path.stat().st_size for path in files) <= 100_000
    assert sum(path.stat().st_size for path in files) <= 3_000_000
    listed = (ROOT / "docs" / "notebooks.md").read_text()
    assert all(f"(notebooks/{path.stem}.md)" in listed for path in NOTEBOOKS)


# -------------------------------------------------------------------------------------------------- how they are made


class Cells(HTMLParser):
    """The texts of a table's cells, row by row."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


def test_a_table_keeps_its_cells_and_loses_its_style() -> None:
    frame = pd.DataFrame({"norm": ["none", "batch"], "loss": [0.5, 0.25]})
    html = pages.plain_table(frame._repr_html_())
    assert Cells(html).rows == [["", "norm", "loss"], ["0", "none", "0.50"], ["1", "batch", "0.25"]]
    assert "style" not in html
    assert "\n\n" not in html  # an empty line would end the table in Markdown
    assert len([line for line in html.splitlines() if line.startswith("<tr>")]) == 3


def test_a_picture_of_too_many_bytes_gets_fewer_dots() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (500, 700, 3), dtype=np.uint8)
    written = io.BytesIO()
    Image.fromarray(noise).save(written, format="png")
    made = pages.small_enough(written.getvalue())
    # A step keeps 0.81 of the dots, so that one step less would have been too many bytes.
    assert 0.75 * pages.LARGEST_PICTURE < len(made) <= pages.LARGEST_PICTURE < len(written.getvalue())
    fewer = Image.open(io.BytesIO(made))
    assert fewer.width < 700
    assert fewer.width / fewer.height == pytest.approx(7 / 5, rel=0.02)


def test_a_picture_of_few_colours_keeps_its_dots_and_gets_a_palette() -> None:
    colours = np.array([[255, 255, 255], [31, 119, 180], [214, 39, 40]], dtype=np.uint8)
    pixels = colours[np.random.default_rng(0).integers(0, 3, (60, 90))]
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, format="png")
    made = pages.small_enough(written.getvalue())
    assert len(made) < len(written.getvalue())
    picture = Image.open(io.BytesIO(made))
    assert picture.mode == "P"
    assert np.array_equal(np.asarray(picture.convert("RGB")), pixels)


MADE = [
    ("markdown", "# Made up"),
    ("code", "import pandas as pd\nfrom pathlib import Path\nprint('here is', Path('..').resolve())"),
    ("markdown", "A table, a picture, a value."),
    ("code", "%%writefile ../note.txt\nwritten"),
    ("code", "pd.DataFrame({'a': [41 + 1]})"),
    ("code", "from analysis.figures import Picture\npicture = Picture(figsize=(3, 3))\npicture.subplots()\npicture"),
    ("code", "{'where': Path('..').absolute() / 'note.txt', 'text': Path('../note.txt').read_text()}"),
]


def test_what_cells_put_out_stands_below_them(tmp_path: Path) -> None:
    made = [{"cell_type": kind, "id": f"c{i}", "source": [source]} for i, (kind, source) in enumerate(MADE)]
    notebook = tmp_path / "made.ipynb"
    notebook.write_text(json.dumps({"cells": made}))
    work, out = tmp_path / "work", tmp_path / "out"
    out.mkdir()
    with pages.working_in(work / "notebooks"):
        text = pages.write_page(notebook, out, str(work)).read_text()
    assert str(tmp_path) not in text
    after = re.split(r"```python\n.*?\n```\n", text, flags=re.DOTALL)
    assert after[0].startswith("# Made up\n\nExecuted")
    assert "```text\nhere is ..\n```" in after[1]
    assert after[2].strip() == ""
    assert Cells(after[3]).rows == [["", "a"], ["0", "42"]]
    assert after[4].strip() == "![what the cell c5 draws](made/c5.png)"
    assert image.imread(out / "made" / "c5.png").shape[:2] == (330, 330)
    assert "../note.txt')" in after[5]
    assert "'text': 'written\\n'" in after[5]


def test_a_name_of_no_notebook_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert pages.main(["4_training_curve"]) == 2
    assert "no notebook '4_training_curve'; there are 1_read_a_run, " in capsys.readouterr().err
