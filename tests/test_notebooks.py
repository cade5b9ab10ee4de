"""The notebooks run from top to bottom, show what they promise, and are stored as an editor that is honest would."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from filelock import FileLock
from matplotlib import image

from analysis import figures
from analysis.errors import WrongInput
from notebooks.pages import run_cell
from tests.conftest import partly

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
TRAIN_THEIR_OWN = ("2_write_a_probe.ipynb", "3_write_a_normalisation.ipynb", "8_depth.ipynb", "9_explanations.ipynb")
ON_RUNS = [path for path in NOTEBOOKS if path.name not in TRAIN_THEIR_OWN]
SHARED = ("runs", "load")
CELL_KEYS = {
    "markdown": {"cell_type", "id", "metadata", "source"},
    "code": {"cell_type", "id", "metadata", "source", "execution_count", "outputs"},
}
by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def sources(path: Path) -> dict[str, str]:
    """The code cells by their id, in order."""
    return {cell["id"]: "".join(cell["source"]) for cell in read(path)["cells"] if cell["cell_type"] == "code"}


def run_notebook(path: Path) -> dict[str, Any]:
    """Runs every cell in one namespace; what each shows, by its id."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    shown = {name: run_cell(source, namespace, f"{path.name}:{name}") for name, source in sources(path).items()}
    return {name: value for name, value in shown.items() if value is not None}


def beside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Works, as Jupyter does, in a notebook's folder, here an empty one, so that runs/ is `folder`/runs."""
    (folder / "notebooks").mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(folder / "notebooks")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny sweep, made by the notebooks' own first cell; once, however many processes test."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "tiny-sweep"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"), pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.delenv("RUNS", raising=False)
        beside(folder, monkeypatch)
        namespace: dict[str, Any] = {}
        run_cell(sources(ON_RUNS[0])["runs"], namespace, "runs")
        assert namespace["RUNS"] == "../runs/tiny"
    return folder / "runs" / "tiny"


# ------------------------------------------------------------------------------------------------------------ they run


def check_shown(shown: dict[str, Any], folder: Path) -> None:
    for name, value in shown.items():
        if isinstance(value, pd.DataFrame | pd.Series):
            assert len(value), f"cell {name} shows an empty table"
            assert value.notna().any(axis=None), f"cell {name} shows a table without a number"
        elif hasattr(value, "_repr_png_"):
            drawn = [ax for ax in value.axes if ax.lines or ax.collections or ax.images or ax.patches]
            assert drawn, f"cell {name} shows a figure without data"
            file = folder / f"{name}.png"
            file.write_bytes(value._repr_png_())
            pixels = image.imread(file)
            assert pixels.shape[0] > 200
            assert len({tuple(pixel) for row in pixels[::3] for pixel in row[::3].tolist()}) > 20, f"{name}: blank"


