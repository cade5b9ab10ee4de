"""Statistics over seeds, the look, every figure on small and broken input, and the command line."""

from __future__ import annotations

import itertools
import math
import random
import statistics as plain
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from analysis import figures, load_runs, statistics
from analysis.__main__ import main
from analysis.drawing.axes import in_series
from analysis.drawing.panel import Divergence, Panel
from analysis.drawing.rows import lengths_told
from analysis.drawing.sheet import Sheet
from analysis.errors import WrongInput
from analysis.figures import Runs, training_curves
from analysis.style import NORMS, house, in_order, norm_style
from tests.made_runs import log, write_run


def frame(values: dict[tuple[str, int], list[float]], *, regression: bool = False, **columns: Any) -> pd.DataFrame:
    """A table as load_runs gives it: losses of (norm, seed) at steps 0, 1, ...; accuracies are 1/(1 + loss)."""
    rows = []
    for (norm, seed), losses in values.items():
        own = {"run": f"{norm}-{seed}", "norm": norm, "seed": seed, "data": "digits", "model": "mlp", "lr": 0.1}
        own |= {"state": "finished", "diverged_at": math.nan, "optimiser": "sgd", "batch_size": 8, "weight_decay": 0.0}
        own |= {"loss_reduction": "mean", "schedule": "constant", "numerics": "exact", "probe": "training"}
        own |= {"layer": None, "x": math.nan, "task": "regression" if regression else "classification"} | columns
        for step, loss in enumerate(losses):
            unit = "squared error, mean over the batch" if regression else "nats, mean over the batch"
            rows.append({**own, "step": step, "metric": "loss", "batch": "train", "unit": unit, "value": 3 * loss + 1})
            for batch in ("train", "test"):
                rows.append({**own, "step": step, "metric": "data_loss", "batch": batch, "unit": unit, "value": loss})
            for batch in () if regression else ("train", "test"):
                accuracy = {"metric": "accuracy", "batch": batch, "unit": "fraction", "value": 1 / (1 + loss)}
                rows.append({**own, "step": step, **accuracy})
    return pd.DataFrame(rows)


# ----------------------------------------------------------------------------------------------------------- statistics


def test_median_and_extremes_against_plain_python() -> None:
    generator = np.random.default_rng(0)
    rows = [
        {"norm": norm, "step": step, "run": f"{norm}-{seed}", "value": generator.normal()}
        for norm, step, seed in itertools.product(("none", "batch"), range(5), range(4))
    ]
    rows[3]["value"] = math.nan  # no number there
    rows = [row for row in rows if (row["norm"], row["step"], row["run"]) != ("batch", 2, "batch-1")]
    summary = statistics.summarise(statistics.by_run(pd.DataFrame(rows), ["norm", "step"]))
    assert len(summary) == 10
    for (norm, step), found in summary.iterrows():
        there = [r["value"] for r in rows if r["norm"] == norm and r["step"] == step and not math.isnan(r["value"])]
        assert found.centre == pytest.approx(plain.median(there), rel=1e-14)
        assert (found.low, found.high, found.runs) == (min(there), max(there), len(there))


def test_runs_that_were_looked_at_at_different_steps_are_interpolated_between_their_own() -> None:
    draw = random.Random(1)
    rows = [
        {"run": run, "step": step, "value": draw.choice([draw.gauss(0, 1)] * 8 + [math.nan, math.inf])}
        for run in "abc"
        for step in sorted(draw.sample(range(30), 12))
    ]
    found = statistics.between_steps(pd.DataFrame(rows))
    assert found.index.tolist() == sorted({row["step"] for row in rows})
    for run, step in itertools.product("abc", found.index):
        own = {row["step"]: row["value"] for row in rows if row["run"] == run}
        before = max((s for s in own if s <= step), default=None)
        after = min((s for s in own if s >= step), default=None)
        if before is None or after is None:
            expected = math.nan
        elif before == after or own[before] == own[after]:
            expected = own[before]
        else:
            share = (step - before) / (after - before)
            expected = (1 - share) * own[before] + share * own[after]
        assert found[run][step] == pytest.approx(expected, nan_ok=True)
    alike = pd.DataFrame([{"run": run, "step": step, "value": step} for run in "ab" for step in range(3)])
    pd.testing.assert_frame_equal(statistics.between_steps(alike), statistics.by_run(alike, ["step"]))


