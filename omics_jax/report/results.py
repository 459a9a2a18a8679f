"""The numbers of `metrics.json` as rows of text: key results, comparisons in words, arms, groups.

No source: this is the house's own contract. Which side of a metric is better stands in
`metrics.json` under `"better": {metric: "higher" | "lower"}`, as the system declared it; of a
metric that is not there nothing is called best. Left out: any statistics, which `evaluation/` has
already done.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

ABSENT = "–"
ALL = "all"  # the group of replicates that are of no group in particular
SIGNIFICANCE = 0.05
BEST = {"lower": min, "higher": max}
P_SENTENCE = (
    "The mean of p-values has no interval; below it stands a p-value of all splits together, which "
    "is twice the mean and at most 1 (Vovk and Wang 2020)."
)
VERDICT_WORDS = {
    "better": "better in",
    "worse": "worse in",
    "different": "different in",
    "unclear": "no clear difference in",
    "unknown": "not comparable in",
}


# Numbers as text


def is_number(value: object) -> bool:
    """True for a finite int or float; False for bools, None, text, NaN and infinities."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def numbers(values: Sequence[object], digits: int = 3) -> list[str]:
    """The values with one shared number of decimals, the largest magnitude getting `digits` digits.

    Whatever is not a finite number becomes "–"; a zero magnitude counts as one.
    """
    finite = [abs(value) for value in values if is_number(value)]
    largest = max(finite, default=0.0) or 1.0
    if largest < 1e-4 or largest >= 1e7:
        form = f".{digits - 1}e"
    else:
        decimals = max(0, digits - 1 - math.floor(math.log10(largest)))
        form = f",.{decimals}f"
    return [_minus(f"{value:{form}}") if is_number(value) else ABSENT for value in values]


def _minus(text: str) -> str:
    return text.replace("-", "−")


def number(value: object) -> str:
    """One value: counts as they are, floats with three digits, "–" for what is missing."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _minus(f"{value:,}")
    return numbers([value])[0]


def aligned(values: Sequence[float]) -> list[str]:
    """The finite values of a column with shared decimals, so that their points are aligned.

    The largest magnitude gets three digits at least and the smallest two; magnitudes a thousandfold
    apart (p-values) each keep decimals of their own.
    """
    magnitudes = [abs(value) for value in values if value]
    if not magnitudes:
        return [number(value) for value in values]
    largest, smallest = max(magnitudes), min(magnitudes)
    if largest < 1e-4 or largest >= min(1000 * smallest, 1e7):
        return [number(value) for value in values]
    decimals = max(0, 2 - math.floor(math.log10(largest)), 1 - math.floor(math.log10(smallest)))
    return [_minus(f"{value:,.{decimals}f}") for value in values]


def p_value(p: object) -> str:
    """A p-value as "0.031", "< 0.0001" or "–"."""
    if not is_number(p):
        return ABSENT
    return "< 0.0001" if p < 1e-4 else f"{p:#.2g}"


# Summaries


def estimate(entry: Mapping | None) -> dict:
    """One summary entry as {"value", "low", "high", "constant"} and the texts {"mean", "interval"}.

    Of p-values, the text of the interval is the p-value of all splits together.
    """
    entry = entry or {}
    low, high = entry.get("ci95") or (None, None)
    mean, low_text, high_text = numbers([entry.get("mean"), low, high])
    known = is_number(low) and is_number(high)
    interval = f"{low_text} to {high_text}" if known else ""
    if is_number(entry.get("p_combined")):
        interval = f"all splits: {p_value(entry['p_combined'])}"
    return {
        "value": entry.get("mean"),
        "low": low,
        "high": high,
        "constant": bool(entry.get("constant")),
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

    models: the rows that are networks of ours, which the page highlights.

    Returns {"metrics": [{"name", "better"}], "rows": [{"name", "model", "cells": [{...,
    "best"}]}]}.
    """
    metrics = metric_names(list(summaries.values()))
    rows = [
        {
            "name": name,
            "model": name in models,
            "cells": [estimate(summary.get(metric)) for metric in metrics],
        }
        for name, summary in summaries.items()
    ]
    for column, metric in enumerate(metrics):
        mark_best([row["cells"][column] for row in rows], better.get(metric))
    return {"metrics": [{"name": m, "better": better.get(m)} for m in metrics], "rows": rows}