@pytest.mark.parametrize("path", partly(ON_RUNS, 0), ids=lambda path: path.stem)
def test_it_runs_on_a_tiny_sweep(path: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside(tmp_path, monkeypatch)
    monkeypatch.setenv("RUNS", str(tiny))
    before = sys.modules["matplotlib.pyplot"].get_fignums() if "matplotlib.pyplot" in sys.modules else []
    shown = run_notebook(path)
    check_shown(shown, tmp_path)
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == before
    assert not (tmp_path / "runs").exists(), "a notebook on given runs trains nothing"


def test_a_probe_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside(tmp_path, monkeypatch)
    shown = run_notebook(FOLDER / "2_write_a_probe.ipynb")
    check_shown(shown, tmp_path)
    drops = shown["table"]
    assert (drops["train"] > drops["fixed"]).all()  # as the text beside it expects
    assert (drops["fixed"] > 0).all()


@pytest.mark.long
def test_a_normalisation_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside(tmp_path, monkeypatch)
    shown = run_notebook(FOLDER / "3_write_a_normalisation.ipynb")
    check_shown(shown, tmp_path)
    answers = shown["card"].data.set_index("statement")["answer"]
    assert answers["Does it train faster than the plain network?"] == "leans: yes"  # of three seeds
    assert (shown["numbers"]["seeds"].max()) == 3
    page = shown["page"].read_text()
    assert '<tr class="subject"><th scope="row">median</th>' in page
    assert "Does it train faster than the plain network?" in page


@pytest.mark.long
def test_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside(tmp_path, monkeypatch)
    shown = run_notebook(FOLDER / "8_depth.ipynb")
    check_shown(shown, tmp_path)
    grown = shown["growth"].set_index(["norm", "model.activation"])["growth"]
    assert grown["batch", "relu"] == pytest.approx(math.pi / (math.pi - 1), rel=0.07)  # as the text beside it expects
    assert 1 < grown["batch", "tanh"] < grown["batch", "relu"]
    assert 1 < grown["layer", "tanh"] < grown["batch", "relu"]


@pytest.mark.long
def test_explanations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside(tmp_path, monkeypatch)
    path = FOLDER / "9_explanations.ipynb"
    shown = run_notebook(path)
    assert list(shown) == [name for name, source in sources(path).items() if source.startswith("figures.show(")]
    check_shown(shown, tmp_path)


@pytest.mark.parametrize("path", ON_RUNS, ids=lambda path: path.stem)
def test_wrong_runs_are_told_in_the_loaders_line(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside(tmp_path, monkeypatch)
    monkeypatch.setenv("RUNS", "../runs/dmeo")
    with pytest.raises(WrongInput, match=r"^no such folder: .*dmeo$"):
        run_notebook(path)
    assert not (tmp_path / "runs").exists()
    (tmp_path / "runs" / "dmeo").mkdir(parents=True)
    with pytest.raises(WrongInput, match=r"^no runs in .*dmeo; a run is a folder that holds config.json$"):
        run_notebook(path)


# ------------------------------------------------------------------------------------------------- as they are stored


@by_name
def test_it_is_a_notebook_without_outputs(path: Path) -> None:
    book = read(path)
    assert set(book) == {"cells", "metadata", "nbformat", "nbformat_minor"}
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    assert book["metadata"] == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    ids = [cell["id"] for cell in book["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in book["cells"]:
        assert set(cell) == CELL_KEYS[cell["cell_type"]]
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", cell["id"])
        assert cell["metadata"] == {}
        lines = cell["source"]
        assert lines
        assert all(line.endswith("\n") for line in lines[:-1])
        assert not lines[-1].endswith("\n")
        assert all(line.count("\n") <= 1 for line in lines)
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
    assert path.read_text() == json.dumps(book, indent=1, ensure_ascii=False) + "\n"


@by_name
def test_it_is_thin_and_explained(path: Path) -> None:
    cells = read(path)["cells"]
    assert cells[0]["cell_type"] == "markdown"
    for before, cell in itertools.pairwise(cells):
        if cell["cell_type"] == "code":
            lines = [line for line in cell["source"] if line.strip()]
            assert len(lines) <= 14, f"cell {cell['id']} is longer than a few lines"
            said = before["cell_type"] == "markdown" or cell["id"] in (*SHARED, "folder", "entry")
            assert said, f"cell {cell['id']} comes without a word"


def test_shared_cells_are_the_same_everywhere() -> None:
    for name in SHARED:
        versions = {sources(path)[name] for path in NOTEBOOKS if name in sources(path)}
        assert len(versions) == 1, f"the cell {name!r} differs between notebooks"
    assert all("runs" in sources(path) for path in ON_RUNS)


def test_every_figure_is_in_a_notebook_and_every_name_in_them_exists() -> None:
    shown = {
        name
        for path in NOTEBOOKS
        for cell in sources(path).values()
        for name in re.findall(r'^figures\.show\("(\w+)", runs\)', cell, re.MULTILINE)
    }
    assert shown == set(figures.names())
    text = "".join("".join(cell["source"]) for path in NOTEBOOKS for cell in read(path)["cells"])
    assert set(re.findall(r"\bfig\d\d_\w+", text)) <= set(figures.names())
