"""`history.jsonl` in, training curves out: the median over the replicates with its 10-90 % range.

The loss on training rows (and, where it was recorded, on validation rows) stands beside the
monitor, stage by stage. The best epoch of a replicate, whose variables were kept, is that of its
lowest monitor. Left out: the loss's single terms, rates and other recorded scores, which are in the
file.
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
AXIS_NAMES = {
    "objective": "training objective",
    "validation_loss": "validation loss",
    "monitor": "validation monitor",
}


def read_history(path: pathlib.Path) -> pd.DataFrame:
    """Columns arm, stage, replicate, epoch, objective, validation_loss and monitor of the history.

    Of a line that was written twice (before and after a resume) the later one counts.

    Raises:
      UserError: a line is not JSON or lacks a key.
    """
    lines = path.read_bytes().split(b"\n")
    rows = [history_row(line, path, n) for n, line in enumerate(lines, 1) if line.strip()]
    keys = ["arm", "stage", "replicate", "epoch"]
    frame = pd.DataFrame(rows, columns=[*keys, *QUANTITIES])
    for name in QUANTITIES:
        values = pd.to_numeric(frame[name]).astype(float)
        frame[name] = values.where(np.isfinite(values))
    return frame.drop_duplicates(keys, keep="last", ignore_index=True)


def history_row(line: bytes, path: pathlib.Path, number: int) -> tuple:
    """One line of the history as a tuple in the order of `read_history`'s columns."""
    try:
        entry = json.loads(line.decode())
    except ValueError as error:
        reason = getattr(error, "msg", None) or "it is not text in UTF-8"
        raise UserError(
            f"{path}, line {number}, is not JSON ({reason}); delete the line or run the "
            "training again."
        ) from error
    if not isinstance(entry, dict):
        raise UserError(
            f"{path}, line {number}, is no JSON object; delete the line or run the training again."
        )
    missing = [key for key in KEYS if key not in entry]
    if missing:
        raise UserError(
            f"{path}, line {number}, lacks {missing[0]!r}; delete the line or run the training "
            "again."
        )
    arm, stage, replicate = entry["arm"], entry["stage"], entry.get("replicate", 0)
    quantities = (entry.get(quantity) for quantity in QUANTITIES)
    return (str(arm), str(stage), str(replicate), int(entry["epoch"]), *quantities)


