"""Simple predictions of a treated profile y from a control profile x, to set beside a model.

Each is a pure function of complete arrays (rows are profiles, columns genes, log2 units or any
other), fitted on the training rows alone and in float64, by scikit-learn where it has the model.
Genes are standardised inside by training rows, so a prediction does not depend on whether the
caller had standardised before; it comes back in the caller's units. Left out: missing values, which
the caller must resolve (a non-finite value raises ValueError), and classifiers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Shaped

from omics_jax.errors import UserError

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

ALPHAS = (1e-1, 1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6)
WIDE = 5_000  # columns
# The components need hardly any penalty: alphas from nearly least squares upwards.
COMPONENT_ALPHAS = (1e-6, 1e-3, *ALPHAS)


def no_change(x_test: Float[np.ndarray, "t g"]) -> Float[np.ndarray, "t g"]:
    """The drug does nothing: y = x."""
    (x_test,) = _complete(x_test=x_test)
    return x_test.copy()


def mean_shift(
    x_train: Float[np.ndarray, "n g"],
    y_train: Float[np.ndarray, "n g"],
    x_test: Float[np.ndarray, "t g"],
) -> Float[np.ndarray, "t g"]:
    """The drug does the same to everyone: y = x + mean over training rows of (y - x)."""
    x_train, y_train, x_test = _complete(x_train=x_train, y_train=y_train, x_test=x_test)
    return x_test + (y_train - x_train).mean(axis=0)


def ridge(
    x_train: Float[np.ndarray, "n g"],
    y_train: Float[np.ndarray, "n h"],
    x_test: Float[np.ndarray, "t g"],
    alphas: Sequence[float] = ALPHAS,
) -> Float[np.ndarray, "t h"]:
    """Ridge regression of all columns of y on all columns of x.

    Both sides are standardised by training rows; B = argmin |Y - X B|^2 + alpha |B|^2, with the one
    alpha for all columns that has the least leave-one-out error. That error is exact for the given
    standardisation. Replicates of one cell line among the rows make it too small; average them
    first if that matters. Raises ValueError for fewer than 2 rows or an alpha that is not positive.
    """
    from sklearn.preprocessing import StandardScaler

    x_train, y_train, x_test = _complete(x_train=x_train, y_train=y_train, x_test=x_test)
    x_scaler, y_scaler = StandardScaler().fit(x_train), StandardScaler().fit(y_train)
    if not len(x_test):  # scikit-learn refuses to transform no rows
        return np.empty((0, y_train.shape[1]))
    x, y = x_scaler.transform(x_train), y_scaler.transform(y_train)
    predicted = _predict_by_ridge(x, y, x_scaler.transform(x_test), alphas)
    return y_scaler.inverse_transform(predicted)


def pca_linear(
    x_train: Float[np.ndarray, "n g"],
    y_train: Float[np.ndarray, "n g"],
    x_test: Float[np.ndarray, "t g"],
    components: int = 50,
    alphas: Sequence[float] = COMPONENT_ALPHAS,
) -> Float[np.ndarray, "t g"]:
    """A linear map between principal-component scores of control and treated profiles.

    This is the VAE's linear twin. PCA of the pooled training profiles (x and y together, genes
    standardised over both); scores of y are regressed on scores of x by ridge, alpha by
    leave-one-out; the predicted scores are decoded. Components beyond the rank of the pooled
    profiles carry nothing and are not used. Raises ValueError for fewer than 2 rows, fewer than 1
    component or an alpha that is not positive.
    """
    x_train, y_train, x_test = _complete(x_train=x_train, y_train=y_train, x_test=x_test)
    pooled = np.concatenate([x_train, y_train])
    spanned = _spanned_components(pooled, components)
    if not len(x_test) or not spanned:  # scikit-learn refuses no rows and no components
        return np.tile(pooled.mean(axis=0), (len(x_test), 1))
    encoder = _fit_components(pooled, spanned)
    scores_x, scores_y, scores_test = map(encoder.transform, (x_train, y_train, x_test))
    return encoder.inverse_transform(_predict_by_ridge(scores_x, scores_y, scores_test, alphas))


def pca_reconstruction(
    x_train: Float[np.ndarray, "n g"],
    x_test: Float[np.ndarray, "t g"],
    components: int,
) -> Float[np.ndarray, "t g"]:
    """Test profiles projected on the training profiles' first components, and decoded.

    Raises UserError when the training rows do not span `components` directions.
    """
    x_train, x_test = _complete(x_train=x_train, x_test=x_test)
    spanned = _spanned_components(x_train, components)
    if spanned < components:
        raise UserError(
            f"a PCA of {len(x_train)} training profiles by {x_train.shape[1]} genes has "
            f"{spanned} components, fewer than the {components} asked for; lower the latent size "
            "or add profiles"
        )
    if not len(x_test):  # scikit-learn refuses to transform no rows
        return x_test
    encoder = _fit_components(x_train, components)
    return encoder.inverse_transform(encoder.transform(x_test))


def nearest_group(
    x_train: Float[np.ndarray, "n g"],
    y_train: Float[np.ndarray, "n g"],
    groups_train: Shaped[np.ndarray, " n"],
    x_test: Float[np.ndarray, "t g"],
) -> Float[np.ndarray, "t g"]:
    """The drug does what it did to the most similar cell line: y = x + that group's mean change.

    Nearest is the training group whose mean control profile has the highest Pearson correlation
    with x, genes standardised by the training controls (without that, every profile correlates with
    every other through the genes' means). Of equally near groups the first by name is taken.
    """
    from sklearn.preprocessing import StandardScaler

    x_train, y_train, x_test = _complete(x_train=x_train, y_train=y_train, x_test=x_test)
    if len(groups_train) != len(x_train):
        raise ValueError(f"{len(x_train)} training rows and {len(groups_train)} groups do not pair")
    names, codes = np.unique(np.asarray(groups_train, dtype=str), return_inverse=True)
    scaler = StandardScaler().fit(x_train)
    members = [codes == code for code in range(len(names))]
    controls = np.stack([x_train[rows].mean(axis=0) for rows in members])
    changes = np.stack([(y_train - x_train)[rows].mean(axis=0) for rows in members])
    test_directions = _unit_rows((x_test - scaler.mean_) / scaler.scale_)
    control_directions = _unit_rows((controls - scaler.mean_) / scaler.scale_)
    correlation = test_directions @ control_directions.T
    return x_test + changes[correlation.argmax(axis=1)]


def _complete(**arrays):
    """The arrays in float64; ValueError naming one that is empty or holds a non-finite value."""
    for name, array in arrays.items():
        if len(array) == 0 and name != "x_test":
            raise ValueError(f"{name} has no rows")
        if not np.isfinite(array).all():
            row, column = (int(i) for i in np.argwhere(~np.isfinite(array))[0])
            value = array[row, column]
            raise ValueError(
                f"{name} holds {value} at row {row}, column {column}; fill it or leave it out"
            )
    return [np.asarray(array, dtype=np.float64) for array in arrays.values()]


def _predict_by_ridge(
    x: Float[np.ndarray, "n g"],
    y: Float[np.ndarray, "n h"],
    x_test: Float[np.ndarray, "t g"],
    alphas: Sequence[float],
) -> Float[np.ndarray, "t h"]:
    """scikit-learn's ridge regression with exact leave-one-out error.

    By the SVD of x rather than the eigenvectors of x x', which are inexact at small alphas; of a
    wide x by these, which take an eighth of the time.
    """
    from sklearn.linear_model import RidgeCV

    if len(x) < 2:
        raise ValueError(f"ridge regression needs at least 2 training rows, not {len(x)}")
    if len(alphas) == 0 or min(alphas) <= 0:
        raise ValueError(f"ridge regression needs positive alphas, not {tuple(alphas)}")
    mode = "svd" if x.shape[1] <= WIDE else "eigen"
    model = RidgeCV(np.asarray(alphas), gcv_mode=mode).fit(x, y)
    return model.predict(x_test).reshape(len(x_test), y.shape[1])  # a single column comes back flat


def _fit_components(profiles: Float[np.ndarray, "n g"], components: int) -> Pipeline:
    """Standardisation of the genes, then a PCA."""
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pca = PCA(components, svd_solver="full")
    return make_pipeline(StandardScaler(), pca).fit(profiles)


def _spanned_components(profiles: Float[np.ndarray, "n g"], components: int) -> int:
    """How many of the components asked for the rows span: at most their numerical rank."""
    from sklearn.preprocessing import StandardScaler

    if components < 1:
        raise ValueError(f"a PCA needs at least 1 component, not {components}")
    rank = np.linalg.matrix_rank(StandardScaler().fit_transform(profiles))
    return min(components, int(rank))


def _unit_rows(rows: Float[np.ndarray, "n g"]) -> Float[np.ndarray, "n g"]:
    """Rows centred and scaled to length 1; a constant row becomes 0: it correlates with nothing."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    constant = np.ptp(rows, axis=1, keepdims=True) == 0
    length = np.where(constant, 1.0, np.linalg.norm(centred, axis=1, keepdims=True))
    return np.where(constant, 0.0, centred / length)
