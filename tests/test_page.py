"""What pages share: figures whose names are taken, and the constants that they tell."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from analysis import page
from analysis.__main__ import main
from tests.made_runs import log, write_run

FIGURE = """
TITLE = "A figure of my own"
def compute(runs):
    return runs
def draw(data, figure):
    figure.subplots()
"""


def test_a_figure_of_a_users_study_named_as_one_of_ours_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (study := tmp_path / "mine2026" / "figures").mkdir(parents=True)
    (study.parent / "__init__.py").write_text(
        "from analysis.studies import Study\nSTUDY = Study(title='t', source='s', says='s', predicts='p')\n"
    )
    (study / "__init__.py").touch()
    (study / "training_curves.py").write_text(FIGURE)
    write_run(tmp_path / "runs", lines=log())
    write_run(tmp_path / "runs", "none", lines=log())
    for command in (["report"], ["card", "batch"], ["figures"]):
        out = tmp_path / "out"
        assert main([*command, str(tmp_path / "runs"), "--study", str(study.parent), "--out", str(out)]) == 2
        said = capsys.readouterr().err
        assert (
            said == "error: figure 'training_curves' of study 'mine2026': there is one already; give it another name\n"
        )
        assert not out.exists()
    (study / "training_curves.py").rename(study / "mine.py")
    (own := tmp_path / "mine.py").write_text(FIGURE)
    given = ["--study", str(study.parent), "--file", str(own)]
    assert main(["report", str(tmp_path / "runs"), *given]) == 2
    assert "there is a figure 'mine' already" in capsys.readouterr().err


def test_the_page_tells_the_constants_that_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = {
        "analysis.decide": {"SEEDS": 13},
        "analysis.decide.outcome": {"LEANS": 7, "PROVISIONAL": 11},
        "analysis.decide.typical": {"ALPHA": 0.125},
        "analysis.claims": {"SIMILAR": 1.7, "MUCH": 19},
        "analysis.progress": {"FEWEST_STEPS": 17},
    }
    for module, constants in changed.items():
        for name, value in constants.items():
            monkeypatch.setattr(f"{module}.{name}", value)
    told = " ".join(runpy.run_path(str(page.__file__))["HOW"])
    for words in (
        "7 seeds or more lean, 11 are provisional, 13 are a verdict", "t-interval (75 %)", "(87.5 % to each side)",
        "with 13 seeds all", "a factor of 1.25 unless", "a factor of 1.7,", "a factor of 19.",
        "needs 17 probed steps there",
    ):  # fmt: skip
        assert words in told
