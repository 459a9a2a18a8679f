"""Classical predictions to set beside a model: treated profile y from control profile x, and PCA.

Each is a pure function of complete arrays (rows are profiles, columns genes, log2 units or any
other), fitted
on the training rows alone and in float64. Genes are standardised inside by training rows, so a
prediction
does not depend on whether the caller had standardised before; it comes back in the caller's units.
Left out:
missing values, which the caller must resolve (a non-finite value raises ValueError), and
classifiers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Shaped

from omics_jax.errors import UserError

ALPHAS = (1e-1, 1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6)


def no_change(x_test: Float[np.ndarray, "t g"]) -> Float[np.ndarray, "t g"]:
    """The drug does nothing: y = x."""
    return _complete(x_test=x_test)[0].copy()


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
    """Ridge regression of all columns of y on all columns of x, with the alpha of least
    leave-one-out error.

    Both sides are standardised by training rows; B = argmin |Y - X B|^2 + alpha |B|^2, with one
    alpha for all
    columns. Leave-one-out residuals are exact for the given standardisation:
    r_i / (1 - h_i), h_i = 1/n + sum_k u_ik^2 s_k^2 / (s_k^2 + alpha), from X = U diag(s) V'.
    Replicates of one cell line among the rows make that error too small; average them first if that
    matters.
    Raises ValueError for fewer than 2 rows or an alpha that is not positive.
    """
    x_train, y_train, x_test = _complete(x_train=x_train, y_train=y_train, x_test=x_test)
    x_mean, x_sd = _centre_and_scale(x_train)
    y_mean, y_sd = _centre_and_scale(y_train)
    coefficients = _ridge_coefficients((x_train - x_mean) / x_sd, (y_train - y_mean) / y_sd, alphas)
    return y_mean + ((x_test - x_mean) / x_sd @ coefficients) * y_sd


def pca_linear(
    x_train: Float[np.ndarray, "n g"],
    y_train: Float[np.ndarray, "n g"],
    x_test: Float[np.ndarray, "t g"],
    components: int = 50,
    alphas: Sequence[float] = (1e-6, 1e-3, *ALPHAS),
) -> Float[np.ndarray, "t g"]:
    """A linear map between principal-component scores of control and treated profiles: the VAE's
    linear twin.

    PCA of the pooled training profiles (x and y together, genes standardised over both); scores of
    y are
    regressed on scores of x by ridge, alpha by leave-one-out from nearly least squares upwards; the
    predicted
    scores are decoded. Components beyond the rank of the pooled profiles carry nothing and are not
    used.
    Raises ValueError for fewer than 2 rows, fewer than 1 component or an alpha that is not
    positive.
    """
    x_train, y_train, x_test = _complete(x_train=x_train, y_train=y_train, x_test=x_test)
    pooled = np.concatenate([x_train, y_train])
    mean, sd = _centre_and_scale(pooled)
    axes = _principal_axes((pooled - mean) / sd, components)
    scores_x, scores_y, scores_test = (
        (part - mean) / sd @ axes.T for part in (x_train, y_train, x_test)
    )
    centre_x, centre_y = scores_x.mean(axis=0), scores_y.mean(axis=0)
    coefficients = _ridge_coefficients(scores_x - centre_x, scores_y - centre_y, alphas)
    return mean + ((centre_y + (scores_test - centre_x) @ coefficients) @ axes) * sd


def nearest_group(
    x_train: Float[np.ndarray, "n g"],
    y_train: Float[np.ndarray, "n g"],
    groups_train: Shaped[np.ndarray, " n"],
    x_test: Float[np.ndarray, "t g"],
) -> Float[np.ndarray, "t g"]:
    """The drug does what it did to the most similar cell line: y = x + mean change of the nearest
    group.

    Nearest is the training group whose mean control profile has the highest Pearson correlation
    with x, genes standardised by the training controls (without that, every profile correlates with
    every other through
    the genes' means). Of equally near groups the first by name is taken.
    """
    x_train, y_train, x_test = _complete(x_train=x_train, y_train=y_train, x_test=x_test)
    if len(groups_train) != len(x_train):
        raise ValueError(f"{len(x_train)} training rows and {len(groups_train)} groups do not pair")
    names, codes = np.unique(np.asarray(groups_train, dtype=str), return_inverse=True)
    mean, sd = _centre_and_scale(x_train)
    controls = np.stack([x_train[codes == code].mean(axis=0) for code in range(len(names))])
    changes = np.stack(
        [(y_train - x_train)[codes == code].mean(axis=0) for code in range(len(names))]
    )
    correlation = _unit((x_test - mean) / sd) @ _unit((controls - mean) / sd).T
    return x_test + changes[correlation.argmax(axis=1)]


def pca_reconstruction(
    x_train: Float[np.ndarray, "n g"],
    x_test: Float[np.ndarray, "t g"],
    components: int,
) -> Float[np.ndarray, "t g"]:
    """Test profiles projected on the first principal components of the training profiles, and
    decoded.

    Raises UserError when the training rows do not span `components` directions.
    """
    x_train, x_test = _complete(x_train=x_train, x_test=x_test)
    mean, sd = _centre_and_scale(x_train)
    axes = _principal_axes((x_train - mean) / sd, components)
    if len(axes) < components:
        raise UserError(
            f"a PCA of {len(x_train)} training profiles by {x_train.shape[1]} genes has "
            f"{len(axes)} components, fewer than the {components} asked for; lower the latent size "
            "or add profiles"
        )
    return mean + ((x_test - mean) / sd @ axes.T @ axes) * sd


def _complete(**arrays):
    """The arrays in float64; ValueError naming the one that is empty or holds a non-finite value."""
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


def _centre_and_scale(values):
    """Column means and standard deviations (g,), 1 for a constant column."""
    constant = np.ptp(values, axis=0) == 0
    return values.mean(axis=0), np.where(constant, 1.0, values.std(axis=0))


def _principal_axes(centred, components):
    """(k, g) orthonormal axes of largest variance, k at most `components` and the numerical rank."""
    if components < 1:
        raise ValueError(f"a PCA needs at least 1 component, not {components}")
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    rank = int((singular > singular[0] * max(centred.shape) * np.finfo(np.float64).eps).sum())
    return axes[: min(components, rank)]


def _ridge_coefficients(x, y, alphas):
    """(g, h) coefficients of centred y (n, h) on centred x (n, g), alpha by exact leave-one-out
    error.
    """
    if len(x) < 2:
        raise ValueError(f"ridge regression needs at least 2 training rows, not {len(x)}")
    if len(alphas) == 0 or min(alphas) <= 0:
        raise ValueError(f"ridge regression needs positive alphas, not {tuple(alphas)}")
    u, singular, axes = np.linalg.svd(x, full_matrices=False)
    projected = u.T @ y

    def leave_one_out_error(alpha):
        shrinkage = singular**2 / (singular**2 + alpha)
        leverage = 1.0 / len(x) + u**2 @ shrinkage
        residual = y - (u * shrinkage) @ projected
        return ((residual / (1.0 - leverage)[:, None]) ** 2).sum()

    alpha = min(alphas, key=leave_one_out_error)
    return axes.T @ ((singular / (singular**2 + alpha))[:, None] * projected)


def _unit(rows):
    """Rows centred and scaled to length 1; a constant row becomes 0 and so correlates with nothing."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    constant = np.ptp(rows, axis=1, keepdims=True) == 0
    length = np.where(constant, 1.0, np.linalg.norm(centred, axis=1, keepdims=True))
    return np.where(constant, 0.0, centred / length)
