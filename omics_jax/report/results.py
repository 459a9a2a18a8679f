"""The numbers of `metrics.json` as rows of text: key results, comparisons in words, arms and
groups.

No source: this is the house's own contract. Which side of a metric is better stands in
`metrics.json` under
`"better": {metric: "higher" | "lower"}`, as the system declared it; of a metric that is not there
nothing is called best. Left out: any statistics, which `evaluation/` has already done.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

ABSENT = "–"
SIGNIFICANCE = 0.05


def is_number(value: object) -> bool:
    """True for a finite int or float; False for bools, None, text, NaN and infinities."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def numbers(values: Sequence[object], digits: int = 3) -> list[str]:
    """The values with one shared number of decimals, the largest magnitude getting `digits` digits.

    Whatever is not a finite number becomes "–"; a zero magnitude counts as one.
    """
    finite = [abs(v) for v in values if is_number(v)]
    largest = max(finite, default=0.0) or 1.0
    if largest < 1e-4 or largest >= 1e7:
        return [f"{v:.{digits - 1}e}".replace("-", "−") if is_number(v) else ABSENT for v in values]
    decimals = max(0, digits - 1 - math.floor(math.log10(largest)))
    return [f"{v:,.{decimals}f}".replace("-", "−") if is_number(v) else ABSENT for v in values]