def mark_best(cells: Sequence[dict], direction: str | None) -> None:
    """Adds "best" to the cells of a column; none is best alone, or without a better side.

    A prediction that is the same for every row wins nothing: where it leads, no cell is best.
    """
    values = [cell["value"] for cell in cells if is_number(cell["value"])]
    pick = BEST.get(direction)
    best = pick(values) if pick and len(set(values)) > 1 else None
    if any(cell["constant"] and cell["value"] == best for cell in cells):
        best = None
    for cell in cells:
        cell["best"] = best is not None and cell["value"] == best


def interval_sentence(summaries: Mapping[str, Mapping]) -> str:
    """How the intervals were made and from how many values, in one sentence."""
    counts_by_method: dict[str, list[int]] = {}
    for summary in summaries.values():
        for entry in summary.values():
            if entry and is_number((entry.get("ci95") or [None])[0]):
                method = str(entry.get("ci_method") or "a method not recorded")
                counts_by_method.setdefault(method, []).append(entry.get("n") or 0)
    if not counts_by_method:
        return "No interval could be computed for these values."
    parts = [f"{method}{_from_values(counts)}" for method, counts in counts_by_method.items()]
    sentence = f"95 % intervals: {'; '.join(parts)}."
    has_p = any("p_combined" in (entry or {}) for s in summaries.values() for entry in s.values())
    return f"{sentence} {P_SENTENCE}" if has_p else sentence


def _from_values(counts: Sequence[int]) -> str:
    """ ", from 3 values", ", from 8 to 10 values", or nothing where the number is not recorded."""
    low, high = min(counts), max(counts)
    if not high:
        return ""
    return f", from {low if low == high else f'{low} to {high}'} values"


# Comparisons


def verdict(comparison: Mapping, better: Mapping[str, str]) -> str:
    """The verdict on a comparison in one word.

    "better" or "worse"; "different": significant, but the metric has no better side; "unclear": not
    significant; "unknown": no evidence given.

    Evidence is the adjusted p-value, else p, else the 95 % interval; `difference` is a minus b.
    """
    difference = comparison.get("difference")
    significant = is_significant(comparison)
    if not is_number(difference) or significant is None:
        return "unknown"
    if not significant or difference == 0:
        return "unclear"
    direction = better.get(comparison["metric"])
    if direction is None:
        return "different"
    return "better" if (difference > 0) == (direction == "higher") else "worse"


def is_significant(comparison: Mapping) -> bool | None:
    """Whether a difference is significant at the 5 % level; None where no evidence is given."""
    for p in (comparison.get("p_adjusted"), comparison.get("p")):
        if is_number(p):
            return p < SIGNIFICANCE
    low, high = comparison.get("ci95") or (None, None)
    if is_number(low) and is_number(high):
        return low > 0 or high < 0
    return None


def comparison_sentence(comparison: Mapping, kind: str) -> str:
    """The verdict in plain words, e.g. "pertvae does not beat ridge on pearson"."""
    a, b = comparison["a"], comparison["b"]
    difference = comparison.get("difference")
    side = "higher" if is_number(difference) and difference > 0 else "lower"
    words = {
        "better": f"{a} beats {b}",
        "worse": f"{a} is worse than {b}",
        "different": f"{a} is {side} than {b}",
        "unclear": f"{a} does not beat {b}",
        "unknown": f"{a} and {b} could not be compared",
    }[kind]
    group = comparison.get("group")
    where = "" if group in (None, "", ALL) else f" in {group}"
    return f"{words} on {comparison['metric']}{where}"


