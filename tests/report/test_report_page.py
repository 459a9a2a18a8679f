"""The page is parsed again: whole, offline, escaped, and honest about what is missing."""

import base64
import json
import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from omics_jax.errors import UserError
from omics_jax.report.figures import DRAWINGS
from omics_jax.report.page import FEW_ARMS, write_report
from omics_jax.report.stored_tables import read_table

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Tags with their attributes, the text, and whether every tag is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.cells, self.open = [], [], [], []
        self.summaries, self.collapsed = [], []
        self.feed(text)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th", "dd"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if {"td", "th", "dd"} & set(self.open):
            self.cells[-1] += data
            if "details" in self.open:
                self.collapsed.append(data)
        if self.open[-1:] == ["summary"]:
            self.summaries.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    @property
    def sections(self):
        return [attrs["id"] for tag, attrs in self.tags if tag == "section"]

    @property
    def images(self):
        return [attrs for tag, attrs in self.tags if tag == "img"]


def page_of(run):
    return Page(write_report(run).read_text(encoding="utf-8"))


def edit(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_a_whole_run(whole_run):
    page = page_of(whole_run)
    assert page.sections == [
        "results",
        "comparisons",
        "arms",
        "groups",
        "figures",
        "training",
        "data",
        "run",
    ]
    index = json.loads((whole_run / "tables/index.json").read_text())
    drawn = [table for table in index if table["kind"] != "table"]
    assert {table["kind"] for table in drawn} == set(DRAWINGS)
    assert len(page.images) == 1 + len(drawn) + 1  # key figure, every drawn table, training
    assert "pertvae reaches a mean pearson of 0.744 (95 % interval 0.723 to 0.765)" in page.text
    assert "the best baseline (random forest) reaches 0.720" in page.text
    assert "30 test splits · 3 groups · 2 arms · 5 baselines" in page.text
    assert "Nadeau-Bengio corrected t, from 30 values" in page.text
    assert "Test: corrected resampled t." in page.text
    assert "pertvae beats ridge on pearson" in page.text
    assert "pertvae does not beat random forest on pearson" in page.text
    assert "pertvae is worse than random forest" in page.text
    for table in index:
        assert table["title"] in page.text and table["caption"] in page.text
        assert f"Data: tables/{table['name']}.csv" in page.text
    for part in ("6 min 52 s", "python experiments/main.py", "0.0005", "9f2c"):
        assert part in page.text
    assert "12 profiles without a control" in page.text
    assert "0.421" in page.cells and "–" in page.cells


def test_the_page_is_offline_and_without_script(fake_run):
    text = write_report(fake_run).read_text(encoding="utf-8")
    page = Page(text)
    assert not re.search(r"https?:|url\(|@import|<script|<link", text)
    for _, attrs in page.tags:
        assert not any(name.startswith("on") for name in attrs)
        assert attrs.get("href", "#").startswith("#")
        assert attrs.get("src", "data:image/svg+xml;base64,").startswith(
            "data:image/svg+xml;base64,"
        )
    anchors = {attrs["href"][1:] for tag, attrs in page.tags if tag == "a"}
    assert anchors == set(page.sections)
    for image in page.images:
        assert len(image["alt"]) > 20
        svg = base64.b64decode(image["src"].split(",")[1]).decode()
        assert svg.startswith("<svg") and not re.search(r"href=\"(?!#|data:)", svg)


def test_many_comparisons_and_arms_are_collapsed(fake_run):
    def more(document):
        first = document["comparisons"][0]
        document["comparisons"] = [first | {"b": f"rival {i}"} for i in range(40)]
        document["arms"] = {f"arm {i}": document["arms"]["pertvae"] for i in range(FEW_ARMS + 2)}

    edit(fake_run / "metrics.json", more)
    line = json.loads((fake_run / "history.jsonl").read_text().splitlines()[0])
    lines = [json.dumps(line | {"arm": f"arm {i}", "objective": 1.0}) for i in range(FEW_ARMS + 2)]
    (fake_run / "history.jsonl").write_text("\n".join(lines) + "\n")
    page = page_of(fake_run)
    for words in (
        "28 further comparisons",
        "7 further arms beside their baselines",
        "7 further arms",
    ):
        assert words in page.summaries
    for i in range(40):
        assert page.cells.count(f"pertvae beats rival {i} on pearson") == 1
        assert (f"pertvae beats rival {i} on pearson" in page.collapsed) == (i >= 12)
    assert all(
        f"arm {i} beside its baselines" in page.summaries and f"arm {i}" in page.summaries
        for i in range(1, 8)
    )
    assert "arm 0" not in page.summaries


def test_a_wide_table_keeps_its_row_names_and_aligns_its_numbers(fake_run):
    wide = {f"number {i}": [0.5, -0.25, 12.0] for i in range(14)}
    pd.DataFrame({"method": ["net", "GRU-D", "7"], **wide}).to_csv(
        fake_run / "tables/drugs.csv", index=False
    )
    page = page_of(fake_run)
    assert [page.cells.count(cell) for cell in ("0.50", "−0.25", "12.00")] == [14, 14, 14]
    assert [attrs for tag, attrs in page.tags if tag == "th"].count({"scope": "row"}) >= 3


def test_the_same_run_gives_the_same_bytes(fake_run):
    first = write_report(fake_run).read_bytes()
    assert write_report(fake_run).read_bytes() == first
    assert not list(fake_run.glob("*.part"))


@pytest.mark.parametrize(
    ("files", "sections"),
    [
        (["history.jsonl"], {"training"}),
        (["tables/index.json"], {"figures"}),
        (["data.json", "config.json", "environment.json"], {"data"}),
    ],
)
def test_an_optional_file_that_is_missing_leaves_its_section_out(fake_run, files, sections):
    for file in files:
        (fake_run / file).unlink()
    every = {"results", "comparisons", "arms", "groups", "figures", "training", "data", "run"}
    assert every - set(page_of(fake_run).sections) == sections


def test_metrics_alone_are_enough(tmp_path):
    (tmp_path / "metrics.json").write_text(
        json.dumps({"system": "net", "summary": {}, "baselines": {}})
    )
    page = page_of(tmp_path)
    assert page.sections == ["run"] and "net was run; it reports no summary." in page.text


def test_no_metrics_is_a_mistake_of_the_user(fake_run):
    (fake_run / "metrics.json").unlink()
    with pytest.raises(UserError, match=r"no metrics\.json.*finish"):
        write_report(fake_run)


def test_a_single_replicate_without_intervals(fake_run):
    lone = {"mean": 0.5, "sd": None, "ci95": None, "ci_method": None, "n": 1}
    metrics = {
        "system": "net",
        "experiment": None,
        "summary": {"auc": lone, "f1": None},
        "baselines": {"prevalence": {"auc": lone | {"mean": None}, "f1": {"mean": None}}},
        "replicates": [{"arm": "net", "group": "all", "auc": 0.5, "f1": None}],
    }
    (fake_run / "metrics.json").write_text(json.dumps(metrics))
    first = (fake_run / "history.jsonl").read_text().splitlines()[0]
    (fake_run / "history.jsonl").write_text(first + "\n")
    page = page_of(fake_run)
    assert "groups" not in page.sections and "arms" not in page.sections
    assert page.cells.count("–") >= 3
    assert (
        "No interval could be computed" in page.text
        and "The network was trained once." in page.text
    )
    assert "nan" not in page.text.lower().split() and "None" not in page.text


def test_hostile_labels_are_escaped_everywhere(fake_run):
    evil = '"><script>alert(1)</script><img src=x onerror=alert(2)>&'

    def metrics(document):
        document["system"] = document["experiment"] = evil
        document["baselines"] = {evil: document["baselines"]["ridge"]}
        document["arms"] = {evil: document["arms"]["pertvae"]} | document["arms"]
        document["comparisons"][0] |= {"b": evil, "test": evil}
        document["replicates"][0]["group"] = evil

    edit(fake_run / "metrics.json", metrics)
    edit(
        fake_run / "tables/index.json",
        lambda index: [entry.update(title=evil, caption=evil) for entry in index],
    )
    edit(fake_run / "config.json", lambda config: config.update({evil: {evil: evil}}))
    edit(fake_run / "data.json", lambda data: data["notes"].append(evil))
    edit(fake_run / "environment.json", lambda environment: environment.update(command=evil))
    frame = pd.read_csv(fake_run / "tables/drugs.csv")
    frame.rename(columns={"drug": evil}).replace("vorinostat", evil).to_csv(
        fake_run / "tables/drugs.csv", index=False
    )
    page = page_of(fake_run)
    assert "script" not in [tag for tag, _ in page.tags]
    assert all(set(image) == {"src", "alt"} for image in page.images)
    assert page.text.count(evil) >= 8


def make_ranking(run, text):
    """Turns the printed table of the drugs into a ranking of this content."""
    edit(
        run / "tables/index.json",
        lambda index: index[-1].update(kind="ranking", title="Genes that weigh most"),
    )
    (run / "tables/drugs.csv").write_text(text)


def test_empty_tables_are_left_out_and_all_missing_values_said(fake_run):
    (fake_run / "tables/dose.csv").write_text("x,y\n")
    make_ranking(fake_run, "label,value\nTP53,\nNA,inf\n")
    page = page_of(fake_run)
    assert "Response by dose" not in page.text
    assert "Every value is missing, so nothing is drawn." in page.text


def test_a_label_that_reads_like_a_gap_stays_a_label(fake_run):
    make_ranking(fake_run, "label,value\nNA,1.5\nNaN,-2\n")
    image = next(i for i in page_of(fake_run).images if "Genes that weigh most" in i["alt"])
    svg = base64.b64decode(image["src"].split(",")[1]).decode()
    assert ">NA</text>" in svg and ">NaN</text>" in svg


def test_long_tables_are_collapsed_and_cut_with_a_word(fake_run):
    frame = pd.DataFrame(
        {"id": range(700), "year": 1999, "score": 0.12345, "note": ["", "NA"] * 350}
    )
    frame.to_csv(fake_run / "tables/drugs.csv", index=False)
    page = page_of(fake_run)
    assert "700 rows" in page.text and "The first 500 rows are shown." in page.text
    assert page.cells.count("1999") == page.cells.count("0.123") == 500
    assert page.cells.count("NA") == 250
    assert page.cells.count("–") == 250 + 1  # and one setting of the configuration that is None


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("tables/dose.csv", "x,z\n1,2\n", ["dose.csv", "'y'", "curve", "x, z"]),
        ("tables/dose.csv", "x,y\n1,2\n3,high\n", ["dose.csv", "line 3", "'y'", "'high'"]),
        ("tables/dose.csv", None, ["dose.csv", "missing"]),
        ("metrics.json", "{", ["metrics.json", "not JSON"]),
        ("tables/index.json", '[{"name": "dose", "kind": "pie"}]', ["'pie'", "'dose'", "curve"]),
        ("history.jsonl", "{]\n", ["history.jsonl", "line 1"]),
    ],
)
def test_broken_files_are_named_with_place_and_mend(fake_run, file, content, words):
    path = fake_run / file
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(UserError) as error:
        write_report(fake_run)
    for word in words:
        assert word in str(error.value)
    assert not (fake_run / "report.html").exists()


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("matrix", "row,column,value\nNA,1,3\nNaN,null,4\n"),
        ("overlap", "combination,patients\nNA + 2,3\nnull,4\n"),
        ("map", "x,y,series,quantity\n1,2,NA,7\n3,4,null,7\n"),
    ],
)
def test_names_of_every_kind_are_read_as_they_are_written(tmp_path, kind, content):
    (tmp_path / "names.csv").write_text(content)
    frame = read_table(tmp_path / "names.csv", kind)
    numbers = [name for name in ("value", "patients", "x", "y") if name in frame]
    assert list(frame.select_dtypes("float")) == numbers
    lines = [
        ",".join(cells)
        for cells in frame.map(lambda v: f"{v:g}" if isinstance(v, float) else v).to_numpy()
    ]
    assert "\n".join([",".join(frame), *lines, ""]) == content


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("panel,variable,x,value\np,HR,0,80\n", ["'role'", "kind 'series'"]),
        (
            "panel,variable,x,value,role\np,HR,0,80,observed\np,HR,1,81,guessed\n",
            ["line 3", "'guessed'", "held out"],
        ),
        ("panel,variable,x,value,role,low\np,HR,0,80,imputed,?\n", ["line 2", "'low'", "'?'"]),
    ],
)
def test_a_broken_series_is_named_with_place_and_mend(tmp_path, content, words):
    (tmp_path / "imputed.csv").write_text(content)
    with pytest.raises(UserError) as error:
        read_table(tmp_path / "imputed.csv", "series")
    for word in ("imputed.csv", *words):
        assert word in str(error.value)
