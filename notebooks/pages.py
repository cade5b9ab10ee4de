"""The notebooks as pages that show what their cells put out: `python -m notebooks.pages`, for `docs/notebooks/`.

Every notebook is executed from top to bottom, as Jupyter does it, in `runs/pages/notebooks`, so that its `../runs` is
`runs/pages/runs`; finished runs are kept there, and a second time they take nothing. The notebooks themselves stay
without outputs.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import json
import os
import pprint
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from analysis import small

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
LARGEST_PICTURE = 100_000
"""Bytes of a picture; one of more is drawn with fewer dots."""
TOLD = "Executed from top to bottom by `make docs`; [the notebook]({notebook}) itself holds no outputs."
_STYLE = re.compile(r"<style.*?</style>\s*", re.DOTALL)
_ROW = re.compile(r"<tr>.*?</tr>", re.DOTALL)
_NAMES = re.compile(r' (?:id|class|style|border|scope)="[^"]*"')


def read(path: Path) -> list[dict[str, Any]]:
    """The cells of a notebook, in order."""
    cells: list[dict[str, Any]] = json.loads(path.read_text())["cells"]
    return cells


def run_cell(source: str, namespace: dict[str, Any], name: str) -> Any:
    """What Jupyter does with a cell: the value of its last line if that is an expression, else None.

    Args:
        source: of the cell; one that begins with `%%writefile FILE` is written to that file.
        namespace: what the cells before it have left, and this one adds to.
        name: of the cell, for tracebacks.
    """
    if source.startswith("%%writefile "):
        head, _, body = source.partition("\n")
        Path(head.removeprefix("%%writefile ")).write_text(body + "\n")
        return None
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), namespace)
    return eval(compile(ast.Expression(last.value), name, "eval"), namespace) if isinstance(last, ast.Expr) else None


# ---------------------------------------------------------------------------------------------------------- one page


@dataclass
class Page:
    """A page that grows cell by cell, with its pictures beside it in a folder of its name.

    `away`: the path of a folder that the page must not tell, of which the folder `notebooks` is the working directory.
    """

    folder: Path
    name: str
    away: str
    parts: list[str] = field(default_factory=list)

    def show(self, cell: str, value: Any) -> None:
        """Adds what a cell shows: a picture, a table, or what Python prints of it."""
        if value is None:
            return
        if hasattr(value, "_repr_png_") and (png := value._repr_png_()):
            self.parts.append(f"![what the cell {cell} draws]({self._picture(cell, png)})")
        elif hasattr(value, "_repr_html_") and (html := value._repr_html_()):
            self.parts.append(plain_table(html))
        else:
            self.say(pprint.pformat(value, width=110, sort_dicts=False))

    def say(self, text: str) -> None:
        """Adds what a cell prints."""
        if text.strip():
            self.parts.append(f"```text\n{self._without_place(text.rstrip())}\n```")

    def _without_place(self, text: str) -> str:
        return text.replace(f"{self.away}/notebooks/..", "..").replace(self.away, "..")

    def _picture(self, cell: str, png: bytes) -> str:
        path = self.folder / self.name / f"{cell}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(small_enough(png))
        return f"{self.name}/{cell}.png"

    def write(self) -> Path:
        """The page, written; gives its path."""
        path = self.folder / f"{self.name}.md"
        path.write_text("\n\n".join(self.parts) + "\n")
        return path


def plain_table(html: str) -> str:
    """A table of pandas' as Markdown may hold it: no styles, which would be shown as text; a row to a line."""
    table = _NAMES.sub("", _STYLE.sub("", html))
    lines = (line.strip() for line in table.splitlines())
    whole = "\n".join(line for line in lines if line and line not in ("<div>", "</div>"))
    return _ROW.sub(lambda row: row[0].replace("\n", ""), whole)


def small_enough(png: bytes) -> bytes:
    """A picture with a palette, and with fewer dots where it has more bytes than `LARGEST_PICTURE`."""
    png = small.with_palette(png)
    whole = Image.open(io.BytesIO(png)).convert("RGB")
    share = 1.0
    while len(png) > LARGEST_PICTURE:
        share *= 0.9
        size = (round(whole.width * share), round(whole.height * share))
        written = io.BytesIO()
        fewer = whole.resize(size, Image.Resampling.LANCZOS).quantize(64, dither=Image.Dither.NONE)
        fewer.save(written, format="png", optimize=True)
        png = written.getvalue()
    return png


def write_page(notebook: Path, out: Path, away: str) -> Path:
    """Executes a notebook in the working directory and writes its page to `out`.

    Args:
        notebook: its path.
        out: where its page and a folder of its pictures go; pictures of an earlier time are removed.
        away: the path of the working directory's parent, which the page must not tell; it tells `..`.
    """
    for old in (out / notebook.stem).glob("*.png"):
        old.unlink()
    page = Page(out, notebook.stem, away)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for cell in read(notebook):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            page.parts.append(source)
            if len(page.parts) == 1:
                page.parts.append(TOLD.format(notebook=os.path.relpath(notebook, out)))
            continue
        page.parts.append(f"```python\n{source}\n```")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            value = run_cell(source, namespace, f"{notebook.name}:{cell['id']}")
        page.say(printed.getvalue())
        page.show(cell["id"], value)
    return page.write()


# --------------------------------------------------------------------------------------------------------- all pages


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Works in a folder, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(folder):
        yield


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the pages of all notebooks, or of those named, and prints their paths; 2: there is no such notebook."""
    there = {path.stem: path for path in sorted(FOLDER.glob("*.ipynb"))}
    parser = argparse.ArgumentParser(prog="python -m notebooks.pages", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="of these notebooks only, as 1_read_a_run")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "notebooks", metavar="DIR", help="docs/notebooks")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "runs" / "pages", metavar="DIR", help="for runs: runs/pages"
    )
    asked = parser.parse_args(argv)
    unknown = [name for name in asked.names if name not in there]
    if unknown:
        print(f"error: no notebook {unknown[0]!r}; there are {', '.join(there)}", file=sys.stderr)
        return 2
    if "RUNS" in os.environ:  # the runs that notebooks read; theirs is another working directory
        os.environ["RUNS"] = os.path.abspath(os.environ["RUNS"])
    out, work = asked.out.absolute(), asked.work.absolute()
    for name in asked.names or there:
        begun = time.monotonic()
        with working_in(work / "notebooks"):
            path = write_page(there[name], out, str(work))
        print(f"{path}  ({time.monotonic() - begun:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