def number(value: object) -> str:
    """One value: counts as they are, floats with three digits, "–" for what is missing."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}".replace("-", "−")
    return numbers([value])[0]


def aligned(values: Sequence[float]) -> list[str]:
    """The finite values of a column with shared decimals, so that their points stand below each
    other.

    The largest magnitude gets three digits at least and the smallest two; magnitudes a thousandfold
    apart
    (p-values) each keep decimals of their own.
    """
    magnitudes = [abs(v) for v in values if v]
    if (
        not magnitudes
        or max(magnitudes) >= min(1000 * min(magnitudes), 1e7)
        or max(magnitudes) < 1e-4
    ):
        return [number(v) for v in values]
    largest, smallest = (
        math.floor(math.log10(max(magnitudes))),
        math.floor(math.log10(min(magnitudes))),
    )
    decimals = max(0, 2 - largest, 1 - smallest)
    return [f"{v:,.{decimals}f}".replace("-", "−") for v in values]


def p_value(p: object) -> str:
    """A p-value as "0.031", "< 0.0001" or "–"."""
    if not is_number(p):
        return ABSENT
    return "< 0.0001" if p < 1e-4 else f"{p:#.2g}"


def estimate(entry: Mapping | None) -> dict:
    """One summary entry (mean, ci95, ...) as {"value", "low", "high"} and the texts {"mean",
    "interval"}.
    """
    entry = entry or {}
    low, high = entry.get("ci95") or (None, None)
    mean, low_text, high_text = numbers([entry.get("mean"), low, high])
    interval = "" if not (is_number(low) and is_number(high)) else f"{low_text} to {high_text}"
    return {
        "value": entry.get("mean"),
        "low": low,
        "high": high,
        "mean": mean,
        "interval": interval,
    }


def metric_names(entries: Sequence[Mapping]) -> list[str]:
    """Every metric of the given summaries, in order of first appearance."""
    return list(dict.fromkeys(metric for summary in entries for metric in summary))


def result_rows(
    summaries: Mapping[str, Mapping], better: Mapping[str, str], models: Sequence[str]
) -> dict:
    """A method per row and a metric per column, the best mean of each column marked.

    Returns {"metrics": [{"name", "better"}], "rows": [{"name", "model", "cells": [{...,
    "best"}]}]}.
    """
    metrics = metric_names(list(summaries.values()))
    directions = {metric: better.get(metric) for metric in metrics}
    rows = [
        {
            "name": name,
            "model": name in models,
            "cells": [estimate(summary.get(m)) for m in metrics],
        }
        for name, summary in summaries.items()
    ]
    for column, metric in enumerate(metrics):
        cells = [row["cells"][column] for row in rows]
        values = [cell["value"] for cell in cells if is_number(cell["value"])]
        pick = {"lower": min, "higher": max}.get(directions[metric])
        best = pick(values) if pick and len(set(values)) > 1 else None
        for cell in cells:
            cell["best"] = best is not None and cell["value"] == best
    return {"metrics": [{"name": m, "better": directions[m]} for m in metrics], "rows": rows}


def interval_sentence(summaries: Mapping[str, Mapping]) -> str:
    """How the intervals were made and over how many values, in one sentence."""
    methods: dict[str, list[int]] = {}
    for summary in summaries.values():
        for entry in summary.values():
            if entry and estimate(entry)["interval"]:
                methods.setdefault(
                    str(entry.get("ci_method") or "a method not recorded"), []
                ).append(entry.get("n") or 0)
    if not methods:
        return "No interval could be computed for these values."
    parts = []
    for method, sizes in methods.items():
        low, high = min(sizes), max(sizes)
        over = (
            ""
            if not high
            else f" over {low} values"
            if low == high
            else f" over {low} to {high} values"
        )
        parts.append(f"{method}{over}")
    return f"95 % intervals: {'; '.join(parts)}."


def verdict(comparison: Mapping, better: Mapping[str, str]) -> str:
    """One of "better", "worse", "different" (direction unknown), "unclear", "unknown" (no evidence
    given).

    Evidence is the adjusted p-value, else p, else the 95 % interval; `difference` is a minus b.
    """
    difference = comparison.get("difference")
    low, high = comparison.get("ci95") or (None, None)
    p = next((comparison.get(k) for k in ("p_adjusted", "p") if is_number(comparison.get(k))), None)
    if not is_number(difference) or (p is None and not (is_number(low) and is_number(high))):
        return "unknown"
    if not (p < SIGNIFICANCE if p is not None else (low > 0 or high < 0)) or difference == 0:
        return "unclear"
    direction = better.get(comparison["metric"])
    if direction is None:
        return "different"
    return "better" if (difference > 0) == (direction == "higher") else "worse"


def comparison_sentence(comparison: Mapping, kind: str) -> str:
    """The verdict in plain words, e.g. "pertvae does not beat ridge on pearson"."""
    a, b = comparison["a"], comparison["b"]
    where = f" in {comparison['group']}" if comparison.get("group") not in (None, "") else ""
    higher = (
        "higher"
        if is_number(comparison.get("difference")) and comparison["difference"] > 0
        else "lower"
    )
    words = {
        "better": f"{a} beats {b}",
        "worse": f"{a} is worse than {b}",
        "different": f"{a} is {higher} than {b}",
        "unclear": f"{a} does not beat {b}",
        "unknown": f"{a} and {b} could not be compared",
    }[kind]
    return f"{words} on {comparison['metric']}{where}"


def comparison_rows(comparisons: Sequence[Mapping], better: Mapping[str, str]) -> list[dict]:
    """One row of text per comparison: sentence, verdict, difference, interval, p, adjusted p, test."""
    rows = []
    for comparison in comparisons:
        kind = verdict(comparison, better)
        low, high = comparison.get("ci95") or (None, None)
        difference, low_text, high_text = numbers([comparison.get("difference"), low, high])
        rows.append(
            {
                "verdict": kind,
                "sentence": comparison_sentence(comparison, kind),
                "difference": difference,
                "interval": f"{low_text} to {high_text}"
                if is_number(low) and is_number(high)
                else ABSENT,
                "p": p_value(comparison.get("p")),
                "p_adjusted": p_value(comparison.get("p_adjusted")),
                "test": comparison.get("test") or ABSENT,
            }
        )
    return rows


def tally_sentences(comparisons: Sequence[Mapping], better: Mapping[str, str]) -> list[str]:
    """Per (a, b, metric) compared in several groups: in how many a is better, unclear, worse."""
    counts: dict[tuple, dict[str, int]] = {}
    for comparison in comparisons:
        tally = counts.setdefault((comparison["a"], comparison["b"], comparison["metric"]), {})
        kind = verdict(comparison, better)
        tally[kind] = tally.get(kind, 0) + 1
    words = {"better": "better in", "worse": "worse in", "different": "different in"}
    words |= {"unclear": "no clear difference in", "unknown": "not comparable in"}
    return [
        f"{a} against {b} on {metric}: "
        + ", ".join(f"{words[k]} {tally[k]}" for k in words if tally.get(k))
        + f", of {sum(tally.values())}."
        for (a, b, metric), tally in counts.items()
        if sum(tally.values()) > 1
    ]


def group_rows(replicates: Sequence[Mapping], metrics: Sequence[str]) -> dict:
    """Mean and sd over the splits of each arm and group; {} where there is one group alone."""
    members: dict[tuple, list[Mapping]] = {}
    for replicate in replicates:
        key = str(replicate.get("arm") or ""), str(replicate.get("group") or "")
        members.setdefault(key, []).append(replicate)
    shown = [m for m in metrics if any(is_number(r.get(m)) for r in replicates)]
    if len(members) < 2 or not shown:
        return {}
    rows = [
        {
            "arm": arm,
            "group": group,
            "n": len(splits),
            "cells": [mean_and_sd(splits, m) for m in shown],
        }
        for (arm, group), splits in members.items()
    ]
    return {"metrics": shown, "rows": rows, "several_arms": len({row["arm"] for row in rows}) > 1}


def mean_and_sd(replicates: Sequence[Mapping], metric: str) -> dict:
    """{"mean", "sd"} as text over the finite values; sd (over n - 1) is "–" below two values."""
    values = [r[metric] for r in replicates if is_number(r.get(metric))]
    mean = math.fsum(values) / len(values) if values else None
    several = len(values) > 1
    sd = (
        math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
        if several
        else None
    )
    return dict(zip(("mean", "sd"), numbers([mean, sd]), strict=True))


def statement(name: str, metrics: Mapping, better: Mapping[str, str]) -> str:
    """One sentence: how the first arm did on its first metric, and the best baseline beside it."""
    summary, baselines = metrics.get("summary") or {}, metrics.get("baselines") or {}
    if not summary:
        return f"{name} was run; it reports no summary."
    metric = next(
        (m for m in summary if is_number((summary[m] or {}).get("mean"))), next(iter(summary))
    )
    own = estimate(summary[metric])
    interval = f" (95 % interval {own['interval']})" if own["interval"] else ""
    text = f"{name} reaches a mean {metric} of {own['mean']}{interval}"
    pick = {"lower": min, "higher": max}.get(better.get(metric))
    means = {name: (scores.get(metric) or {}).get("mean") for name, scores in baselines.items()}
    scored = {name: mean for name, mean in means.items() if is_number(mean)}
    if not scored:
        return f"{text}."
    if pick is None:
        listed = ", ".join(f"{b} {numbers([v])[0]}" for b, v in scored.items())
        return f"{text}; the baselines: {listed}."
    best = pick(scored, key=scored.__getitem__)
    return (
        f"{text}; the best baseline, {best}, reaches {estimate(baselines[best][metric])['mean']}."
    )