def band(frame: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """Quantiles 0.1, 0.5 and 0.9 of `quantity` over the replicates that reached each epoch.

    Returns:
      a frame with the epochs as index and the quantiles as columns.
    """
    known = frame.dropna(subset=[quantity])
    return known.groupby("epoch")[quantity].quantile([0.1, 0.5, 0.9]).unstack()


def best_epochs(frame: pd.DataFrame) -> np.ndarray:
    """(replicates,) epochs of the lowest monitor, the first of equal ones; none without monitor."""
    known = frame.dropna(subset=["monitor"])
    if known.empty:
        return np.zeros(0, int)
    return known.loc[known.groupby("replicate")["monitor"].idxmin(), "epoch"].to_numpy()


def settle(axis: Axes, bands: list[pd.DataFrame]) -> bool:
    """Sets y limits that leave out the first 5 % of epochs where those would flatten the rest.

    Returns:
      whether it did.
    """
    arrays = [quantiles.to_numpy(float) for quantiles in bands]
    values = np.concatenate(arrays)
    late = np.concatenate([array[max(1, len(array) // 20) :] for array in arrays])
    if min(map(len, bands)) < 4:
        return False
    low, high = late.min(), late.max()
    if np.ptp(values) <= 4 * (high - low) or high == low:
        return False
    pad = 0.08 * (high - low)
    axis.set_ylim(low - pad, high + pad)
    return True


def draw_panel(axis: Axes, frame: pd.DataFrame, panel: str) -> bool:
    """One panel: median lines, bands, best epoch; True if the first epochs lie outside of it."""
    several = frame["replicate"].nunique() > 1
    drawn = [quantity for quantity in PANELS[panel] if frame[quantity].notna().any()]
    bands = [band(frame, quantity) for quantity in drawn]
    for quantity, quantiles in zip(drawn, bands, strict=True):
        draw_band(axis, quantiles, QUANTITIES.index(quantity), several)
    mark_best_epoch(axis, best_epochs(frame), several)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_xlabel("epoch")
    if len(drawn) > 1:
        axis.legend(axis.lines[:2], ["training", "validation"], loc="upper right")
    axis.set_ylabel(AXIS_NAMES[drawn[0]] if len(drawn) == 1 else "loss")
    return settle(axis, bands)


def mark_best_epoch(axis: Axes, epochs: np.ndarray, several: bool) -> None:
    """A dashed line at the median best epoch, named above the panel; nothing without epochs."""
    if not len(epochs):
        return
    low, middle, high = np.quantile(epochs, [0.1, 0.5, 0.9])
    axis.axvline(middle, color=GREY, linewidth=1.1, linestyle="--")
    spread = f" ({low:.0f} to {high:.0f})" if several and low != high else ""
    title = f"best epoch {middle:.0f}{spread}"
    axis.set_title(title, loc="right", color="#555555", fontsize=9.5)


def draw_band(axis: Axes, quantiles: pd.DataFrame, index: int, several: bool) -> None:
    """The median as a line with the index's colour and dash, the 10-90 % range behind it."""
    epochs, colour = quantiles.index.to_numpy(), PALETTE[index]
    if several:
        shade = {"color": colour, "alpha": 0.2, "linewidth": 0}
        axis.fill_between(epochs, quantiles[0.1], quantiles[0.9], **shade)
    marker = {"marker": "o", "markersize": 4} if len(epochs) < 8 else {}
    axis.plot(epochs, quantiles[0.5], color=colour, linestyle=DASHES[index % 2], **marker)


def draw_training(history: pd.DataFrame, arm: str) -> Drawing:
    """The curves of one arm: a row per stage, the loss beside the monitor if there is one."""
    history = history[history["arm"] == arm]
    stages = dict(iter(history.groupby("stage", sort=False)))
    panels = [panel for panel in PANELS if has_panel(history, panel)]
    places = [(stage, panel) for stage in stages for panel in panels]
    clipped = False
    with drawing_style():
        figure, axes = panel_grid(len(places), len(panels), 2.5, share_x=False, share_y=False)
        for axis, (stage, panel) in zip(axes, places, strict=True):
            if not has_panel(stages[stage], panel):
                axis.set_axis_off()
                continue
            clipped |= draw_panel(axis, stages[stage], panel)
            axis.set_title(clean(stage, 20), fontweight="bold")
        svg = svg_text(figure)
    count = history["replicate"].nunique()
    alt = f"Line chart: training curves of {arm}, stages {', '.join(stages)}, {count} replicates."
    return Drawing(svg, alt, training_note(history, count, clipped))


def has_panel(history: pd.DataFrame, panel: str) -> bool:
    """True where some quantity of the panel was recorded."""
    return bool(history[[*PANELS[panel]]].notna().any(axis=None))


def training_note(history: pd.DataFrame, count: int, clipped: bool) -> str:
    """The caption: what line, band and dashed line are."""
    several = count > 1
    sentences = ["The network was trained once."]
    if several:
        sentences = [
            f"The network was trained {count} times, on different splits, groups or seeds. Line: "
            "median over the trainings that reached the epoch; band: their 10–90 % range."
        ]
    if history["monitor"].notna().any():
        spread = " (median over the trainings; in brackets their range)" if several else ""
        sentences.append(f"Grey dashed line: the best epoch, with the lowest monitor{spread}.")
    if clipped:
        sentences.append("The first epochs lie outside the panel.")
    return " ".join(sentences)
