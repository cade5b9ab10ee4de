"""The page of all explanations and its picture: up to date, and made as they say from ledgers and tables of runs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from matplotlib import image
from matplotlib.figure import Figure

from analysis import explanations, studies, tiles
from analysis.__main__ import main
from analysis.claims import Claim
from analysis.errors import WrongInput
from analysis.explanations import Results
from analysis.studies import Beside, Study

ROOT = Path(__file__).parent.parent
AGAIN = "run `python -m analysis studies` and commit what it writes"


@pytest.fixture(scope="module")
def kept() -> Results:
    return Results.read(ROOT / "results")


def test_the_page_and_its_picture_are_those_of_the_results(kept: Results) -> None:
    found = studies.load()
    assert (ROOT / "docs" / "studies.md").read_text() == explanations.page(found, kept), f"out of date: {AGAIN}"
    picture = (ROOT / "docs" / "pictures" / "scoreboard.png").read_bytes()
    assert tiles.drawn_from(found, kept).encode() in picture, f"docs/pictures/scoreboard.png is out of date: {AGAIN}"


def row(claim: str, setting: str, verdict: str, decides: str, line: str, seeds: str) -> dict[str, str]:
    told = {"claim": claim, "setting": setting, "verdict": verdict, "decides": decides, "line": line}
    return told | {"seeds": seeds, "seeds_are": "confirmatory" if seeds else "", "reason": "a reason"}


def run(name: str, command: str, seconds: int) -> dict[str, str]:
    ended = f"2026-01-01T00:{seconds // 60:02}:{seconds % 60:02}+00:00"
    return {"run": name, "started": "2026-01-01T00:00:00+00:00", "ended": ended, "command": f"python {command}"}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Two folders of results by today's rules, and one by older ones."""
    one = [
        row("A1", "here", "supported", "True", "a ||x|| 2 times b", "6.0"),
        row("A1", "here", "supported", "True", "c 3 times d", "5.0"),
        row("A1", "here", "supported", "False", "beside, e 4 times f", "2.0"),
        row("A1", "there", "leans: contradicted", "True", "", "3.0"),
        row("A2", "", "not run", "", "", ""),
    ]
    two = [row("A1", "elsewhere", "undecided", "True", "g 1 times h", "6")]
    for name, rows in (("one", one), ("two", two)):
        (tmp_path / name).mkdir()
        pd.DataFrame(rows).to_csv(tmp_path / name / "ledger.csv", index=False)
    (tmp_path / "old").mkdir()
    old = [{"claim": "A3", "verdict": "inconclusive"}, {"claim": "A4", "verdict": "not run"}]
    pd.DataFrame(old).to_csv(tmp_path / "old" / "ledger.csv", index=False)
    runs = [run("r1", "experiment=a2020/x", 20), run("r2", "experiment=a2020/x scale=full", 300)]
    pd.DataFrame(runs).to_csv(tmp_path / "one" / "runs.csv", index=False)
    more = [run("r1", "experiment=a2020/x", 20), run("r3", "-m experiment=a2020/x seed=1", 30), run("r4", "seed=1", 9)]
    pd.DataFrame(more).to_csv(tmp_path / "two" / "runs.csv", index=False)
    return tmp_path


STUDY = Study(
    title="An | explanation",
    source="Some, Other & Third 2020, somewhere",
    says="It says.",
    predicts="This.",
    experiments=("a2020/x", "a2020/y"),
    beside=(Beside(("A2", "A5"), "Fourth 2021", "It is otherwise."),),
    claims=(
        *(Claim(f"A{number}", "Stated.", "p. 1") for number in range(1, 5)),
        Claim("A5", "S.", "", untestable="no"),
    ),
)