def test_an_infinity_is_a_number() -> None:
    table = pd.DataFrame({"a": [1.0, 1.0, 1.0], "b": [math.nan, math.inf, 2.0]})
    extremes = statistics.summarise(table)
    assert extremes.high.tolist() == [1.0, math.inf, 2.0]
    assert extremes.centre.tolist() == [1.0, math.inf, 1.5]


def test_a_band_is_over_runs_only() -> None:
    twice = pd.DataFrame({"run": ["a", "a"], "step": [0, 0], "value": [1.0, 2.0]})
    with pytest.raises(WrongInput, match="several values at the same step"):
        statistics.by_run(twice, ["step"])


# ---------------------------------------------------------------------------------------------------------------- style


def test_normalisations_are_told_apart_in_colour_and_in_grey() -> None:
    styles = list(NORMS.values())
    assert len({style.dashes for style in styles}) == len(styles)
    assert len({style.marker for style in styles}) == len(styles)
    assert list(NORMS) == in_order(reversed(list(NORMS)))


def test_an_unknown_normalisation_has_a_style_of_its_name_alone() -> None:
    assert norm_style("mine") == norm_style("mine")
    styles = {norm_style(f"mine{i}") for i in range(50)}
    assert len(styles) > 20
    assert not {style.dashes for style in styles} & {style.dashes for style in NORMS.values()}
    assert in_order({"zeta", "alpha", "batch", "none"}) == ["none", "batch", "alpha", "zeta"]


def test_a_normalisation_with_options_is_told_from_it_and_stands_beside_it() -> None:
    for name, style in NORMS.items():
        other = norm_style(f"{name} centered")
        assert other.colour != style.colour
        assert other.dashes != style.dashes
        assert other == norm_style(f"{name} centered")
        hue, own = to_rgb(style.colour), to_rgb(other.colour)
        assert max(own) < max(hue) or name == "none", "a darker shade"
        if max(hue) > min(hue):
            assert np.argmax(own) == np.argmax(hue), "of the same colour"
    assert norm_style("group groups=4").colour == norm_style("group groups=8").colour
    assert norm_style("own statistics per domain").colour in {style.colour for style in NORMS.values()}
    assert in_order({"zeta", "linf", "l2 centered", "l2"}) == ["l2", "l2 centered", "linf", "zeta"]


def test_the_house_style_is_undone() -> None:
    before = dict(matplotlib.rcParams)
    with house():
        assert matplotlib.rcParams["svg.hashsalt"] == "batchnorm-suite"
    assert dict(matplotlib.rcParams) == before


# ------------------------------------------------------------------------------------------------------ training curves

DIVERGED = pd.concat(
    [
        frame({("batch", 0): [2.0, 1.0, 0.5, 0.4, 0.3], ("none", 0): [2.0, 2.0, 2.0, 1.0, 1.0]}),
        frame({("none", 1): [2.0, 1e9, math.inf]}, state="diverged", diverged_at=3.0),
    ]
)
MATERIAL = {
    "one number": frame({("none", 0): [2.0]}),
    "three seeds": frame({("batch", seed): [2.0, 1.0 + seed] for seed in range(3)}),
    "ten seeds": frame({("batch", seed): [2.0, 1.0 + seed] for seed in range(10)}),
    "many seeds": frame({("batch", seed): [2.0, 1.0 + seed] for seed in range(11)}),
    "nothing positive on a logarithmic axis": frame({("none", 0): [0.0, -1.0]}, regression=True),
    "no test accuracy": DIVERGED[(DIVERGED.metric != "accuracy") | (DIVERGED.batch != "test")],
}


