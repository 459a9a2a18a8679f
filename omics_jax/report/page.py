"""A run directory in, `report.html` out: one file that opens offline and needs no script.

Reads what a run leaves behind (`metrics.json`, `tables/`, `history.jsonl`, `config.json`,
`data.json`, `environment.json`) and knows no system by name. Left out: anything that needs the data
or the model again.
"""

from __future__ import annotations

import base64
import json
import math
import pathlib
from collections.abc import Mapping, Sequence

import pandas as pd

from omics_jax.durable import write_atomically
from omics_jax.errors import UserError
from omics_jax.evaluation.tables import KINDS, numeric_columns
from omics_jax.file_names import file_name
from omics_jax.report import results
from omics_jax.report.stored_tables import printed_frame, read_table

FEW_ARMS = 6  # further arms that are listed one by one
OPEN_COMPARISONS = 12  # further ones are folded


def write_report(run: pathlib.Path) -> pathlib.Path:
    """Writes `report.html` into the run directory and returns its path.

    The same run directory gives the same bytes.

    Raises:
      UserError: `metrics.json` is missing, a file is not what its name says, or a table of
        `tables/index.json` is missing or lacks a column of its kind.
    """
    run = pathlib.Path(run)
    page = run / "report.html"
    write_atomically(page, render(page_content(run)))
    return page


def page_content(run: pathlib.Path) -> dict:
    """Everything the template shows, as text, lists and dicts; an absent part is empty."""
    metrics = read_json(run / "metrics.json")
    if not metrics:
        raise UserError(
            f"{run} holds no metrics.json, so there is nothing to report; name the directory of a "
            "finished run, or finish this one by running its command again."
        )
    environment = read_json(run / "environment.json") or {}
    better = metrics.get("better") or {}
    return {
        "title": title_of(metrics, run.name),
        "statement": results.statement(main_arm(metrics), metrics, better),
        "doubts": [record["sentence"] for record in metrics.get("doubtful") or []],
        "scope": scope_sentence(metrics),
        "cautions": metrics.get("cautions") or [],
        **result_sections(metrics, better),
        "tables": table_sections(run),
        "training": training_sections(run),
        "data": data_section(read_json(run / "data.json") or {}),
        "command": environment.get("command"),
        "timing": {k: duration(v) for k, v in (metrics.get("timing") or {}).items()},
        "environment": {k: v for k, v in environment.items() if k != "command"},
        "config": read_json(run / "config.json") or {},
        "run": run.name,
    }


def data_section(data: Mapping) -> dict:
    """What was understood of the data: lines, notes, warnings, tables of files and variables."""
    frames = {"What the files hold": data.get("uses") or []}
    for name, rows in (data.get("variables") or {}).items():
        frames[f"Variables of {name}"] = rows
    tables = [(title, printed_frame(pd.DataFrame(rows))) for title, rows in frames.items() if rows]
    lines = {name: data.get(name) or [] for name in ("summary", "notes", "warnings")}
    return {**lines, "tables": tables}


def title_of(metrics: Mapping, run: str) -> str:
    """System and experiment; the run directory's name where no system is named."""
    system, experiment = str(metrics.get("system") or run), metrics.get("experiment")
    return system if experiment in (None, "") else f"{system}: {experiment}"


