"""The figures of tasks' predictions."""

import numpy as np
import pandas as pd

from omics_jax.tasks import figures


def test_classes_stand_in_one_order_on_both_sides_of_the_confusion_matrix():
    """Also one that is never predicted, and one that is predicted before it is seen."""
    own = pd.DataFrame({"label": ["A", "A", "B", "D"], "predicted": ["D", "A", "A", "D"]})
    frame = figures._confusion("type", own).frame
    assert frame["row"].unique().tolist() == frame["column"].unique().tolist() == ["A", "B", "D"]
    counts = frame.pivot(index="row", columns="column", values="value").to_numpy()
    np.testing.assert_array_equal(counts, [[1, 0, 1], [1, 0, 0], [0, 0, 1]])