def computed(table: pd.DataFrame) -> Sheet:
    return training_curves.compute(Runs.of(table.reset_index(drop=True)))


@pytest.mark.parametrize("typed", ["fig04", "figure4", "Figure 4", "4", "fig4_landscape"])
def test_a_figure_by_its_number_alone_is_a_near_miss(typed: str) -> None:
    with pytest.raises(WrongInput, match="did you mean 'fig04_landscape'"):
        figures.get(typed)


def test_things_in_an_order_are_told_apart_in_grey_too() -> None:
    styles = [in_series(place / 5) for place in range(6)]
    assert len({style["marker"] for style in styles}) == 6
    light = [0.299 * r + 0.587 * g + 0.114 * b for r, g, b in (to_rgb(style["color"]) for style in styles)]
    assert all(later - earlier > 0.05 for earlier, later in itertools.pairwise(light))


def test_step_lengths_are_told_once_where_they_agree() -> None:
    assert lengths_told({"a": "1, 2 x lr", "b": "1, 2 x lr", "c": ""}) == ("1, 2 x lr",)
    assert lengths_told({"a": "1, 2 x lr", "b": "3 x lr"}) == ("a: 1, 2 x lr", "b: 3 x lr")
    assert lengths_told({"a": ""}) == ()


def test_unknown_figure() -> None:
    with pytest.raises(WrongInput, match=r"did you mean 'training_curves'\?"):
        figures.get("training_curve")


def panel_of(data: Sheet, quantity: str) -> Panel:
    return next(panel for panel in data.columns[0].panels if panel.name == quantity)


def test_the_curves_are_those_of_the_records() -> None:
    losses = {("batch", 0): [2.0, 1.0], ("batch", 1): [2.5, 0.5], ("batch", 2): [1.0, 3.0], ("none", 0): [9.0, 8.0]}
    data = computed(frame(losses))
    none, batch = panel_of(data, "training loss").curves
    assert (none.norm, batch.norm) == ("none", "batch")
    assert batch.median.tolist() == [2.0, 1.0]
    assert batch.least.tolist() == [1.0, 0.5]
    assert batch.greatest.tolist() == [2.5, 3.0]
    assert batch.each.tolist() == [[2.0, 1.0], [2.5, 0.5], [1.0, 3.0]]
    assert panel_of(data, "training accuracy").curves[1].median.tolist() == [1 / 3, 1 / 2]
    table = data.table()
    row = table[(table.quantity == "training loss") & (table.norm == "batch") & (table.step == 1)].iloc[0]
    assert (row["median"], row["min"], row["max"], row.runs, row.run_2) == (1.0, 0.5, 3.0, 3, 3.0)


def test_settings_are_columns() -> None:
    parts = [
        frame({("none", 0): [1.0]}, lr=lr, batch_size=size, run=f"{lr}-{size}") for lr in (0.5, 0.1) for size in (8, 64)
    ]
    data = computed(pd.concat([*parts, frame({("l1", 0): [1.0]}, regression=True, data="gaussian")]))
    assert [(c.setting.title, c.setting.subtitle) for c in data.columns] == [
        ("mlp on digits", "learning rate 0.1, batch size 8"),
        ("mlp on digits", "learning rate 0.1, batch size 64"),
        ("mlp on digits", "learning rate 0.5, batch size 8"),
        ("mlp on digits", "learning rate 0.5, batch size 64"),
        ("mlp on gaussian", "learning rate 0.1"),  # alone of its model and data
    ]
    assert [panel.name for panel in data.columns[0].panels] == [
        "training accuracy",
        "test accuracy",
        "training loss",
    ]
    assert [panel.log for panel in data.columns[0].panels] == [False, False, True]
    assert [(panel.name, panel.log) for panel in data.columns[4].panels] == [
        ("training loss", True),
        ("test loss", True),
    ]


