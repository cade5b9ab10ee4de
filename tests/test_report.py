"""The report: what stands on the page, in a real browser too, and wrong input."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis import forest, load_runs, studies
from analysis import page as page_module
from analysis.__main__ import main
from tests.made_pages import Reader, draw_few, write_runs
from tests.made_runs import log, write_run

OWN = """
from analysis.claims import Claim, Term, less
from analysis.measures import final
loss = final("data_loss", "train")
CLAIMS = [Claim("mine", "L1 ends lower than batch.", "me, today", (less(Term.of("l1", loss), Term.of("batch", loss)),))]
"""
STUDY = """
from analysis.studies import Study

STUDY = Study("Why mine works", "Me 2026, nowhere", "It says so.", "It predicts so.")
"""
FIGURE = """
import pandas as pd
TITLE = "A figure of my own"
def compute(runs):
    return runs
def draw(data, figure):
    {body}
"""

EMPTY = """
class Nothing:
    empty = "no histogram\\nis recorded"
    def table(self):
        raise AssertionError("it has no numbers")
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_runs(tmp_path_factory.mktemp("report") / "runs")


@pytest.fixture
def few_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    draw_few(monkeypatch)


@pytest.fixture(scope="module")
def page(runs: Path) -> Path:
    """The report with all its figures."""
    assert main(["report", str(runs)]) == 0
    return runs / "report" / "report.html"


# ------------------------------------------------------------------------------------------------------- on the page


def test_the_page_says_what_was_run_what_is_claimed_and_what_is_missing(page: Path) -> None:
    read = Reader(page.read_text())
    assert read.open == []
    assert len(set(read.ids)) == len(read.ids)
    text = " ".join(read.text.split())
    for said in (
        "20 runs: none, batch, l1, group; 3 settings; 1 to 4 seeds per arm and setting.",
        "18 finished",
        "failed: digits-vgg_small-group-lr0.1-seed0 (out of memory)",
        "diverged: digits-vgg_small-none-lr0.1-seed7 (at step 3)",
        "steps 400",
        "0123456789ab with changes not committed",
        "cpu (A chip)",
        "2.13.0",
        "python -m experiments <b>bold</b>",
        "t-interval (96 %)",
        "in at most 5 % of cases to each side",
    ):
        assert said in text, said


def test_every_study_says_what_it_predicts_and_every_claim_stands_once(page: Path) -> None:
    read = Reader(page.read_text())
    text = " ".join(read.text.split())
    ledger = pd.read_csv(page.parent / "numbers" / "ledger.csv")
    judged = set(ledger.loc[~ledger["verdict"].isin(["not run", "not testable"]), "claim"])
    assert judged
    places = {name: page.read_text().index(f'id="{name}"') for name in read.ids}
    starts = sorted(places[f"study-{study.name}"] for study in studies.load())
    assert places["scoreboard"] < starts[0]
    for study in studies.load():
        for said in (study.title, study.source, study.says, study.predicts):
            assert text.count(said) >= 1, said
        for claim in study.claims:
            start = places[f"study-{study.name}"]
            end = min([place for place in starts if place > start], default=places["others"])
            assert claim.statement in text
            if claim.name in judged:
                assert start < places[claim.name] < end, claim.name
            else:
                assert places[claim.name] > places["unjudged"], claim.name
                assert claim.untestable or (claim.command or claim.needs) in text, claim.name
        for name in study.figures:
            assert f"figure-{name}" in read.ids


def test_what_others_found_stands_beside_the_claims_that_it_concerns(page: Path) -> None:
    articles = dict(re.findall(r'<article class="claim" id="([^"]+)">(.*?)</article>', page.read_text(), re.DOTALL))
    found = [(claim, what) for study in studies.load() for what in study.beside for claim in what.claims]
    assert len(found) > 5
    for claim, what in found:
        text = " ".join(Reader(articles[claim]).text.split())
        assert f"{what.source}: {what.says}" in text, claim
    assert "Pawar" not in articles["S1"]


def test_the_scoreboard_counts_the_verdicts(page: Path) -> None:
    board = page.read_text().partition('id="scoreboard"')[2].partition("</table>")[0]
    rows = pd.read_csv(page.parent / "numbers" / "ledger.csv")
    fewest = rows[rows["decides"].eq(True)].groupby(["claim", "setting"])["seeds"].min().rename("fewest").reset_index()
    ledger = rows[rows["setting"].notna()].drop_duplicates(["claim", "setting"]).merge(fewest, on=["claim", "setting"])
    for study in studies.load():
        own = ledger[ledger["claim"].isin([claim.name for claim in study.claims])]
        row = next(part for part in board.split("<tr>") if f"#study-{study.name}" in part)
        for setting, verdicts in own.groupby("setting"):
            cell = row.partition(f'data-label="{setting}"')[2].partition("</td>")[0]
            told = {word: int(count) for count, word in re.findall(r'title="(\d+) ([a-z: ]+)"', cell)}
            assert told == verdicts["verdict"].value_counts().to_dict()
            some = verdicts["fewest"][verdicts["fewest"] > 0]  # a verdict for want of seeds has none to tell
            few, many = (some.min(), some.max()) if len(some) else (0, 0)
            assert f"<small>{forest.seeds(int(few), int(many))}</small>" in cell


