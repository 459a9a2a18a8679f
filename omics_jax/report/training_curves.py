"""`history.jsonl` in, training curves out: median and 10-90 % band over the replicates, per arm and
stage.

The loss on training rows (and, where it was recorded, on validation rows) stands beside the
monitor. The best epoch
of a replicate, whose variables were kept, is that of its lowest monitor. Left out: the loss's
single terms, rates and other recorded scores, which are in the file.
"""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from omics_jax.errors import UserError
from omics_jax.report.style import (
    DASHES,
    GREY,
    PALETTE,
    Drawing,
    clean,
    drawing_style,
    panel_grid,
    svg_text,
)

KEYS = ("arm", "stage", "epoch", "objective")
PANELS = {"loss": ("objective", "validation_loss"), "monitor": ("monitor",)}
QUANTITIES = tuple(quantity for panel in PANELS.values() for quantity in panel)


def read_history(path: pathlib.Path) -> pd.DataFrame:
    """Columns arm, stage, replicate, epoch, objective, validation_loss and monitor of the history.

    A line written twice (before and after a resume) counts once, the later one. Raises UserError
    for a line
    that is not JSON or lacks a key.
    """
    rows = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                rows.append(history_row(line, path, number))
    frame = pd.DataFrame(rows, columns=["arm", "stage", "replicate", "epoch", *QUANTITIES])
    for name in QUANTITIES:
        values = pd.to_numeric(frame[name]).astype(float)
        frame[name] = values.where(np.isfinite(values))
    return frame.drop_duplicates(
        ["arm", "stage", "replicate", "epoch"], keep="last", ignore_index=True
    )


def history_row(line: str, path: pathlib.Path, number: int) -> tuple:
    """One line of the history as a tuple in the order of `read_history`'s columns."""
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}, line {number}, is not JSON ({error.msg}); delete the line or run the "
            "training again."
        ) from error
    missing = [key for key in KEYS if key not in entry]
    if missing:
        raise UserError(
            f"{path}, line {number}, lacks {missing[0]!r}; delete the line or run the training "
            "again."
        )
    return (
        str(entry["arm"]), str(entry["stage"]), str(entry.get("replicate", 0)), int(entry["epoch"]),
        *(entry.get(quantity) for quantity in QUANTITIES),
    )  # fmt: skip


def band(frame: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """Index epoch; columns 0.1, 0.5, 0.9: quantiles of `quantity` over the replicates alive at that
    epoch.
    """
    known = frame.dropna(subset=[quantity])
    return known.groupby("epoch")[quantity].quantile([0.1, 0.5, 0.9]).unstack()


def best_epochs(frame: pd.DataFrame) -> np.ndarray:
    """(replicates,) epochs of the lowest monitor, the first of equal ones; empty without a monitor."""
    known = frame.dropna(subset=["monitor"])
    if known.empty:
        return np.zeros(0, int)
    return known.loc[known.groupby("replicate")["monitor"].idxmin(), "epoch"].to_numpy()


def settle(axis: Axes, bands: list[pd.DataFrame]) -> bool:
    """Sets y limits from all but the first 5 % of epochs where those would flatten the rest; says
    whether.
    """
    values = np.concatenate([quantiles.to_numpy(float) for quantiles in bands])
    late = np.concatenate(
        [quantiles.to_numpy(float)[max(1, len(quantiles) // 20) :] for quantiles in bands]
    )
    if min(map(len, bands)) < 4:
        return False
    low, high = late.min(), late.max()
    if np.ptp(values) <= 4 * (high - low) or high == low:
        return False
    pad = 0.08 * (high - low)
    axis.set_ylim(low - pad, high + pad)
    return True


def draw_panel(axis: Axes, frame: pd.DataFrame, panel: str) -> bool:
    """One panel: median lines, bands, best epochs; True if the first epochs run out of the panel."""
    several = frame["replicate"].nunique() > 1
    drawn = [quantity for quantity in PANELS[panel] if frame[quantity].notna().any()]
    bands = [band(frame, quantity) for quantity in drawn]
    for quantity, quantiles in zip(drawn, bands, strict=True):
        draw_band(axis, quantiles, QUANTITIES.index(quantity), several)
    best = best_epochs(frame)
    if len(best):
        low, middle, high = np.quantile(best, [0.1, 0.5, 0.9])
        axis.axvline(middle, color=GREY, linewidth=1.1, linestyle="--")
        spread = f" ({low:.0f} to {high:.0f})" if several and low != high else ""
        axis.set_title(
            f"best epoch {middle:.0f}{spread}", loc="right", color="#555555", fontsize=9.5
        )
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_xlabel("epoch")
    if len(drawn) > 1:
        axis.legend(axis.lines[:2], ["training", "validation"], loc="upper right")
    names = {
        "objective": "training objective",
        "validation_loss": "validation loss",
        "monitor": "validation monitor",
    }
    axis.set_ylabel(names[drawn[0]] if len(drawn) == 1 else "loss")
    return settle(axis, bands)


def draw_band(axis: Axes, quantiles: pd.DataFrame, index: int, several: bool) -> None:
    """The median as a line with the index's colour and dash, the 10-90 % range behind it."""
    epochs, colour = quantiles.index.to_numpy(), PALETTE[index]
    if several:
        axis.fill_between(
            epochs, quantiles[0.1], quantiles[0.9], color=colour, alpha=0.2, linewidth=0
        )
    marker = {"marker": "o", "markersize": 4} if len(epochs) < 8 else {}
    axis.plot(epochs, quantiles[0.5], color=colour, linestyle=DASHES[index % 2], **marker)


def draw_training(history: pd.DataFrame, arm: str) -> Drawing:
    """The curves of one arm: a row per stage, loss beside monitor (left out where there is none)."""
    history = history[history["arm"] == arm]
    stages = {name: part for name, part in history.groupby("stage", sort=False)}
    panels = [panel for panel, read in PANELS.items() if history[[*read]].notna().any(axis=None)]
    clipped = False
    with drawing_style():
        figure, axes = panel_grid(
            len(stages) * len(panels), len(panels), 2.5, share_x=False, share_y=False
        )
        places = [(stage, panel) for stage in stages for panel in panels]
        for axis, (stage, panel) in zip(axes, places, strict=True):
            if not stages[stage][[*PANELS[panel]]].notna().any(axis=None):
                axis.set_axis_off()
                continue
            clipped |= draw_panel(axis, stages[stage], panel)
            axis.set_title(clean(stage, 20), fontweight="bold")
        svg = svg_text(figure)
    count = history["replicate"].nunique()
    alt = f"Line chart: training curves of {arm}, stages {', '.join(stages)}, {count} replicates."
    return Drawing(svg, alt, training_note(history, count, clipped))


def training_note(history: pd.DataFrame, count: int, clipped: bool) -> str:
    """The caption: what line, band and dashed line are."""
    lines = (
        f"Median (line) and 10–90 % range (band) over the replicates (of {count}) that reached the "
        "epoch."
        if count > 1
        else "One replicate."
    )
    if history["monitor"].notna().any():
        spread = ", median over replicates (10–90 % range)" if count > 1 else ""
        lines += f" Grey, dashed: the epoch of the lowest monitor{spread}."
    return lines + (" The first epochs run out of the panel." if clipped else "")
