"""The report, the card and the comparison: what stands on the page, in a real browser too, and wrong input."""

from __future__ import annotations

import html.parser
import json
import math
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import figures, forest, load_runs
from analysis.__main__ import main
from analysis.claims import steps_to_learn
from analysis.claims.decide import decide
from analysis.claims.engine import Part
from analysis.claims.model import Comparison, Region, Term
from tests.made_runs import log, write_run
from tests.made_sweep import write_sweep
from tests.test_claims import OWN

FIGURE = """
import pandas as pd
TITLE = "A figure of my own"
def compute(runs):
    return runs
def draw(data, figure):
    {body}
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_sweep(tmp_path_factory.mktemp("report") / "runs", norms=("none", "batch", "l1"), lrs=(0.1,))
    start = {"started": "2026-01-01T00:00:00+00:00", "ended": None, "from_step": 0, "host": "h", "pid": 1}
    start |= {"command": "python -m experiments <b>bold</b>", "git_commit": "0123456789abcdef", "git_dirty": True}
    start |= {"versions": {"torch": "2.13.0"}, "device": "cpu", "device_name": "A chip", "threads": 1, "plan": None}
    for run in folder.iterdir():
        (run / "provenance.json").write_text(json.dumps({"starts": [start]}))
    write_run(folder, "group", state="failed", message="out of\nmemory")
    write_run(folder, "none", 7, state="diverged", diverged_at=3, lines=log(1))
    return folder


@pytest.fixture
def few_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "names", lambda: ["fig04_landscape", "training_curves"])


@pytest.fixture(scope="module")
def page(runs: Path) -> Path:
    """The report with all its figures."""
    assert main(["report", str(runs)]) == 0
    return runs / "report" / "report.html"


class Reader(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids += [given["id"]] if "id" in given else []
        if tag == "a":
            self.links.append(given["href"])
        self.loaded += [given[name] for name in ("src", "srcset", "data", "poster", "action") if name in given]
        self.loaded += [given["href"]] if tag in ("link", "image", "use") else []
        if tag not in ("meta", "link", "img", "br", "line", "rect", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "rect", "circle"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


# ------------------------------------------------------------------------------------------------------- on the page


def test_the_page_says_what_was_run_what_is_claimed_and_what_is_missing(page: Path) -> None:
    read = Reader(page.read_text())
    assert read.open == []
    assert len(set(read.ids)) == len(read.ids)
    text = " ".join(read.text.split())
    for said in (
        "20 runs: none, batch, l1, group; 4 seeds; 2 settings.",
        "18 finished",
        "failed: digits-vgg_small-group-lr0.1-seed0 (out of memory)",
        "diverged: digits-vgg_small-none-lr0.1-seed7 (at step 3)",
        "batch seed 7",
        "S2 is not judged: it needs classification runs of none and batch at learning rate 0.5",
        "S6 is not judged: it needs classification runs of none and noise",
        "figure 1 (a, b) · Figure 1",
        "0123456789ab with changes not committed",
        "cpu (A chip)",
        "2.13.0",
        "python -m experiments <b>bold</b>",
        "Gradients are far more predictive with batch normalisation.",
        "96 % for paired comparisons",
        "3.9 and 3.8 %",
    ):
        assert said in text, said
    for name in [f"S{i}" for i in range(1, 25)] + [f"figure-{name}" for name in figures.names()]:
        assert name in read.ids
    assert text.index("The ledger of claims") < text.index("Figure 4") or "Contents" in text
    assert page.read_text().index('id="ledger"') < page.read_text().index('id="figures"')


def test_the_page_asks_for_nothing_and_its_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    read = Reader(text)
    assert read.loaded
    assert all(address.startswith("data:") for address in read.loaded)
    assert not re.search(r"@import|url\(|<script|<iframe|javascript:", text)
    assert "default-src 'none'" in text
    for link in read.links:
        if link.startswith("#"):
            assert link[1:] in read.ids, link
        elif not link.startswith("data:text/csv;base64,"):
            assert (page.parent / link).is_file(), link
    assert page.stat().st_size < 10_000_000


def test_the_numbers_are_those_of_the_records(page: Path, runs: Path) -> None:
    folder = page.parent / "numbers"
    assert {path.stem for path in folder.iterdir()} >= {"ledger", "runs", *figures.names()}
    described = pd.read_csv(folder / "runs.csv")
    assert len(described) == 20
    assert described["git_commit"].dropna().unique().tolist() == ["0123456789abcdef"]
    ledger = pd.read_csv(folder / "ledger.csv")
    frame = load_runs(runs)
    accuracy = frame[(frame["metric"] == "accuracy") & (frame["batch"] == "test") & (frame["step"] >= 108)]
    ends = accuracy.groupby(["norm", "seed"], observed=True)["value"].median()
    row = ledger[(ledger["claim"] == "S1") & ledger["comparison"].str.startswith("final test")].iloc[0]
    assert row["effect"] == pytest.approx(np.mean([ends["batch", s] - ends["none", s] for s in range(3)]))


@pytest.mark.usefixtures("few_figures")
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
    arguments = ["--claims", "my_claims.py", "--file", "my_figure.py", "--file", "broken.py"]
    arguments = [str(tmp_path / a) if a.endswith(".py") else a for a in arguments]
    assert main(["report", str(runs), "--out", str(tmp_path), *arguments]) == 0
    read = Reader((tmp_path / "report.html").read_text())
    assert {"mine", "figure-my_figure", "figure-broken"} <= set(read.ids)
    assert "Linf ends lower than L2." in read.text
    assert "not drawn: KeyError: 'nothing <here>'" in read.text


@pytest.mark.usefixtures("few_figures")
def test_a_large_figure_becomes_dots(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from analysis import report

    monkeypatch.setattr(report, "LARGEST_SVG", 1000)
    assert main(["report", str(runs), "--out", str(tmp_path)]) == 0
    text = (tmp_path / "report.html").read_text()
    assert text.count("data:image/png") == 2
    assert "data:image/svg" not in text


# ----------------------------------------------------------------------------------------------------- in a browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"]
FLAGS += ["--virtual-time-budget=5000", "--allow-file-access-from-files"]
MEASURE = """<pre id="measured"></pre><script>addEventListener("load", () => {
  const boxes = [...document.querySelectorAll("figure")].map(f => {
    const box = (f.querySelector("img") || f).getBoundingClientRect();
    return {id: f.id, width: box.width, height: box.height, shown: f.querySelector("img").naturalWidth};
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
    assert 'id="ledger"' in untouched.stdout
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
    assert {box["id"] for box in measured["boxes"]} == {f"figure-{name}" for name in figures.names()}
    for box in measured["boxes"]:
        assert box["shown"] > 0
        assert box["width"] >= 250, box
        assert box["height"] >= 80, box


# ------------------------------------------------------------------------------------------------------------- card


@pytest.mark.usefixtures("few_figures")
def test_a_card_answers_for_one_normalisation(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["card", "l1", str(runs), "--out", str(tmp_path)]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path == tmp_path / "card-l1.html"
    read = Reader(path.read_text())
    assert read.open == []
    text = " ".join(read.text.split())
    assert "group" not in text
    ledger = pd.read_csv(tmp_path / "numbers-card-l1" / "ledger.csv")
    told = ledger[ledger["setting"].str.startswith("vgg")].drop_duplicates("claim").set_index("statement")["verdict"]
    assert told["Does it train at all?"] == "supported"
    assert told["Does it train faster than the plain network?"] == "supported"
    assert told["Does it train as fast as batch normalisation?"] == "supported"
    assert told["Is its landscape along the gradient smoother than that of the plain network?"] == "supported"
    assert told["Is its internal covariate shift smaller than that of the plain network?"] == "contradicted"
    linear = ledger[ledger["setting"].str.startswith("deep_linear")]
    assert "Does it train faster than the plain network?" in set(linear["statement"])
    assert "final training loss, none / l1" in set(linear["comparison"])
    numbers = pd.read_csv(tmp_path / "numbers-card-l1" / "training_curves.csv")
    assert set(numbers["norm"]) == {"none", "batch", "l1"}


@pytest.mark.usefixtures("few_figures")
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_a_card_of_a_reference_is_not_held_against_itself(runs: Path, tmp_path: Path, norm: str) -> None:
    assert main(["card", norm, str(runs), "--out", str(tmp_path)]) == 0
    ledger = pd.read_csv(tmp_path / f"numbers-card-{norm}" / "ledger.csv")
    assert not ledger["comparison"].str.contains(f"{norm} / {norm}|{norm} - {norm}").any()
    assert len(ledger["claim"].unique()) == 5


# ---------------------------------------------------------------------------------------------------------- compare


def test_comparing_two_normalisations(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "compared.csv"
    assert main(["compare", "none", "batch", str(runs), "--csv", str(file)]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == str(file)
    table = pd.read_csv(file)
    row = table[(table["number"] == "gradient_difference, train") & (table["model"] == "vgg_small")].iloc[0]
    assert row["effect"] == pytest.approx(1 / 5, rel=0.05)
    assert (row["scale"], row["seeds"]) == ("ratio", 3)
    assert row["low"] < row["effect"] < row["high"] < 1
    line = next(line for line in printed.splitlines() if line.startswith("gradient_difference, train"))
    assert line.endswith("*")
    steps = table[table["number"].str.startswith("steps to")].iloc[0]
    assert steps["a"] > steps["b"]


def test_comparing_two_sweeps(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write_sweep(tmp_path / "other", norms=("none", "batch"), lrs=(0.5,), seeds=2, linear=False)
    assert main(["compare", str(runs), str(other), "--metric", "effective_beta"]) == 0
    lines = capsys.readouterr().out.splitlines()
    # the learning rate is what differs: it does not pair
    assert "data digits, model vgg_small, norm batch" in " ".join(lines)
    betas = [line.split() for line in lines if line.startswith("effective_beta, train")]
    assert len(betas) == 2
    assert all(line[-2:] == ["-", "2"] for line in betas)  # two seeds: no interval


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none", "bacth", "RUNS"], "did you mean 'batch'?"),
        (["none", "batch", "RUNS", "--metric", "effective_bta"], "did you mean 'effective_beta'?"),
        (["none", "batch", "RUNS", "--metric", "effective"], "did you mean 'effective_beta'?"),
        (["none", "none", "RUNS"], "compared with itself"),
        (["none", "batch"], "to compare normalisations name their RUNS too"),
        (["none", "group", "RUNS"], "no run of the normalisation 'group'"),
        (["RUNS", "RUNS/nowhere"], "no such folder"),
        (["none", "batch", "RUNS", "--csv", "x.txt"], "must end in .csv"),
    ],
)
def test_wrong_comparisons(runs: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["compare", *(a.replace("RUNS", str(runs)) for a in arguments)])
    caught = capsys.readouterr()
    assert code == 2
    assert caught.out == ""
    assert caught.err.count("\n") == 1
    assert said in caught.err


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
    said = capsys.readouterr().err
    assert f"{damage[0]} is damaged" in said
    assert said.endswith("to go on without this run, move its folder elsewhere\n")
    assert said.count("\n") == 1


# -------------------------------------------------------------------------------------------------- the small picture


def picture(numbers: list[float], region: Region, scale: str = "ratio") -> str:
    term = Term("batch", steps_to_learn())
    comparison = Comparison("x", term, region, Term("none", term.measure), scale)  # type: ignore[arg-type]
    return forest.picture(Part(comparison, decide(np.array(numbers), region, scale, paired=True)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "numbers", [[0.1, 0.2, 0.3], [0.0, 0.0, 0.0], [-6.9, 6.9, 6.9], [1e-9, 2e-9, 3e-9], [5.0], [0.1, 50.0, -50.0]]
)
@pytest.mark.parametrize("region", [Region(low=1.0), Region(high=0.5), Region(0.5, 2.0)])
@pytest.mark.parametrize("scale", ["ratio", "difference"])
def test_the_small_picture_stays_in_its_frame(numbers: list[float], region: Region, scale: str) -> None:
    drawn = picture(numbers, region, scale)
    assert drawn.count("<circle") == len(numbers)
    places = [float(x) for x in re.findall(r'(?:cx|x1|x2|x)="([-\d.naif]+)"', drawn)]
    assert all(0 <= x <= forest.WIDTH for x in places)
    assert picture([], region) == ""


def test_numbers_for_people() -> None:
    said = [forest.number(x, "ratio") for x in (6.2996, 0.025, 1000.0, 0.001, math.nan)]
    assert said == ["6.3×", "0.025×", "≥ 1000×", "≤ 1/1000×", ""]
    assert [forest.number(x, "difference") for x in (0.1963, -0.5, 0.0, -1e-5)] == [
        "+0.196",
        "−0.500",
        "+0.000",
        "−1e−05",
    ]
    assert forest.interval(math.nan, math.nan, "ratio") == ""
    assert forest.interval(0.5, 2.0, "ratio") == "0.5× to 2×"