def test_a_figure_links_to_the_claims_that_name_it_and_shows_their_marks(page: Path) -> None:
    text = page.read_text()
    ledger = pd.read_csv(page.parent / "numbers" / "ledger.csv").drop_duplicates(["claim", "setting"])
    for study in studies.load():
        for name in study.figures:
            caption = text.partition(f'<figure id="figure-{name}"')[2].partition("</figure>")[0]
            for claim in study.claims:
                if claim.figure != name or not caption:
                    continue
                said = caption.partition(f'<a href="#{claim.name}">')[2].partition("</li>")[0]
                words = re.findall(r'class="mark ([a-z-]+)"', said)
                own = ledger.loc[ledger["claim"] == claim.name, "verdict"]
                assert words == [told.rpartition(": ")[2].replace(" ", "-") for told in own]
                assert all(f": {told}" in said for told in own)


def test_the_page_asks_for_nothing_and_its_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    read = Reader(text)
    assert read.loaded
    assert all(address.startswith("data:") for address in read.loaded)
    assert not re.search(r"@import|url\((?!%23)|<script|<iframe|javascript:", text)
    assert "default-src 'none'" in text
    for link in read.links:
        if link.startswith("#"):
            assert link[1:] in read.ids, link
        elif not link.startswith("data:text/csv;base64,"):
            assert (page.parent / link).is_file(), link
    assert page.stat().st_size < 10_000_000


def test_the_numbers_are_those_of_the_records(page: Path, runs: Path) -> None:
    folder = page.parent / "numbers"
    shown = set(re.findall(r'<figure id="figure-(\w+)"', page.read_text()))
    assert shown
    assert {path.stem.removesuffix(".medians") for path in folder.iterdir()} == {"ledger", "runs", *shown}
    described = pd.read_csv(folder / "runs.csv")
    assert len(described) == 20
    assert described["git_commit"].dropna().unique().tolist() == ["0123456789abcdef"]
    ledger = pd.read_csv(folder / "ledger.csv")
    frame = load_runs(runs)
    accuracy = frame[(frame["metric"] == "accuracy") & (frame["batch"] == "test") & (frame["step"] >= 108)]
    ends = accuracy.groupby(["norm", "seed"], observed=True)["value"].median()
    rows = ledger[ledger["comparison"] == "final test accuracy, batch - none"]
    assert len(rows)
    for effect in rows["effect"]:
        assert effect == pytest.approx(np.median([ends["batch", s] - ends["none", s] for s in range(3)]))


