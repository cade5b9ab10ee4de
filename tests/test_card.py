"""The card: yes, no or undecided in each setting, numbers of both arms beside, two arms side by side, other keys."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis import card, load_runs
from analysis.__main__ import main
from tests.conftest import partly
from tests.made_pages import Reader, draw_few, write_runs
from tests.made_sweep import alter, write_sweep

ANSWER = re.compile(r'<span class="v [a-z-]+">(.*?)</span>\s*<span class="question">(.*?)</span>')


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_runs(tmp_path_factory.mktemp("card") / "runs")


@pytest.fixture(autouse=True)
def few_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    draw_few(monkeypatch)


def sweep(folder: Path, norms: tuple[str, ...], tag: str, seeds: int = 3, **config: Any) -> Path:
    write_sweep(folder, norms=norms, lrs=(0.1,), linear=False, seeds=seeds)
    for run in sorted(folder.iterdir()):
        alter(run, tag, **config)
    return folder


def answers(page: Path) -> dict[tuple[str, str], list[str]]:
    """Setting and question -> every answer that stands beside it."""
    found: dict[tuple[str, str], list[str]] = {}
    for part in page.read_text().split('<article class="card"')[1:]:
        setting = re.search(r"<h3>(.*?)</h3>", part)
        assert setting is not None
        for answer, question in ANSWER.findall(part):
            found.setdefault((setting[1].partition(" on ")[0], question), []).append(answer)
    return found


def test_a_card_answers_yes_no_or_undecided(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["card", "l1", str(runs), "--out", str(tmp_path)]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path == tmp_path / "card-l1.html"
    read = Reader(path.read_text())
    assert read.open == []
    assert "group" not in read.text
    told = answers(path)
    assert told["vgg_small", "Does it train at all?"] == ["leans: yes"]
    assert told["vgg_small", "Does it train faster than the plain network?"] == ["interim: yes"]
    assert told["vgg_small", "Does it train as fast as batch normalisation?"] == ["leans: yes"]
    assert told["vgg_small", "Is its landscape along the gradient smoother than that of the plain network?"] == [
        "interim: yes"
    ]
    assert told["vgg_small", "Is its internal covariate shift smaller than that of the plain network?"] == [
        "interim: no"
    ]
    assert told["deep_linear", "Does it train faster than the plain network?"] == ["leans: yes"]
    assert ("deep_linear", "Does it train at all?") not in told
    numbers = pd.read_csv(tmp_path / "numbers-card-l1" / "training_curves.csv")
    assert set(numbers["norm"]) == {"none", "batch", "l1"}
    ledger = pd.read_csv(tmp_path / "numbers-card-l1" / "ledger.csv")
    words = {"supported": "yes", "contradicted": "no"}
    assert {word.rpartition(": ")[0] for word in ledger["verdict"].dropna()} >= {"interim", "leans"}
    judged = ledger[ledger["setting"].notna()].drop_duplicates(["claim", "setting"])
    assert len(judged) == len(told)
    for row in judged.itertuples():
        key = (str(row.setting).partition(" on ")[0], row.statement)
        standing, colon, word = row.verdict.rpartition(": ")
        assert told[key] == [f"{standing}{colon}{words.get(word, word)}"]


@pytest.mark.long
def test_accuracies_of_both_arms_stand_beside_an_answer(runs: Path, tmp_path: Path) -> None:
    """Medians over seeds of the runs, taken from the records by hand."""
    assert main(["card", "l1", str(runs), "--out", str(tmp_path)]) == 0
    frame = load_runs(runs)
    frame = frame[(frame["metric"] == "accuracy") & (frame["batch"] == "test") & (frame["step"] >= 108)]
    frame = frame[(frame["state"] == "finished") & (frame["model"] == "vgg_small")]
    ends = frame.groupby(["norm", "seed"], observed=True)["value"].median().groupby("norm", observed=True).median()
    text = (tmp_path / "card-l1.html").read_text().partition("<h3>vgg_small")[2]
    row = text.partition("Does it test better than the plain network?")[2].partition("</summary>")[0]
    assert f"final test accuracy: l1 {ends['l1']:.4g}, none {ends['none']:.4g}" in row
    row = text.partition("Is its landscape along the gradient as smooth as that of batch")[2].partition("</summary>")[0]
    assert f"l1 {ends['l1']:.4g}, batch {ends['batch']:.4g}" in row


@pytest.mark.long
def test_the_answers_as_a_table_are_those_of_the_page(runs: Path, tmp_path: Path) -> None:
    assert main(["card", "l1", str(runs), "--out", str(tmp_path)]) == 0
    told = answers(tmp_path / "card-l1.html")
    table = card.answers("l1", runs)
    table = table[table["setting"] != ""].drop_duplicates(["claim", "setting"])
    found = {(row.setting.partition(" on ")[0], row.statement): [row.answer] for row in table.itertuples()}
    assert found == told


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.long
def test_a_card_of_a_reference_is_not_held_against_itself(runs: Path, tmp_path: Path, norm: str) -> None:
    assert main(["card", norm, str(runs), "--out", str(tmp_path)]) == 0
    ledger = pd.read_csv(tmp_path / f"numbers-card-{norm}" / "ledger.csv")
    assert not ledger["comparison"].str.contains(f"{norm} / {norm}|{norm} - {norm}").any()
    assert len(ledger["claim"].unique()) == 5


def test_two_arms_side_by_side(runs: Path, tmp_path: Path) -> None:
    assert main(["card", "l1,batch", str(runs), "--out", str(tmp_path)]) == 0
    told = answers(tmp_path / "card-l1-batch.html")
    assert told["vgg_small", "Does it train at all?"] == ["leans: yes"] * 2
    assert told["vgg_small", "Does it train faster than the plain network?"] == ["interim: yes"] * 2
    assert told["vgg_small", "l1: Does it train as fast as batch normalisation?"] == [
        "leans: yes"
    ]  # the one against the other


@pytest.mark.parametrize(
    ("key", "one", "other"),
    partly(
        [
            ("model.width", {"model": {"width": 0.125}}, {"model": {"width": 0.5}}),
            ("optim.batch_size", {"optim": {"batch_size": 16}}, {"optim": {"batch_size": 64}}),
            ("steps", {"steps": 60}, {"steps": 120}),
        ],
        1,
    ),
)
def test_a_card_never_judges_across_settings(key: str, one: Any, other: Any, tmp_path: Path) -> None:
    a = sweep(tmp_path / "a", ("none",), "x", **one)
    b = sweep(tmp_path / "b", ("batch",), "y", **other)
    assert main(["card", "batch", str(a), str(b), "--out", str(tmp_path)]) == 0
    told = answers(tmp_path / "card-batch.html")
    assert {question for _, question in told} == {"Does it train at all?"}
    text = " ".join(Reader((tmp_path / "card-batch.html").read_text()).text.split())
    assert f"batch and none were run, but nowhere alike: they differ in {key} (" in text
    assert (f"or make it an arm: --by norm --by {key}" in text) == (key != "steps")


@pytest.mark.long
def test_arms_by_another_key(tmp_path: Path) -> None:
    sweep(tmp_path / "runs", ("batch",), "other")  # it has no groups, and so no part in this
    for groups in (2, 4, 8):
        folder = write_sweep(tmp_path / "runs", norms=("l2",), lrs=(0.1,), linear=False)
        for run in [run for run in folder.iterdir() if "-l2-" in run.name and "groups" not in run.name]:
            alter(run, f"groups{groups}", norm={"name": "group", "groups": groups})
    assert main(["card", "4", str(folder), "--by", "norm.groups", "--out", str(tmp_path)]) == 0
    told = answers(tmp_path / "card-4.html")
    for other in (2, 8):
        assert ("vgg_small", f"Does it train faster than {other}?") in told
    text = Reader((tmp_path / "card-4.html").read_text()).text
    assert "9 runs: 4, 2, 8; one setting; 3 seeds per arm and setting." in " ".join(text.split())
    assert main(["card", "4,8", str(folder), "--by", "norm.groups", "--out", str(tmp_path)]) == 0
    told = answers(tmp_path / "card-4-8.html")
    assert ("vgg_small", "4: Does it train faster than 8?") in told
    assert not any("than 2?" in question for _, question in told)


def test_claims_and_figures_of_a_users_own_stand_on_the_card(runs: Path, tmp_path: Path) -> None:
    from tests.test_report import FIGURE, OWN

    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "drawn.py").write_text(FIGURE.format(body="figure.subplots()"))
    own = ["--claims", str(tmp_path / "mine.py"), "--file", str(tmp_path / "drawn.py")]
    assert main(["card", "l1", str(runs), "--out", str(tmp_path), *own]) == 0
    assert ("vgg_small", "L1 ends lower than batch.") in answers(tmp_path / "card-l1.html")
    assert "figure-drawn" in Reader((tmp_path / "card-l1.html").read_text()).ids
