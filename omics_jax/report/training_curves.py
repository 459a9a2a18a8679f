"""`history.jsonl` in, training curves out: median and 10-90 % band over the replicates, per arm and stage.

The best epoch of a replicate, whose variables were kept, is that of its lowest monitor. Left out: the loss's single
terms, which are in the file.
"""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from omics_jax.errors import UserError
from omics_jax.report.style import GREY, PALETTE, Drawing, clean, drawing_style, panel_grid, svg_text

KEYS = ("arm", "stage", "epoch", "objective")


def read_history(path: pathlib.Path) -> pd.DataFrame:
    """Columns arm, stage, replicate, epoch, objective and monitor of the history.

    A line written twice (before and after a resume) counts once, the later one. Raises UserError for a line
    that is not JSON or lacks a key.
    """
    rows = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                rows.append(history_row(line, path, number))
    names = ["arm", "stage", "replicate", "epoch", "objective", "monitor"]
    frame = pd.DataFrame(rows, columns=names)
    for name in ("objective", "monitor"):
        values = pd.to_numeric(frame[name]).astype(float)
        frame[name] = values.where(np.isfinite(values))
    return frame.drop_duplicates(["arm", "stage", "replicate", "epoch"], keep="last", ignore_index=True)


def history_row(line: str, path: pathlib.Path, number: int) -> tuple:
    """One line of the history as a tuple in the order of `read_history`'s columns."""
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}, line {number}, is not JSON ({error.msg}); delete the line or run the training again."
        ) from error
    missing = [key for key in KEYS if key not in entry]
    if missing:
        raise UserError(f"{path}, line {number}, lacks {missing[0]!r}; delete the line or run the training again.")
    return (
        str(entry["arm"]), str(entry["stage"]), str(entry.get("replicate", 0)), int(entry["epoch"]),
        entry["objective"], entry.get("monitor"),
    )  # fmt: skip


def band(frame: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """Index epoch; columns 0.1, 0.5, 0.9: quantiles of `quantity` over the replicates alive at that epoch."""
    known = frame.dropna(subset=[quantity])
    return known.groupby("epoch")[quantity].quantile([0.1, 0.5, 0.9]).unstack()


def best_epochs(frame: pd.DataFrame) -> np.ndarray:
    """(replicates,) epochs of the lowest monitor, the first of equal ones; empty without a monitor."""
    known = frame.dropna(subset=["monitor"])
    if known.empty:
        return np.zeros(0, int)
    return known.loc[known.groupby("replicate")["monitor"].idxmin(), "epoch"].to_numpy()


def settle(axis: Axes, quantiles: pd.DataFrame) -> bool:
    """Sets y limits from all but the first 5 % of epochs where those would flatten the rest; says whether."""
    values = quantiles.to_numpy(float)
    late = values[max(1, len(values) // 20) :]
    if len(late) < 3:
        return False
    low, high = late.min(), late.max()
    if np.ptp(values) <= 4 * (high - low) or high == low:
        return False
    pad = 0.08 * (high - low)
    axis.set_ylim(low - pad, high + pad)
    return True


def draw_quantity(axis: Axes, frame: pd.DataFrame, quantity: str, colour: str) -> bool:
    """One panel: median line, band, best epochs; True if the first epochs run out of the panel."""
    quantiles = band(frame, quantity)
    epochs = quantiles.index.to_numpy()
    several = frame["replicate"].nunique() > 1
    if several:
        axis.fill_between(epochs, quantiles[0.1], quantiles[0.9], color=colour, alpha=0.2, linewidth=0)
    marker = {"marker": "o", "markersize": 4} if len(epochs) < 8 else {}
    axis.plot(epochs, quantiles[0.5], color=colour, **marker)
    best = best_epochs(frame)
    if len(best):
        low, middle, high = np.quantile(best, [0.1, 0.5, 0.9])
        axis.axvline(middle, color=GREY, linewidth=1.1, linestyle="--")
        spread = f" ({low:.0f} to {high:.0f})" if several and low != high else ""
        axis.set_title(f"best epoch {middle:.0f}{spread}", loc="right", color="#555555", fontsize=9.5)
    axis.xaxis.get_major_locator().set_params(integer=True)
    return settle(axis, quantiles)


def draw_training(history: pd.DataFrame, arm: str) -> Drawing:
    """The curves of one arm: a row per stage, objective beside monitor (left out where there is none)."""
    history = history[history["arm"] == arm]
    stages = {name: part for name, part in history.groupby("stage", sort=False)}
    wanted = [
        (stage, quantity)
        for stage in stages
        for quantity in ("objective", "monitor")
        if stages[stage][quantity].notna().any()
    ]
    columns = 2 if any(quantity == "monitor" for _, quantity in wanted) else 1
    slots = [(s, q) for s in stages for q in ("objective", "monitor")[:columns]]
    clipped = False
    with drawing_style():
        figure, axes = panel_grid(len(slots), columns, 2.5, share_x=False, share_y=False)
        for axis, (stage, quantity) in zip(axes, slots, strict=True):
            if (stage, quantity) not in wanted:
                axis.set_axis_off()
                continue
            clipped |= draw_quantity(axis, stages[stage], quantity, PALETTE[quantity == "monitor"])
            axis.set_title(clean(stage, 20), fontweight="bold")
            axis.set_ylabel({"objective": "training objective", "monitor": "validation monitor"}[quantity])
            axis.set_xlabel("epoch")
        svg = svg_text(figure)
    count = history["replicate"].nunique()
    alt = f"Line chart: training curves of {arm}, stages {', '.join(stages)}, {count} replicates."
    return Drawing(svg, alt, training_note(history, count, clipped))


def training_note(history: pd.DataFrame, count: int, clipped: bool) -> str:
    """The caption: what line, band and dashed line are."""
    lines = (
        f"Median (line) and 10–90 % range (band) over the replicates (of {count}) that reached the epoch."
        if count > 1
        else "One replicate."
    )
    if history["monitor"].notna().any():
        spread = ", median over replicates (10–90 % range)" if count > 1 else ""
        lines += f" Dashed: the epoch of the lowest monitor{spread}."
    return lines + (" The first epochs run out of the panel." if clipped else "")