def comparison_rows(comparisons: Sequence[Mapping], better: Mapping[str, str]) -> list[dict]:
    """Every comparison as a row of texts, see `comparison_row`."""
    return [comparison_row(comparison, verdict(comparison, better)) for comparison in comparisons]


def comparison_row(comparison: Mapping, kind: str) -> dict:
    """One comparison as texts: verdict, sentence, difference, interval, p, adjusted p, test."""
    low, high = comparison.get("ci95") or (None, None)
    known = is_number(low) and is_number(high)
    difference, low_text, high_text = numbers([comparison.get("difference"), low, high])
    return {
        "verdict": kind,
        "sentence": comparison_sentence(comparison, kind),
        "difference": difference,
        "interval": f"{low_text} to {high_text}" if known else ABSENT,
        "p": p_value(comparison.get("p")),
        "p_adjusted": p_value(comparison.get("p_adjusted")),
        "test": comparison.get("test") or ABSENT,
    }


def tally_sentences(comparisons: Sequence[Mapping], better: Mapping[str, str]) -> list[str]:
    """Per (a, b, metric) compared in several groups: in how many a is better, unclear, worse."""
    kinds: dict[tuple, list[str]] = {}
    for comparison in comparisons:
        pair = comparison["a"], comparison["b"], comparison["metric"]
        kinds.setdefault(pair, []).append(verdict(comparison, better))
    return [
        f"{a} against {b} on {metric}, in {len(verdicts)} groups: {_tally(verdicts)}."
        for (a, b, metric), verdicts in kinds.items()
        if len(verdicts) > 1
    ]


def _tally(verdicts: Sequence[str]) -> str:
    """ "better in 2, no clear difference in 1"."""
    counts = {kind: verdicts.count(kind) for kind in VERDICT_WORDS}
    return ", ".join(f"{VERDICT_WORDS[kind]} {count}" for kind, count in counts.items() if count)


# Groups


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
            "cells": [mean_and_sd(splits, metric) for metric in shown],
        }
        for (arm, group), splits in members.items()
    ]
    return {"metrics": shown, "rows": rows, "several_arms": len({row["arm"] for row in rows}) > 1}


def mean_and_sd(replicates: Sequence[Mapping], metric: str) -> dict:
    """{"mean", "sd"} as text over the finite values; sd (over n - 1) is "–" below two values."""
    values = [r[metric] for r in replicates if is_number(r.get(metric))]
    mean, sd = None, None
    if values:
        mean = math.fsum(values) / len(values)
    if len(values) > 1:
        squares = math.fsum((value - mean) ** 2 for value in values)
        sd = math.sqrt(squares / (len(values) - 1))
    return dict(zip(("mean", "sd"), numbers([mean, sd]), strict=True))


# The sentence under the title


def statement(name: str, metrics: Mapping, better: Mapping[str, str]) -> str:
    """One sentence: how the first arm did on its first metric, and the best baseline beside it."""
    summary, baselines = metrics.get("summary") or {}, metrics.get("baselines") or {}
    if not summary:
        return f"{name} was run; it reports no summary."
    scored = [metric for metric in summary if is_number((summary[metric] or {}).get("mean"))]
    metric = next(iter(scored), next(iter(summary)))
    score = estimate(summary[metric])
    interval = f" (95 % interval {score['interval']})" if score["interval"] else ""
    text = f"{name} reaches a mean {metric} of {score['mean']}{interval}"
    means = {name: (scores.get(metric) or {}).get("mean") for name, scores in baselines.items()}
    means = {name: mean for name, mean in means.items() if is_number(mean)}
    if not means:
        return f"{text}."
    pick = BEST.get(better.get(metric))
    if pick is None:
        listed = ", ".join(f"{name} {numbers([mean])[0]}" for name, mean in means.items())
        return f"{text}; the baselines: {listed}."
    best = pick(means, key=means.__getitem__)
    best_mean = estimate(baselines[best][metric])["mean"]
    return f"{text}; the best baseline ({best}) reaches {best_mean}."
