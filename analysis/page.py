"""What report and card share: a page that asks nothing of any network, its numbers as CSV beside it, its figures."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from analysis import figures, small, studies
from analysis.claims import MUCH, SIMILAR
from analysis.decide import RATIO, SEEDS
from analysis.decide.outcome import LEANS, PROVISIONAL
from analysis.decide.typical import ALPHA
from analysis.drawing.medians import write_medians
from analysis.drawing.ridges import SheetAndRidges
from analysis.drawing.sheet import Sheet
from analysis.files import replace
from analysis.progress import FEWEST_STEPS
from analysis.runs import Runs
from analysis.studies import Study
from analysis.style import house

LARGEST_SVG = 300_000  # characters of its address; a figure of more is drawn as dots
DOTS_PER_INCH = 170
LARGEST_DATA_LINK = 100_000  # bytes of a CSV that travels in the page too
PIXELS_PER_INCH, FEWEST_PER_INCH = 125, 90  # as shown where there is room, and before it scrolls

HOW = (
    "Each comparison gives one number per seed: two arms are paired by seed, so that both saw the same data in the "
    "same order, and ratios are taken as logarithms. An interval for the typical seed, the median, is held against a "
    "region that was fixed beforehand: inside, the comparison is supported; outside, contradicted; within a smallest "
    f"effect that was fixed too (a factor of {RATIO.smallest:g} unless a rule says otherwise), there is no difference; "
    "else it is undecided, with the number of seeds that would decide at the spread seen. “Similar”, “marginal” and "
    f"“comparable” mean within a factor of {SIMILAR:g}, “much” and “far” a factor of {MUCH:g}.",
    f"{LEANS} seeds or more lean, {PROVISIONAL} are provisional, {SEEDS} are a verdict, unless a rule asks for more; "
    "while more seeds are on their way, a word is interim. Where another defensible form of the same prediction says "
    "the opposite, it depends on the rule. A claim of several comparisons is supported where all are, contradicted "
    "where all are or one is at the level that all share, and mixed where some hold and others do not.",
    f"The interval is the wider of a t-interval ({100 - 200 * ALPHA:g} %) and of order statistics "
    f"({100 - 100 * ALPHA:g} % to each side): with {SEEDS} seeds all must lie on the side that is told. Nothing is "
    "clipped: where a number is infinite the order statistics alone decide, and what was read off a grid, or never "
    "came, is known only between two ends, or as a bound. At the very edge of a region, where any word is wrong, one "
    f"of {SEEDS} seeds came out in at most 5 % of cases to each side for every shape that was tried (normal, "
    "log-normal, exponential, Laplace, an arm that is sometimes stuck).",
    "A diverged run counts in claims about training by a fixed rule (it never learnt; its accuracy is that of its "
    "untrained network; its loss is infinite) and is left out, and named, in claims about what probes measured. A "
    f"median over training, or over a part of it, needs {FEWEST_STEPS} probed steps there.",
    "Only runs that are alike in every key of what was trained are held against each other, the seed and what the arms "
    "name excepted. Each such setting is judged by itself.",
)
"""How verdicts come about. The rates of wrong ones are those that `benchmarks/error_rates.py` measures."""


def render(template: str, path: Path, context: Mapping[str, Any]) -> Path:
    """The page at `path`, written whole or left as it was."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    foot = "Made by python -m analysis from run folders alone; nothing on this page was fetched from anywhere."
    html = environment.get_template(template).render({"foot": foot, "how": HOW, **context})
    return replace(path, lambda temporary: temporary.write_text(html, encoding="utf-8"))


