"""Drawing a sheet: columns of panels on a given figure, notes and legends outside the data."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.transforms import ScaledTranslation

from analysis.drawing.axes import ABOVE, NOTE, say
from analysis.drawing.draw_panel import divergences, draw_panel, explained, foot, groups, handles, lines, told
from analysis.drawing.sheet import Column, Sheet

WIDTH, HEIGHT = 3.1, 1.65  # of a panel, inches
CARD = 7.0  # of a figure at least: it fills the report's card, or the column of a page
LETTERS = 14.2  # of a note, in an inch of its panel's width
ACROSS = 4  # columns side by side; more go below
ENTRY = 1.03  # of the legend, inches


def draw_sheet(
    sheet: Sheet, figure: Figure | SubFigure, *, across: int = ACROSS, tall: float = 1.0
) -> tuple[float, float]:
    """Draws every column on an empty figure with constrained layout; gives the size it needs, in inches.

    tall: height of a panel, in those of a usual one.
    """
    if not sheet.columns:
        say(figure.subplots(), sheet.nothing)
        return WIDTH * 1.5, HEIGHT
    rows_of = math.ceil(len(sheet.columns) / across)
    columns = math.ceil(len(sheet.columns) / rows_of)
    panels = max(len(column.panels) for column in sheet.columns)
    fine = math.lcm(*(len(column.panels) for column in sheet.columns))
    width = max(WIDTH * columns, CARD)
    letters = int(LETTERS * width / columns)
    grid = figure.add_gridspec(fine * rows_of, columns)
    for i, column in enumerate(sheet.columns):
        height = fine // len(column.panels)
        top = fine * (i // columns)
        axes: list[Axes] = []
        for row, panel in enumerate(column.panels):
            place = grid[top + row * height : top + (row + 1) * height, i % columns]
            axes.append(figure.add_subplot(place, sharex=axes[0] if axes else None))
            draw_panel(panel, axes[-1])
            axes[-1].tick_params(labelbottom=row == len(column.panels) - 1)
        _head(column, axes, letters, beside=sheet.columns[i - i % columns : i - i % columns + columns])
        foot(column.panels, axes[-1])
        _name_diverged(column, axes[-1])
    notes = max(sum(lines(told(panel, letters)) for panel in column.panels) for column in sheet.columns)
    _legend(sheet, figure, width)
    return width, (HEIGHT * tall * panels + 0.1 * notes + 0.55) * rows_of + 0.45 + 0.15 * len(sheet.notes)


def sized(sheet: Sheet, figure: Figure, **options: Any) -> None:
    """Draws a sheet alone on a figure and sets the figure's size; options of `draw_sheet`."""
    figure.set_size_inches(*draw_sheet(sheet, figure, **options))


# --------------------------------------------------------------------------------------------------- around the columns


def _head(column: Column, axes: Sequence[Axes], letters: int, beside: Sequence[Column]) -> None:
    # Titles of columns side by side stand at one height, whatever the notes under them.
    gap = 5 + 10 * max(lines(told(other.panels[0], letters)) for other in beside)
    heads = [_titles(other) for other in beside]
    title, subtitle = _titles(column)
    axes[0].set_title(title, pad=gap + 2 + 10 * max(lines(below) for _, below in heads))
    axes[0].annotate(subtitle, (0.5, 1), (0, gap), ha="center", **ABOVE)
    for axis, panel in zip(axes, column.panels, strict=True):
        axis.annotate(told(panel, letters), (0, 1), (1, 1), ha="left", linespacing=1.05, **NOTE, **ABOVE)


def _titles(column: Column) -> tuple[str, str]:
    setting = column.setting
    if column.title:
        return column.title, textwrap.fill(setting.label, 46)
    return setting.title, textwrap.fill(setting.subtitle, 44)


def _name_diverged(column: Column, last: Axes) -> None:
    crosses = [*groups(column.panels, column.setting), *divergences(column.panels, column.setting)]
    if crosses:
        below = last.legend(handles=crosses, loc="upper center", handlelength=1.2, borderaxespad=0)
        # 30 points below the axis, under the ticks' and the axis' labels, whatever the height of the panel.
        shift = ScaledTranslation(0, -30 / 72, last.get_figure(root=True).dpi_scale_trans)  # type: ignore[union-attr]
        below.set_bbox_to_anchor((0.5, 0), last.transAxes + shift)


def _legend(sheet: Sheet, figure: Figure | SubFigure, width: float) -> None:
    panels = [panel for column in sheet.columns for panel in column.panels]
    made = handles(panels, {norm for column in sheet.columns for norm in column.setting.names})
    entry = max(ENTRY, 0.55 + 0.062 * max((len(str(h.get_label())) for h in made), default=0))
    rows = max(1, math.ceil(len(made) / max(1, int(width / entry))))  # no more in one than fit
    words = [*explained(panels, sheet.bands), *sheet.notes]
    title = "\n".join(textwrap.fill(word, int(width * 16)) for word in words)
    figure.legend(handles=made, loc="outside lower center", ncols=max(1, math.ceil(len(made) / rows)), title=title)