@pytest.mark.usefixtures("few_figures")
@pytest.mark.long
def test_equal_runs_give_equal_pages(runs: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert main(["report", str(runs), "--out", str(tmp_path / name)]) == 0
    assert (tmp_path / "a" / "report.html").read_bytes() == (tmp_path / "b" / "report.html").read_bytes()


@pytest.mark.usefixtures("few_figures")
def test_one_run_that_has_just_started_gives_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "runs", state="running")
    assert main(["report", str(tmp_path / "runs")]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path == tmp_path / "runs" / "report" / "report.html"
    text = Reader(path.read_text()).text
    assert "running: digits-vgg_small-batch-lr0.1-seed0" in text
    assert "supported" in text


@pytest.mark.usefixtures("few_figures")
def test_claims_and_figures_of_a_users_own(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "my_claims.py").write_text(OWN)
    (tmp_path / "my_figure.py").write_text(FIGURE.format(body="figure.subplots().plot([1, 2])"))
    (tmp_path / "broken.py").write_text(FIGURE.format(body="raise KeyError('nothing <here>')"))
    (tmp_path / "empty.py").write_text(FIGURE.format(body="pass").replace("return runs", "return Nothing()") + EMPTY)
    mine = tmp_path / "me2026"
    (mine / "figures").mkdir(parents=True)
    (mine / "__init__.py").write_text(STUDY)
    (mine / "claims.py").write_text(OWN.replace("mine", "theirs"))
    (mine / "figures" / "__init__.py").touch()
    (mine / "figures" / "in_a_study.py").write_text(FIGURE.format(body="figure.subplots()"))
    arguments = ["--claims", "my_claims.py", "--file", "my_figure.py", "--file", "broken.py", "--file", "empty.py"]
    arguments = [str(tmp_path / a) if a.endswith(".py") else a for a in [*arguments, "--study", str(mine)]]
    assert main(["report", str(runs), "--out", str(tmp_path), *arguments]) == 0
    read = Reader((tmp_path / "report.html").read_text())
    assert {"mine", "theirs", "figure-my_figure", "figure-broken", "figure-in_a_study"} <= set(read.ids)
    assert read.ids.index("study-me2026") < read.ids.index("theirs") < read.ids.index("figure-in_a_study")
    assert read.ids.index("study-own") < read.ids.index("mine") < read.ids.index("others")
    assert read.ids.index("others") < read.ids.index("figure-my_figure")
    assert "L1 ends lower than batch." in read.text
    assert "It predicts so." in read.text
    assert "not drawn: KeyError: 'nothing <here>'" in read.text
    assert "A figure of my own (no histogram is recorded)" in read.text
    assert not (tmp_path / "numbers" / "empty.csv").exists()


def test_a_figure_of_a_users_own_study_is_drawn_by_name(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "me2026"
    (mine / "figures").mkdir(parents=True)
    (mine / "__init__.py").write_text(STUDY)
    (mine / "figures" / "__init__.py").touch()
    (mine / "figures" / "in_a_study.py").write_text(FIGURE.format(body="figure.subplots()"))
    asked = ["--study", str(mine), "--only", "in_a_study", "--out", str(tmp_path / "figures")]
    assert main(["figures", str(runs), *asked]) == 0
    assert str(tmp_path / "figures" / "in_a_study.svg") in capsys.readouterr().out.splitlines()


@pytest.mark.usefixtures("few_figures")
@pytest.mark.long
def test_a_large_figure_becomes_dots(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "LARGEST_SVG", 1000)
    assert main(["report", str(runs), "--out", str(tmp_path)]) == 0
    text = (tmp_path / "report.html").read_text()
    assert text.count("data:image/png") == 2
    assert "data:image/svg" not in text


@pytest.mark.usefixtures("few_figures")
def test_a_light_page_stands_alone(runs: Path, tmp_path: Path) -> None:
    """Its pictures are as wide as they are shown, and it has no link to a file beside it."""
    for name, how in (("whole", []), ("light", ["--light", "--apart"])):
        assert main(["report", str(runs), "--out", str(tmp_path / name), *how]) == 0
    whole, light = ((tmp_path / name / "report.html").read_text() for name in ("whole", "light"))
    pictures = re.findall(r'<img[^>]*src="data:image/([a-z+]+);base64,([^"]+)"[^>]*>', light)
    shown = [int(width) for width in re.findall(r'<img[^>]*width="(\d+)"', light)]
    assert [kind for kind, _ in pictures] == ["avif"] * 2
    assert "data:image/svg" not in light
    for (_, data), width in zip(pictures, shown, strict=True):
        assert Image.open(io.BytesIO(base64.b64decode(data))).width == pytest.approx(width, abs=1)
    assert ".csv" in whole
    assert ".csv" not in light
    assert "Numbers:" not in light
    headed = '<th scope="col">all settings</th>'  # each study tells its settings apart in words of its own
    assert [headed in text for text in (whole, light)] == [False, True]
    assert ["Alike in all settings" in text for text in (whole, light)] == [True, False]  # a table that is folded
    assert (tmp_path / "light" / "numbers" / "ledger.csv").is_file()
    assert len(light) < 0.7 * len(whole)


# ----------------------------------------------------------------------------------------------------- in a browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"]
FLAGS += ["--virtual-time-budget=5000", "--allow-file-access-from-files"]
MEASURE = """<pre id="measured"></pre><script>addEventListener("load", () => {
  const boxes = [...document.querySelectorAll("figure")].map(f => {
    const box = (f.querySelector("img") || f).getBoundingClientRect();
    const picture = f.querySelector(".picture"), told = f.querySelector(".sideways").getBoundingClientRect().height;
    return {id: f.id, width: box.width, height: box.height, shown: f.querySelector("img").naturalWidth,
            beyond: picture.scrollWidth > picture.clientWidth + 16, told: told > 0};
  });
  const loaded = performance.getEntriesByType("resource").map(e => e.name).filter(n => !n.startsWith("data:"));
  document.getElementById("measured").textContent = JSON.stringify(
    {boxes, loaded, inner: innerWidth, page: document.documentElement.scrollWidth});
});</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (Debian: apt-get install chromium)")
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser_every_figure_is_seen_and_nothing_is_asked_for(page: Path, tmp_path: Path, width: int) -> None:
    assert CHROMIUM is not None

    def opened(path: Path) -> subprocess.CompletedProcess[str]:
        profile = tmp_path / f"profile-{path.stem}"
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "--dump-dom", path.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)

    untouched = opened(page)
    assert 'id="scoreboard"' in untouched.stdout
    assert not [line for line in untouched.stderr.splitlines() if "CONSOLE" in line]
    # The window of a headless browser has a least width: a frame of the wanted one does not.
    text = re.sub(r"<meta http-equiv=.*?>", "", page.read_text())
    (tmp_path / "inner.html").write_text(text.replace("</body>", MEASURE + "</body>"))
    frame = f'<iframe id="f" src="inner.html" style="border:0;width:{width}px;height:2000px"></iframe>'
    reading = """<pre id="out"></pre><script>addEventListener("load", () => setTimeout(() => {
      document.getElementById("out").textContent = f.contentDocument.getElementById("measured").textContent;
    }, 500));</script>"""
    outer = tmp_path / "outer.html"
    outer.write_text(f"<!DOCTYPE html><body>{frame}{reading}</body>")
    found = re.search(r'<pre id="out">(.*?)</pre>', opened(outer).stdout, re.DOTALL)
    assert found is not None
    measured = json.loads(found[1])
    assert measured["inner"] == width
    assert measured["page"] <= width, "the page is wider than the window"
    assert measured["loaded"] == []
    shown = re.findall(r'<figure id="(figure-\w+)"', text)
    assert {box["id"] for box in measured["boxes"]} == set(shown)
    for box in measured["boxes"]:
        assert box["shown"] > 0
        assert box["width"] >= 250, box
        assert box["height"] >= 80, box
        assert box["told"] or not box["beyond"], f"nothing says that there is more to the right: {box}"
    assert any(box["told"] for box in measured["boxes"]) == (width < 600)


# ------------------------------------------------------------------------------------------------------ wrong input


@pytest.mark.usefixtures("few_figures")
def test_wrong_input_is_one_line(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "mixed").mkdir()
    for seed, version in ((0, 1), (1, 2)):
        write_run(tmp_path / "mixed", seed=seed, version=version, lines=log())
    (tmp_path / "bad.py").write_text("TITLE = 1")
    for arguments, said in [
        (["report", str(tmp_path / "nowhere")], "no such folder"),
        (["report", str(tmp_path / "empty")], "no runs in"),
        (["report", str(tmp_path / "mixed")], "versions of the results, 1 and 2"),
        (["report", str(runs), "--claims", str(tmp_path / "none.py")], "no such file"),
        (["report", str(runs), "--file", str(tmp_path / "bad.py")], "missing: compute, draw"),
        (["report", str(runs), "--out", str(tmp_path / "bad.py")], "cannot use"),
        (["card", "btach", str(runs)], "did you mean 'batch'?"),
        (["card", "l1"], "required"),
        (["card", "l1,l1", str(runs)], "two different ones"),
        (["card", "l1", str(runs), "--by", "norm.gruops"], "no run has the key"),
        (["card", "120", str(runs), "--by", "steps"], "never held against each other"),
        (["report", str(runs), "--study", str(tmp_path / "empty")], "no such study"),
        (["card", str(runs), "l1"], "the normalisation comes first"),
        (["table", str(runs)], "required"),
        (["table", str(tmp_path / "all.csv"), str(runs)], "named last: RUNS FILE"),
    ]:
        assert main(arguments) == 2, arguments
        caught = capsys.readouterr()
        assert said in caught.err
        assert caught.err.count("\n") == 1
    assert main(["report", str(tmp_path / "mixed"), "--results-version", "2", "--out", str(tmp_path / "o")]) == 0


@pytest.mark.parametrize(
    "damage",
    [
        ("config.json", "{"),
        ("status.json", '{"state": "finished", "step": "4"}'),
        ("records.jsonl", "{\n"),
        ("provenance.json", '{"starts": 3}'),
        ("provenance.json", '{"starts": [{"versions": "new"}]}'),
    ],
)
def test_damage_is_one_line_and_exit_code_1(
    tmp_path: Path, damage: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(tmp_path, lines=log())
    (folder / damage[0]).write_text(damage[1])
    assert main(["report", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert f"{folder / damage[0]} is damaged" in said.err
    assert said.err.count("\n") == 1
    assert "left out" not in said.err, "there is nothing that it could be left out of"
    assert not (tmp_path / "report").exists()