@dataclass(frozen=True)
class Numbers:
    """The folder of CSV files beside the page. `alone`: the page has no links to it, for where it stands alone."""

    folder: Path
    alone: bool = False

    @classmethod
    def beside(cls, out: Path, name: str, *, alone: bool = False) -> Numbers:
        """The folder, made where it is missing. Raises OSError."""
        folder = out.absolute() / name
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder, alone)

    def links(self, name: str, table: pd.DataFrame) -> Markup:
        """Writes NAME.csv; gives a link to it, and one that holds it where it is small."""
        content = table.to_csv(index=False, na_rep="nan").encode()
        replace(self.folder / f"{name}.csv", lambda path: path.write_bytes(content))
        if self.alone:
            return Markup("")
        size = f"{len(content) / 1000:,.0f} kB" if len(content) >= 1000 else f"{len(content)} bytes"
        links = Markup('<a href="{}/{}.csv">{}.csv</a> ({})').format(self.folder.name, name, name, size)
        if len(content) <= LARGEST_DATA_LINK:
            data = base64.b64encode(content).decode()
            links += Markup(' or <a download="{}.csv" href="data:text/csv;base64,{}">from this page itself</a>').format(
                name, data
            )
        return links

    def of_figure(self, name: str, table: pd.DataFrame) -> Markup:
        """Writes NAME.csv, each run's numbers, and NAME.medians.csv, what is drawn; gives links to both."""
        links = self.links(name, table)
        if write_medians(table, self.folder / f"{name}.medians.csv") is None or self.alone:
            return links
        link = Markup('; the medians alone: <a href="{0}/{1}.medians.csv">{1}.medians.csv</a>')
        return links + link.format(self.folder.name, name)


# -------------------------------------------------------------------------------------------------------------- figures


@dataclass(frozen=True)
class Pictures:
    """Draws figures from runs. `numbers`: where what is behind them is written. `light`: of dots, in few bytes."""

    runs: Runs
    numbers: Numbers
    light: bool = False

    def of_study(self, study: Study) -> list[dict[str, Any]]:
        """Its figures."""
        return [self.drawn(name, partial(study.figure, name), own=study.of_user) for name in study.figures]

    def others(self, own: Iterable[tuple[str, Any]]) -> list[dict[str, Any]]:
        """Figures of no study, then a user's own, by name and module."""
        of_studies = {name for study in studies.load() for name in study.figures}
        generic = [name for name in figures.names() if name not in of_studies]
        return [
            *(self.drawn(name, partial(figures.get, name)) for name in generic),
            *(self.drawn(name, partial(_itself, module), own=True) for name, module in own),
        ]

    def drawn(self, name: str, module: Callable[[], Any], *, own: bool = False) -> dict[str, Any]:
        """What a page shows of a figure; `empty`: what is missing, where it is left out.

        A user's own figure that cannot be drawn is told on the page.
        """
        said: dict[str, Any] = {"name": name, "title": name, "caption": "", "expected": ""}
        said |= {"empty": "", "failed": "", "source": "", "links": "", "beside": []}
        try:
            file = module()
            said["title"] = file.TITLE
            said |= {"caption": getattr(file, "CAPTION", ""), "expected": getattr(file, "EXPECTED", "")}
            data = file.compute(self.runs)
            empty = getattr(data, "empty", "")  # of a user's own it may be anything, such as a table's
            if isinstance(empty, str) and empty:
                return {**said, "empty": " ".join(empty.split())}
            with house():
                figure = Figure(layout="constrained")
                file.draw(data, figure)
                figures.lay_out(figure)
                source = _image(figure, self.light)
                width, height = (int(length) for length in (figure.get_size_inches() * PIXELS_PER_INCH).round())
        except Exception as error:
            if not own:
                raise
            return {**said, "failed": f"not drawn: {type(error).__name__}: {error}"}
        links = self.numbers.of_figure(name, data.table()) if callable(getattr(data, "table", None)) else ""
        said["beside"] = data.beside() if isinstance(data, Sheet | SheetAndRidges) else []
        size = {"width": width, "height": height, "least": min(width * FEWEST_PER_INCH // PIXELS_PER_INCH, 600)}
        return {**said, **size, "source": source, "links": links, "alt": f"{said['title']}. {said['caption']}"}


def _itself(module: Any) -> Any:
    return module


def _image(figure: Figure, light: bool) -> str:
    """The figure as a data: address, vectors where they are not too many."""
    if light:
        return small.in_few_bytes(figure, PIXELS_PER_INCH)
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None, "Creator": "batchnorm-suite"})
    vectors = small.address(content.getvalue().decode())
    if len(vectors) <= LARGEST_SVG:
        return vectors
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return f"data:image/png;base64,{base64.b64encode(small.with_palette(content.getvalue())).decode()}"