def test_runs_that_differ_in_what_no_column_shows_are_not_passed_off_as_seeds() -> None:
    twice = pd.concat([frame({("l1", 0): [1.0], ("none", 0): [3.0]}), frame({("l1", 0): [2.0]}, run="centred")])
    data = computed(twice)
    assert [c.setting.subtitle for c in data.columns] == [
        f"learning rate 0.1, run {run}" for run in ("centred", "l1-0", "none")
    ]
    assert [c.setting.names for c in data.columns] == [["l1"], ["l1"], ["none"]]
    assert data.table().groupby("setting")["runs"].max().tolist() == [1, 1, 1]
    assert "run" not in computed(MATERIAL["three seeds"]).columns[0].setting.subtitle


def test_a_diverged_run_is_marked_named_and_does_not_squeeze_the_others() -> None:
    data = computed(DIVERGED)
    curve = panel_of(data, "training loss").curves[0]
    assert curve.diverged == (Divergence("none-1", 3.0, 1e9),)
    with house():
        figure = Figure(layout="constrained")
        training_curves.draw(data, figure)
    loss = figure.axes[-1]
    assert loss.get_ylim()[1] < 3
    crosses = [line for line in loss.lines if line.get_marker() == "X" and len(line.get_xdata()) == 1]
    assert [(float(line.get_xdata()[0]), to_hex(line.get_color())) for line in crosses] == [(3.0, "#000000")]
    assert loss.get_legend().get_texts()[0].get_text() == "none: 1 of 2 diverged, at step 3"
    legend = figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["none (2 seeds)", "batch (1 seed)"]
    said = legend.get_title().get_text().replace("\n", " ")
    assert said == "line: median over seeds, band: min to max (1 to 2 seeds); thin: each seed"


@pytest.mark.parametrize(
    ("material", "thin"), [("three seeds", 3), ("ten seeds", 10), ("many seeds", 0), ("one number", 0)]
)
def test_up_to_ten_seeds_are_each_drawn(material: str, thin: int) -> None:
    with house():
        figure = Figure(layout="constrained")
        training_curves.draw(computed(MATERIAL[material]), figure)
    assert [len(axes.lines) for axes in figure.axes] == [thin + 1] * 3


def test_the_median_ends_where_the_first_finished_run_was_looked_at_last() -> None:
    losses = frame({("none", 0): [1.0] * 8, ("none", 1): [2.0] * 6, ("batch", 0): [1.0] * 8})
    losses = pd.concat([losses, frame({("batch", 1): [3.0] * 3}, state="diverged", diverged_at=2.0)])
    none, batch = panel_of(computed(losses), "training loss").curves
    assert none.median.tolist() == pytest.approx([1.5] * 6 + [math.nan] * 2, nan_ok=True)
    assert none.each[0].tolist() == [1.0] * 8
    assert batch.median.tolist() == [2.0] * 3 + [1.0] * 5  # of a diverged run nothing more is to come


def drawn(data: Sheet) -> Figure:
    with house():
        figure = Figure(layout="constrained")
        training_curves.draw(data, figure)
    return figure


def test_what_is_beyond_the_axis_lies_at_its_edge_with_a_mark() -> None:
    figure = drawn(computed(frame({("none", 0): [2.0, 0.0, 1.0, math.inf, math.nan, 3.0], ("none", 1): [2.0] * 6})))
    loss = figure.axes[-1]
    bottom, top = loss.get_ylim()
    marks = {line.get_marker(): line.get_xydata().tolist() for line in loss.lines if line.get_marker() in ("^", "v")}
    assert marks == {"v": [[1.0, pytest.approx(bottom)]], "^": [[3.0, pytest.approx(top)]]}
    (thin,) = [line.get_ydata() for line in loss.lines if line.get_linewidth() == 0.5 and line.get_ydata()[2] == 1.0]
    assert thin.tolist() == pytest.approx([2.0, bottom, 1.0, top, math.nan, 3.0], nan_ok=True)
    assert "▲ ▼ at the edge: beyond the axis" in figure.legends[0].get_title().get_text()
    plain_figure = drawn(computed(MATERIAL["three seeds"]))
    assert "▲" not in plain_figure.legends[0].get_title().get_text()
    assert not [line for line in plain_figure.axes[-1].lines if line.get_marker() in ("^", "v")]


