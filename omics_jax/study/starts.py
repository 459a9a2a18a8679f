"""What an arm takes over from the arms that were trained before it."""

from __future__ import annotations

from collections.abc import Mapping

from omics_jax.study.system import Arm
from omics_jax.training.stage import Variables

KINDS = ("params", "batch_stats")


def start_of(arm: Arm, trained: Mapping[str, Variables]) -> Variables | None:
    """The modules that the arm starts from, of equal names the first source's; None without any.

    trained: arm -> the final variables (R, ...) of its replicates.

    Raises:
      ValueError: a module that the arm takes over and no source has.
    """
    if not arm.sources:
        return None
    start: dict[str, dict] = {kind: {} for kind in KINDS}
    for name in arm.sources:
        for kind in KINDS:
            for module, leaves in trained[name][kind].items():
                if module in arm.takes or not arm.takes:
                    start[kind].setdefault(module, leaves)
    absent = sorted(set(arm.takes) - start["params"].keys())
    if absent:
        raise ValueError(
            f"the arm {arm.name!r} takes over {absent[0]!r}, which none of "
            f"{', '.join(arm.sources)} has"
        )
    return start