def read_json(path: pathlib.Path) -> dict | list | None:
    """The file's content, None where there is no such file."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(
            f"{path} is not JSON ({error}); restore the file or run the command of this run again."
        ) from error


def main_arm(metrics: Mapping) -> str:
    """The arm that `summary` and `baselines` are about: the first; without arms the system."""
    return str(next(iter(metrics.get("arms") or {}), None) or metrics.get("system") or "model")


def scope_sentence(metrics: Mapping) -> str:
    """How many splits, groups and arms the numbers rest on."""
    replicates = metrics.get("replicates") or []
    of_main_arm = [r for r in replicates if r.get("arm") in (None, main_arm(metrics))] or replicates
    groups = {str(r["group"]) for r in of_main_arm if r.get("group") not in (None, "")}
    arms, baselines = len(metrics.get("arms") or {}), len(metrics.get("baselines") or {})
    parts = [
        count_of(len(of_main_arm), "test split") if of_main_arm else "",
        count_of(len(groups), "group") if len(groups) > 1 else "",
        count_of(arms, "arm") if arms > 1 else "",
        count_of(baselines, "baseline"),
    ]
    return " · ".join(part for part in parts if part)


def count_of(number: int, noun: str) -> str:
    """Counts in words: "1 arm", "3 arms", "no baselines"."""
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def result_sections(metrics: Mapping, better: Mapping[str, str]) -> dict:
    """Key results, comparisons, arms and groups."""
    main = main_arm(metrics)
    summaries = {main: metrics.get("summary") or {}} | (metrics.get("baselines") or {})
    key = results.result_rows(summaries, better, [main]) if metrics.get("summary") else {}
    return {
        "key": key,
        "key_own": main,
        "key_note": results.interval_sentence(summaries),
        "key_figure": key_figure(key, main) if key else None,
        **comparison_sections(metrics.get("comparisons") or [], better),
        **arm_sections(metrics.get("arms") or {}, better),
        "groups": results.group_rows(metrics.get("replicates") or [], list(summaries[main])),
    }


def comparison_sections(comparisons: Sequence[Mapping], better: Mapping[str, str]) -> dict:
    """The comparisons in words: the first in view, further ones folded, and the tests made."""
    rows = results.comparison_rows(comparisons, better)
    tests = [str(comparison["test"]) for comparison in comparisons if comparison.get("test")]
    return {
        "comparisons": rows[:OPEN_COMPARISONS],
        "more_comparisons": rows[OPEN_COMPARISONS:],
        "tests": list(dict.fromkeys(tests)),
        "tallies": results.tally_sentences(comparisons, better),
    }


def arm_sections(arms: Mapping, better: Mapping[str, str]) -> dict:
    """All arms in one table, where there are several, and each further one beside its baselines."""
    summaries = {arm: (entry or {}).get("summary") or {} for arm, entry in arms.items()}
    further = list(arms.items())[1:]
    return {
        "arms": results.result_rows(summaries, better, []) if len(arms) > 1 else {},
        "few": FEW_ARMS,
        "arms_note": results.interval_sentence(summaries),
        "arm_details": [arm_details(arm, entry or {}, better) for arm, entry in further],
    }


def arm_details(arm: str, entry: Mapping, better: Mapping[str, str]) -> dict:
    """One further arm beside its own baselines."""
    summaries = {arm: entry.get("summary") or {}} | (entry.get("baselines") or {})
    return {
        "name": arm,
        "table": results.result_rows(summaries, better, [arm]),
        "note": results.interval_sentence(summaries),
    }


def key_figure(key: Mapping, name: str) -> dict | None:
    """The key results as dots with intervals, a panel per metric; None for a lone number."""
    from omics_jax.report import figures

    columns = ["label", "series", "value", "low", "high"]
    rows = [
        (row["name"], metric["name"], cell["value"], cell["low"], cell["high"])
        for column, metric in enumerate(key["metrics"])
        for row in key["rows"]
        for cell in [row["cells"][column]]
    ]
    frame = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[2:], float))
    methods = frame.groupby("series")["value"].transform("count")
    # A metric that only one method has shows nothing in a figure, unless there is no other metric.
    compared = frame[methods > 1]
    frame = compared if len(compared) else frame[methods > 0]
    if frame["value"].count() < 2:
        return None
    title, x_label = f"{name} beside its baselines", "mean, with its 95 % interval"
    drawing = figures.draw("intervals", frame, title, x_label, "", highlight=name, share_x=False)
    return image(drawing) | {"note": drawing.note}


def image(drawing) -> dict:
    """An image's source and alt text.

    Unlike inline SVG, an image can be saved from the page and put in a slide.
    """
    encoded = base64.b64encode(drawing.svg.encode()).decode()
    return {"src": f"data:image/svg+xml;base64,{encoded}", "alt": drawing.alt}


def table_sections(run: pathlib.Path) -> list[dict]:
    """The tables of `tables/index.json` in its order, drawn or printed; empty ones left out."""
    index = read_json(run / "tables" / "index.json") or []
    sections = []
    for entry in index:
        frame = read_table(run / "tables" / f"{file_name(entry['name'])}.csv", entry["kind"])
        if len(frame):
            sections.append(table_section(entry, frame))
    return sections


def table_section(entry: Mapping, frame: pd.DataFrame) -> dict:
    """One figure or printed table with its title, caption and the file it was made from."""
    kind, title = entry["kind"], str(entry.get("title") or entry["name"])
    endings = ["csv", *(entry.get("formats") or [])]
    section = {
        "title": title,
        "caption": entry.get("caption") or "",
        "file": " and ".join(f"tables/{file_name(entry['name'])}.{end}" for end in endings),
        "frame": None,
        "image": None,
        "note": "",
    }
    if kind == "file":
        return section
    if kind == "table":
        return section | {"frame": printed_frame(frame)}
    if not has_values(frame, kind):
        return section | {"note": "Every value is missing, so nothing is drawn."}
    from omics_jax.report import figures

    labels = entry.get("x_label") or "", entry.get("y_label") or ""
    drawing = figures.draw(kind, frame, title, *labels)
    return section | {"image": image(drawing), "note": drawing.note}


def has_values(frame: pd.DataFrame, kind: str) -> bool:
    """True where some row has all numbers that its kind needs; the ends of intervals may miss."""
    needed = [name for name in numeric_columns(kind) if name in KINDS[kind].needed]
    values = frame[[name for name in needed if name not in ("low", "high")]]
    return bool(values.notna().all(axis=1).any())


def training_sections(run: pathlib.Path) -> list[dict]:
    """The training curves of every arm, in the order of the history."""
    path = run / "history.jsonl"
    if not path.is_file():
        return []
    from omics_jax.report import training_curves

    history = training_curves.read_history(path)
    sections = []
    for arm, part in history.groupby("arm", sort=False):
        if part[[*training_curves.QUANTITIES]].notna().any(axis=None):
            drawing = training_curves.draw_training(part, str(arm))
            sections.append({"arm": arm, "image": image(drawing), "note": drawing.note})
    return sections


def duration(seconds: object) -> str:
    """Seconds as "0.42 s", "3 min 20 s" or "2 h 5 min"; any other value as text."""
    if not results.is_number(seconds):
        return results.ABSENT if seconds is None else str(seconds)
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def leaf(value: object) -> str:
    """A configuration or environment value in one line."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return results.ABSENT
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def is_branch(value: object) -> bool:
    """True for what is shown as a level of its own: a mapping, or a list that holds mappings."""
    return isinstance(value, Mapping) or (
        isinstance(value, list | tuple) and any(isinstance(entry, Mapping) for entry in value)
    )


def branches(value: Mapping | list | tuple) -> list[tuple]:
    """The entries of a branch with their names or, in a list, their places."""
    return list(value.items() if isinstance(value, Mapping) else enumerate(value))


def render(content: Mapping) -> str:
    """The page as text; everything shown is escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["leaf"] = leaf
    environment.filters["branches"] = branches
    environment.tests["branch"] = is_branch
    return environment.get_template("page.html").render(**content)