def test_where_seeds_fall_into_two_groups_the_legend_counts() -> None:
    stuck, trained = [9.0] * 4, [9.0, 1.0, 0.1, 0.01]
    two = drawn(computed(frame({("none", 0): trained, ("none", 1): stuck, ("none", 2): stuck, ("batch", 0): trained})))
    assert [text.get_text() for text in two.axes[-1].get_legend().get_texts()] == ["none: 1 of 3 trains"]
    assert drawn(computed(frame({("none", 0): stuck, ("none", 1): stuck}))).axes[-1].get_legend() is None
    assert drawn(computed(frame({("none", 0): trained, ("none", 1): trained}))).axes[-1].get_legend() is None


def test_a_panel_without_data_says_what_is_missing() -> None:
    data = computed(MATERIAL["no test accuracy"])
    assert [panel.missing for panel in data.columns[0].panels] == [
        None,
        "no test accuracy is recorded\nin these 3 runs",
        None,
    ]
    nothing = computed(MATERIAL["nothing positive on a logarithmic axis"])
    assert nothing.columns[0].panels[0].missing == "no positive, finite training loss\nin this run"


def test_nothing_overlaps() -> None:
    """Titles, axis labels, ticks and legends of a crowded figure, as boxes on the page."""
    norms = [*NORMS, "a_norm_of_my_own"]
    columns = [
        frame({(n, 0): [2.0, 1.0] for n in norms}, lr=lr).assign(run=lambda f: f.norm + str(f.lr)) for lr in (1, 2, 3)
    ]
    columns.append(frame({("none", 1): [2.0]}, lr=2, state="diverged", diverged_at=1.0))
    columns += [frame({("none", 0): [2.0]}, lr=3, run=f"option {i}") for i in range(2)]  # a subtitle of three lines
    with house():
        figure = Figure(layout="constrained")
        training_curves.draw(computed(pd.concat(columns)), figure)
        figure.draw_without_rendering()
    boxes = [axes.get_tightbbox() for axes in figure.axes] + [legend.get_window_extent() for legend in figure.legends]
    for a, b in itertools.combinations(boxes, 2):
        assert not (a.x0 < b.x1 - 1 and b.x0 < a.x1 - 1 and a.y0 < b.y1 - 1 and b.y0 < a.y1 - 1)
    for box in boxes:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1


# --------------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    for seed in range(2):
        write_run(folder, seed=seed, lines=log(), parquet=seed == 0)
    write_run(folder, "none", lines=log(2), state="diverged", diverged_at=3)
    return folder