def test_verdicts_are_read_as_the_ledgers_have_them(made: Path) -> None:
    results = Results.read(made)
    first, second, third = results.of(STUDY)
    assert (first.told, first.setting, first.seeds, first.kind) == ("supported", "here", 5, "confirmatory")
    assert first.lines == ("a ||x|| 2 times b", "c 3 times d")  # what decides, and no more
    assert (second.word, second.standing, second.lines) == ("contradicted", "leans", ())
    assert (third.setting, third.folder) == ("elsewhere", "two")
    assert results.older == {"old": ("A3",)}


def test_a_run_costs_once_and_each_size_by_itself(made: Path) -> None:
    costs = Results.read(made).costs
    assert costs["a2020/x", "demo"] == explanations.Cost(2, 50.0)
    assert costs["a2020/x", "full"] == explanations.Cost(1, 300.0)
    assert set(costs) == {("a2020/x", "demo"), ("a2020/x", "full")}


def test_the_page_says_all_of_an_explanation(made: Path) -> None:
    lines = explanations.page([STUDY], Results.read(made)).splitlines()
    head = r"| [Some, Other & Third 2020](#some-other--third-2020) | An \| explanation | "
    assert f"{head}1 | 1 |  |  |  | 1 |  |  | 4 of 5 |" in lines
    assert r"| A1 | ✓ supported | here | a \|\|x\|\| 2 times b; c 3 times d | 5 seeds, confirmatory (`one`) |" in lines
    assert "| A1 | ✗ leans: contradicted | there | a reason | 3 seeds, confirmatory (`one`) |" in lines
    assert {"Not run: A2, A4.", "Judged by older rules only: A3.", "Not testable: A5."} <= set(lines)
    assert "| `python -m experiments experiment=a2020/x` | 2 runs, 50 s | 1 run, 5 min |" in lines
    assert "| `python -m experiments experiment=a2020/y` | not recorded | not recorded |" in lines
    beside = [place for place, line in enumerate(lines) if line == "  - *Fourth 2021:* It is otherwise."]
    assert [lines[place - 1] for place in beside] == ["- **A2** Stated. (p. 1)", "- **A5** S. ()"]
    assert explanations.page([STUDY], Results.read(made)).splitlines() == lines


def test_what_others_found_names_claims_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    own = (
        'from analysis.studies import Beside, Study\nSTUDY = Study("", "", "", "", beside=(Beside(("B1",), "", ""),))\n'
    )
    (tmp_path / "mine" / "__init__.py").write_text(own)
    with pytest.raises(WrongInput, match="beside names the claim 'B1', which the study does not have"):
        studies.load([tmp_path / "mine"])


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.2, "1 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h")]
)
def test_durations(seconds: float, told: str) -> None:
    assert explanations.spell(seconds) == told


def test_the_picture_has_a_tile_for_each_verdict(made: Path) -> None:
    results = Results.read(made)
    figure: Figure = tiles.draw([STUDY], results)
    (axes,) = figure.axes
    texts = [text.get_text() for text in axes.texts]
    assert texts[0] == "Some et al. 2020"
    assert texts[1:4] == ["✓", "✗", "?"]
    dotted = [patch.get_linestyle() for patch in axes.patches[:3]]
    assert dotted == ["-", ":", "-"]  # what leans is no verdict yet
    none = tiles.draw([STUDY], Results())
    assert [text.get_text() for text in none.axes[0].texts] == ["no verdict yet: Some et al. 2020"]
    assert tiles.drawn_from([STUDY], results) != tiles.drawn_from([STUDY], Results())


def test_the_command_writes_both(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "docs"
    assert main(["studies", "--results", str(made), "--out", str(out)]) == 0
    assert capsys.readouterr().out.split() == [str(out / "studies.md"), str(out / "pictures" / "scoreboard.png")]
    assert (out / "studies.md").read_text() == explanations.page(studies.load(), Results.read(made))
    assert image.imread(out / "pictures" / "scoreboard.png").shape[1] > 600
    assert main(["studies", "--results", str(out)]) == 2
    assert "no ledgers there" in capsys.readouterr().err
