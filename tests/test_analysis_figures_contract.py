"""Every figure on small, incomplete and broken input: never blank, and nobody is left out without a word."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from analysis import figures, studies
from analysis.drawing.sheet import Sheet
from analysis.errors import WrongInput
from analysis.figures import Runs
from analysis.select import FACTS
from analysis.style import house
from tests.conftest import partly
from tests.made_figures import MadeUp, both, deep, every_kind, in_turn, prepared, scaled

MATERIAL = {
    "six numbers": lambda: both(norms=("none", "batch"), seeds=1, steps=(0, 10)),
    "one step": lambda: MadeUp(norms=("none", "batch"), seeds=1, steps=(0,)),
    "one seed, all norms": lambda: MadeUp(
        norms=("none", "batch", "noisy_batch", "l1", "l2", "linf", "my_norm"), seeds=1
    ),
    "seven seeds": lambda: MadeUp(norms=("none", "batch"), seeds=7),
    "diverged at step 3": lambda: both(norms=("none", "batch"), steps=(0, 1, 3, 4), ends={"none": 3}),
    "diverged at once": lambda: MadeUp(norms=("none", "batch"), steps=(0, 1), ends={"none": 0, "batch": 0}),
    "a missing norm": lambda: MadeUp(norms=("batch",)),
    "other norms only": lambda: MadeUp(norms=("weight",)),
    "regression only": lambda: MadeUp(norms=("none", "batch"), regression=True),
    "only training": lambda: MadeUp(norms=("none", "batch")).without("landscape", "some"),
    "of several depths": lambda: deep(norms=("none", "batch"), steps=(0, 10), ends={"none": 10}),
    "of several scales": lambda: scaled(norms=("none", "batch"), steps=(0, 10), ends={"none": 10}),
    "in turn": lambda: in_turn(norms=("none", "batch"), steps=(0, 10), ends={"none": 10}),
    "of several ways and places": lambda: prepared(norms=("none", "batch"), seeds=1, ends={"none": 10}),
    "no matching metric": lambda: nothing_matching(),
    "nothing finite": lambda: MadeUp(norms=("none", "batch"), values=math.nan),
    "nothing positive": lambda: both(norms=("none", "batch"), seeds=1, steps=(0, 10), values=0.0),
}
RENDERED = ("diverged at step 3", "nothing positive")
"""Ticks and scales are worked out too, which is where bad numbers show."""


def nothing_matching() -> MadeUp:
    made = both(norms=("none",))
    made.table = made.table.query("metric == 'loss'").assign(metric="mine", probe="mine")
    made.arrays = []
    return made


def drawn(name: str, data: Any, *, rendered: bool = False) -> Figure:
    """The figure, without the time that layout and files take."""
    with house():
        figure = Figure(layout="constrained")
        figures.get(name).draw(data, figure)
        if rendered:
            figure.set_layout_engine(None)
            figure.draw_without_rendering()
    return figure


def words(figure: Figure) -> str:
    """All that is written on a figure."""
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def notes_of(data: Any) -> tuple[str, ...]:
    return (*data.sheet.notes, *data.ridges.notes) if hasattr(data, "ridges") and hasattr(data, "sheet") else data.notes


class Kinds:
    """Runs of every kind, each made when it is first asked for: most figures take the first."""

    def __init__(self, made: Iterable[MadeUp]) -> None:
        self._made, self._left = list[Runs](), iter(made)

    def __iter__(self) -> Iterator[Runs]:
        yield from self._made
        for one in self._left:
            self._made.append(one.runs())
            yield self._made[-1]


def filled(name: str, materials: Iterable[Runs]) -> Any:
    """A figure of the first runs that have what it is about."""
    computed = (figures.get(name).compute(runs) for runs in materials)
    return next(data for data in computed if not data.empty)


@pytest.fixture(scope="module")
def standard() -> dict[str, tuple[Any, Figure]]:
    """Every figure of the same runs, of both tasks or of several depths, computed and drawn."""
    options: dict[str, Any] = {"norms": ("none", "batch", "noisy_batch", "noise"), "steps": (0, 10, 11, 30)}
    materials = Kinds(every_kind(depths=(10, 11, 12, 13), **options))
    computed = {name: filled(name, materials) for name in figures.names()}
    return {name: (data, drawn(name, data)) for name, data in computed.items()}


@pytest.mark.parametrize("material", partly(MATERIAL, 2))
def test_every_figure_draws_every_material_and_is_never_blank(material: str) -> None:
    runs = MATERIAL[material]().runs()
    for name in figures.names():
        data = figures.get(name).compute(runs)
        figure = drawn(name, data, rendered=material in RENDERED)
        assert figure.axes, name
        for axes in figure.axes:
            if axes.get_label() == "<colorbar>":
                continue
            there = any(len(line.get_xdata()) for line in axes.lines) or any(t.get_text() for t in axes.texts)
            assert there, (name, axes.get_ylabel())
        table = data.table()
        numbers = table[[c for c in ("median", "density") if c in table]].to_numpy(dtype=float)
        assert data.empty or np.isfinite(numbers).any(), name
        assert "\n" not in data.empty
        if not np.isfinite(numbers).any():
            assert data.empty.startswith("no"), name


def test_every_figure_says_what_is_missing_without_any_records() -> None:
    empty = Runs(MadeUp(norms=("none",), seeds=1).table[:0], pd.DataFrame(columns=list(FACTS)), {})
    for name in figures.names():
        data = figures.get(name).compute(empty)
        texts = [text.get_text() for axes in drawn(name, data).axes for text in axes.texts]
        assert any(text.startswith("no ") for text in texts), name
        assert len(data.table()) == 0
        assert data.empty.startswith("no "), name
        with pytest.raises(WrongInput, match="nothing to draw: no "):
            figures.draw(name, empty)


def test_a_figure_that_shows_only_what_stands_beside_its_subject_is_empty() -> None:
    without = MadeUp(norms=("none", "batch")).without("some", "landscape")
    without.arrays = []
    runs = without.runs()
    said = {name: figures.get(name).compute(runs).empty for name in figures.names()}
    drawn = {name for name, empty in said.items() if not empty}
    assert {name for name in drawn if "accuracy" not in words_of_title(name)} == set()
    assert "‖G − G′‖" in said["fig03_shift"]


def words_of_title(name: str) -> str:
    module = figures.get(name)
    return f"{module.TITLE} {module.CAPTION}".lower()


def test_every_figure_tells_what_is_seen_and_what_is_expected() -> None:
    for name in figures.names():
        module = figures.get(name)
        assert all(len(text) > 20 for text in (module.TITLE, module.CAPTION, module.EXPECTED)), name
    assert len({figures.get(name).TITLE for name in figures.names()}) == len(figures.names())


def curves_of(figure: Figure) -> list[np.ndarray]:
    """The numbers of what is drawn over data; levels go across the axes, and what is beyond these lies at their end."""
    found = []
    for axes in figure.axes:
        if axes.get_xlabel() != "value" and axes.get_yticks().size and axes.get_label() != "<colorbar>":
            lines = [line for line in axes.lines if line.get_transform() == axes.transData]
            values = [np.asarray(line.get_ydata(), dtype=float) for line in lines]
            found += [one[~np.isin(one, axes.get_ylim())] for one in values if np.isfinite(one).all()]
    return [one for one in found if len(one)]


@pytest.mark.long
def test_the_numbers_drawn_are_in_the_table(standard: dict[str, tuple[Any, Figure]]) -> None:
    """Every y value of every line over data, found in the table of its figure."""
    without = set()
    for name, (data, figure) in standard.items():
        table = data.table()
        numbers = table.select_dtypes("number").to_numpy().ravel()
        numbers = np.unique(np.round(numbers[np.isfinite(numbers)], 12))
        curves = [] if "density" in table and "median" not in table else curves_of(figure)
        assert all(np.isin(np.round(curve, 12), numbers).all() for curve in curves), name
        maps = isinstance(data, Sheet) and any(panel.cells for column in data.columns for panel in column.panels)
        without |= set() if curves or maps else {type(data).__name__}
    assert without == {"Ridges"}, "every sheet has curves, or maps"


@pytest.mark.long
def test_equal_runs_give_equal_bytes(tmp_path: Path, standard: dict[str, tuple[Any, Figure]]) -> None:
    """Of the smallest figure of each kind."""
    made = MadeUp(norms=("none", "batch"), steps=(0, 10), seeds=1)
    runs = made.runs()
    names = [name for name in standard if not figures.get(name).compute(runs).empty]
    names.sort(key=lambda name: -len(standard[name][1].axes))
    kinds = {type(standard[name][0]): name for name in names}
    assert set(kinds) == {type(data) for data, _ in standard.values()}
    made.table = made.table.sample(frac=1, random_state=0)
    shuffled = made.runs()
    for name in kinds.values():
        first = figures.write(name, runs, tmp_path / name / "a")
        assert [path.name for path in first] == [
            f"{name}.{kind}" for kind in ("svg", "png", "pdf", "csv", "medians.csv")
        ]
        assert sorted((tmp_path / name / "a").iterdir()) == sorted(first)
        second = figures.write(name, shuffled, tmp_path / name / "b")
        for a, b in zip(first, second, strict=True):
            assert a.read_bytes() == b.read_bytes(), a.name
        assert b"<dc:date>" not in first[0].read_bytes()


# ------------------------------------------------------------------------------------------------ who is left out


ARMS = ("none", "batch", "noisy_batch", "noise", "l1", "l2", "linf", "layer", "my_norm")
FIGURES = partly(figures.names(), 2)


@pytest.fixture(scope="module")
def of_all_arms() -> Kinds:
    return Kinds(every_kind(norms=ARMS, steps=(0,)))


@pytest.mark.parametrize("name", FIGURES)
def test_every_arm_is_drawn_or_named(name: str, of_all_arms: Kinds) -> None:
    data = filled(name, of_all_arms)
    # An arm may be named with what else it stands for.
    shown = {re.split(r" \(|, whole batches$| \w+=", arm)[0] for arm in data.table()["norm"]}
    said = "; ".join(notes_of(data))
    for arm in ARMS:
        assert arm in shown or re.search(rf"(not drawn here|no terms recorded):[^:;]*\b{arm}\b", said), arm
    assert "my_norm" in shown or "no terms recorded" in said


def test_an_arm_that_the_suite_does_not_know_is_shown_and_so_are_all_of_three() -> None:
    def shown(*norms: str) -> set[str]:
        return set(figures.numbers("fig04_landscape", MadeUp(norms=norms, seeds=1, steps=(0,)).runs())["norm"])

    assert shown("none", "batch", "layer", "my_norm") == {"none", "batch", "my_norm"}
    assert shown("none", "batch", "layer") == {"none", "batch", "layer"}


@pytest.mark.long
def test_what_is_noted_is_written_once(standard: dict[str, tuple[Any, Figure]]) -> None:
    noted = 0
    for name, (data, figure) in standard.items():
        said = " ".join(words(figure).split())
        for note in set(notes_of(data)):
            assert said.count(" ".join(note.split())) == 1, (name, note)
            noted += 1
    assert noted > len(standard) / 2


WIDTHS = [2**i for i in range(1, 7)]
"""Of layers: no figure goes over them, while the learning rate or the size of batches is no wall in some."""


@pytest.fixture(scope="module")
def of_six_settings() -> Runs:
    made = [MadeUp(norms=("none", "batch"), seeds=1, steps=(0,), keys={"model.width": width}) for width in WIDTHS]
    return sum(made[1:], made[0]).runs()


@pytest.mark.parametrize("name", FIGURES)
def test_settings_that_do_not_fit_are_counted(name: str, of_six_settings: Runs) -> None:
    data = figures.get(name).compute(of_six_settings)
    said = "; ".join(notes_of(data))
    counted = set(map(int, re.findall(r"(\d+) more settings? not drawn", said)))
    assert len(counted) < 2
    there = 0 if data.empty else data.table()["setting"].nunique()
    ridges = said.count("histograms not drawn:")
    assert data.empty or there + sum(counted) + (ridges if there < 4 else 0) == len(WIDTHS)


@pytest.fixture(scope="module")
def of_other_networks() -> Kinds:
    """Four settings, which differ in something else each."""
    kinds: list[dict[str, Any]] = [{}, {"model.width": 0.5}, {"model.activation": "tanh"}, {"steps": 500}]
    common = {"model.width": 1.0, "model.activation": "relu"}
    options: dict[str, Any] = {"norms": ("none", "batch"), "seeds": 3, "steps": (0,)}
    made = zip(*(every_kind(keys={**common, **keys}, **options) for keys in kinds), strict=True)
    return Kinds(sum(others, first) for first, *others in made)


@pytest.mark.parametrize("name", FIGURES)
def test_runs_that_differ_in_anything_but_the_seed_are_columns_of_their_own(
    name: str, of_other_networks: Kinds
) -> None:
    table = filled(name, of_other_networks).table()
    labels = list(table["setting"].unique())
    assert len(labels) >= 2
    assert all("width" in label and "activation" in label and "steps" in label for label in labels)
    assert "runs" not in table or table["runs"].max() in (1, 3)  # of no setting's seeds with another's


def test_seeds_are_counted_within_their_setting(of_other_networks: Kinds) -> None:
    data = figures.get("training_curves").compute(next(iter(of_other_networks)))
    assert data.table()["runs"].max() == 3
    said = words(drawn("training_curves", data))
    assert "(3 seeds)" in said
    assert "6 seeds" not in said


# ------------------------------------------------------------------------------------------------------- a panel alone


def lines(axes: Any) -> list[tuple[list[float], list[float]]]:
    return [(list(map(float, line.get_xdata())), list(map(float, line.get_ydata()))) for line in axes.lines]


@pytest.mark.long
def test_every_panel_can_be_had_alone_as_it_is_in_its_figure(standard: dict[str, tuple[Any, Figure]]) -> None:
    for name, (data, figure) in standard.items():
        shown = [axes for axes in figure.axes if axes.get_label() != "<colorbar>" and axes.lines]
        displays = data.panels()
        assert len({(one.setting, one.name) for one in displays}) == len(displays), name
        tables = [one.table() for one in displays]
        whole_table = data.table()
        joined = pd.concat(tables, ignore_index=True)[list(whole_table)]
        pd.testing.assert_frame_equal(joined, whole_table, check_dtype=False)  # of texts, where a part has none
        own = Figure()
        alone = own.subplots(1, len(displays), squeeze=False)[0]
        for axes, one in zip(alone, displays, strict=True):
            assert one.plot(axes) is one
            assert one.ax is axes
            assert one._repr_png_() is None, "axes of one's own are shown by their own figure"
        same = [lines(axes) for axes in alone if axes.lines]  # a panel without a number is blank in both
        np.testing.assert_equal(same, [lines(axes) for axes in shown], err_msg=name)


@pytest.mark.parametrize(
    ("panel", "found"),
    [
        ("effective β", "effective β"),
        ("beta", "effective β"),
        ("BETA", "effective β"),
        ("Loss", "loss along −g"),
        ("along -g", "loss along −g"),
        ("||g' - g||", "difference ‖g′ − g‖"),
        ("diff", "difference ‖g′ − g‖"),
    ],
)
def test_a_panel_by_a_part_of_its_name(panel: str, found: str) -> None:
    runs = MadeUp(norms=("none", "batch"), seeds=2, values=0.5).runs()  # alike, so that all train
    axes = Figure().subplots()
    one = figures.draw("fig04_landscape", runs, panel=panel, ax=axes)
    assert one.name == found
    assert one.ax is axes
    assert axes.get_ylabel().split("\n")[0] == found.split(",")[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["none", "batch"]
    assert "vgg_small on digits" in axes.get_title()
    assert "(2 seeds)" in words(axes.figure)
    assert set(one.table()["quantity"]) == {found}


def test_a_panel_that_is_not_there_or_not_the_only_one_is_told_with_all_that_there_are() -> None:
    runs = (MadeUp(seeds=1, layers=2) + MadeUp(seeds=1, layers=2, keys={"optim.lr": 0.15})).runs()
    for name, asked, said in [
        ("fig04_landscape", {"panel": "eta"}, "panel='eta': no such panel; there is: loss along −g; difference"),
        ("fig04_landscape", {}, "3 panels; give a part of one as panel=: loss along −g; difference"),
        (
            "fig04_landscape",
            {"panel": "beta"},
            "2 settings; give a part of one as setting=: vgg_small on digits, learn",
        ),
        ("fig04_landscape", {"panel": "beta", "setting": "0.2"}, "setting='0.2': no such setting; there is: vgg_small"),
        ("fig03_shift", {"panel": "cos", "setting": "0.15"}, "panel='cos': 2 panels have it; give a part of one as"),
        ("fig03_shift", {"panel": "", "setting": "0.15"}, "panel='': no such panel"),
    ]:
        with pytest.raises(WrongInput) as refused:
            figures.draw(name, runs, **asked)
        assert said in str(refused.value)
        assert "\n" not in str(refused.value)
    one = figures.draw("fig04_landscape", runs, panel="beta", setting="0.1")
    assert one.setting.endswith("learning rate 0.1")
    png = one._repr_png_()
    assert png is not None
    assert png.startswith(b"\x89PNG")


# ------------------------------------------------------------------------------------------------------ a user's figure

MINE = '''
"""The last loss of each run."""
from dataclasses import dataclass
import pandas as pd

TITLE = "Last loss"

@dataclass
class Last:
    losses: pd.Series
    def table(self):
        return self.losses.reset_index()

def compute(runs):
    return Last(runs.records("loss", "train").sort_values("step").groupby("run", observed=True)["value"].last())

def draw(data, figure):
    figure.subplots().bar(data.losses.index.astype(str), data.losses)
'''


def test_a_figure_comes_from_the_users_own_file(tmp_path: Path) -> None:
    path = tmp_path / "last_loss.py"
    path.write_text(MINE)
    name, module = figures.from_file(path)
    assert (name, module.TITLE, module.CAPTION) == ("last_loss", "Last loss", "")
    made = MadeUp(norms=("none", "batch"), seeds=1)
    paths = figures.write(name, made.runs(), tmp_path / "out", module)
    assert [path.suffix for path in paths] == [".svg", ".png", ".pdf", ".csv"]
    expected = made.table.query("metric == 'loss' and step == 20").set_index("run")["value"]
    expected = expected[["batch-0-0.1", "none-0-0.1"]]
    np.testing.assert_allclose(pd.read_csv(paths[-1]).set_index("run")["value"], expected)
    np.testing.assert_allclose(figures.numbers(path, made.runs())["value"], expected)
    assert figures.show(str(path), made.runs()).axes
    with pytest.raises(WrongInput, match="has no single panels"):
        figures.draw(path, made.runs(), panel="loss")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("mine.py", "TITLE = 'x'\n", "missing: compute, draw"),
        ("mine.py", "import nothing_of_this_name\n", "cannot be imported: ModuleNotFoundError"),
        ("mine.py", "def (:\n", "cannot be imported: SyntaxError"),
        ("mine.txt", MINE, "give a Python file"),
        ("theory_terms.py", MINE, "there is a figure 'theory_terms' already"),
    ],
)
def test_a_users_file_that_is_no_figure_is_refused_in_one_line(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(WrongInput, match=said) as refused:
        figures.from_file(tmp_path / name)
    assert "\n" not in str(refused.value)


STUDY = """
from analysis.studies import Study
STUDY = Study(title="t", source="s", says="s", predicts="p")
"""


def own_study(folder: Path, figure: str, content: str) -> list[studies.Study]:
    (folder / "figures").mkdir(parents=True)
    (folder / "__init__.py").write_text(STUDY)
    (folder / "figures" / "__init__.py").write_text("")
    (folder / "figures" / f"{figure}.py").write_text(content)
    return studies.load([folder])


def test_a_figure_of_a_users_study_is_held_to_the_same(tmp_path: Path) -> None:
    known = own_study(tmp_path / "mine2026", "last_loss", MINE)
    assert set(figures.names(known)) == {*figures.names(), "last_loss"}
    module = figures.get("last_loss", known)
    assert (module.TITLE, module.CAPTION, module.EXPECTED) == ("Last loss", "", "")
    with pytest.raises(WrongInput, match=r"unknown figure 'last_loss'"):
        figures.get("last_loss")
    known = own_study(tmp_path / "yours2026", "bare", "TITLE = 'x'\n")
    with pytest.raises(WrongInput, match=r"yours2026/figures/bare.py: a figure needs .* missing: compute, draw"):
        figures.get("bare", known)
    known = own_study(tmp_path / "theirs2026", "training_curves", MINE)
    with pytest.raises(WrongInput, match="figure 'training_curves' of study 'theirs2026': there is one already"):
        figures.names(known)