def test_figures_command(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "new" / "out"
    for where, told in ((runs / "figures", []), (out, ["--out", str(out)])):
        assert main(["figures", str(runs), "--only", "training_curves", *told]) == 0
        printed = [Path(line) for line in capsys.readouterr().out.splitlines()]
        assert printed == [where / f"training_curves.{kind}" for kind in ("svg", "png", "pdf", "csv", "medians.csv")]
        assert all(path.is_absolute() and path.stat().st_size for path in printed)
    svg = "training_curves.svg"
    assert (out / svg).read_bytes() == (runs / "figures" / svg).read_bytes()
    asked: list[str] = []
    monkeypatch.setattr(figures, "write", lambda name, *_: asked.append(name) or [])
    assert main(["figures", str(runs)]) == 0
    assert asked == figures.names()


def test_status_command(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(runs, seed=7, lines=log(3), state="running")
    write_run(runs, seed=8, state="failed", message="the disk\nis full")
    assert main(["status", str(runs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len({line.index(word) for line, word in zip(lines[:2], ("state", "finished"), strict=True)}) == 1
    by_run = {line.split()[0]: line.split(maxsplit=3)[1:] for line in lines[1:-1]}
    assert by_run["digits-vgg_small-none-lr0.1-seed0"] == ["diverged", "1/400", "diverged at step 3"]
    assert by_run["digits-vgg_small-batch-lr0.1-seed0"] == ["finished", "3/400"]
    assert by_run[folder.name][:2] == ["running", "2/400"]
    assert by_run[folder.name][2].startswith("no sign of life for")
    assert by_run["digits-vgg_small-batch-lr0.1-seed8"] == ["failed", "0/400", "the disk is full"]
    assert lines[-1] == "5 runs: 2 finished, 1 diverged, 1 failed, 1 running"
    (folder / "status.json").write_text("{")
    assert main(["status", str(runs)]) == 1


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_table_command(runs: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"table.{kind}"
    assert main(["table", str(runs), str(path)]) == 0
    assert capsys.readouterr().out == f"{path}\n"
    expected = load_runs(runs)
    table = pd.read_csv(path) if kind == "csv" else pd.read_parquet(path)
    assert list(table.columns) == list(expected.columns)
    np.testing.assert_array_equal(table.value, expected.value)
    assert table.value.isin([math.inf]).any()
    for name in ("run", "metric", "layer", "x", "lr", "seed", "step"):
        there = expected[name].notna().to_numpy()
        assert (table[name].notna() == there).all()
        assert table[name][there].astype(str).tolist() == expected[name][there].astype(str).tolist()


def test_wrong_input_is_one_line_and_exit_code_2(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for arguments, said in [
        (["figures", str(tmp_path / "nowhere")], "no such folder"),
        (["figures", str(tmp_path / "empty")], "no runs in"),
        (["status", str(tmp_path / "file")], "not a folder"),
        (["figures", str(runs), "--only", "training_curve"], "did you mean 'training_curves'?"),
        (["figures", str(runs), "--out", str(tmp_path / "file")], "cannot use"),
        (["figures", str(runs), "--out", str(tmp_path / "file" / "inner")], "cannot use"),
        (["figures", str(runs), "--results-version", "7"], "results version 7"),
        (["figures", str(runs), "--results-version", "x"], "invalid int value"),
        (["table", str(runs), str(tmp_path / "t.xlsx")], ".csv or .parquet"),
        (["table", str(runs), str(tmp_path / "nowhere" / "t.csv")], "no such folder"),
        (["tables", str(runs)], "invalid choice"),
        ([], "required"),
    ]:
        assert main(arguments) == 2, arguments
        caught = capsys.readouterr()
        assert caught.out == ""
        assert said in caught.err
        assert caught.err.count("\n") == 1
    assert not [path for path in tmp_path.iterdir() if path.name not in ("empty", "file", "runs")]


def test_mixed_versions_are_refused_and_can_be_chosen(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(runs, seed=5, lines=log(), version=2)
    assert main(["figures", str(runs)]) == 2
    assert "versions of the results, 1 and 2" in capsys.readouterr().err
    assert main(["figures", str(runs), "--results-version", "2", "--only", "training_curves"]) == 0


def test_a_full_disk_leaves_earlier_figures_as_they_were(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["figures", str(runs), "--only", "training_curves"]) == 0
    before = {path: path.read_bytes() for path in (runs / "figures").iterdir()}

    def half(self: Figure, path: Path, **_: Any) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Figure, "savefig", half)
    assert main(["figures", str(runs), "--only", "training_curves"]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (runs / "figures").iterdir()} == before
