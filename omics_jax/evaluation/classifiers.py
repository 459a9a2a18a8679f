"""Classical classifiers to set beside a network: logistic regression, boosted trees, an SVM.

Each is a function (x_train, y_train, x_test) -> probability (t,) of label 1, fitted on the training
rows alone, at fixed ordinary settings that no data chose, with the same result on every call.
Features (columns) may be nan where they are undefined: trees split on that, the others fill in the
training median. Left out: any search over settings.

Common to all: UserError when the training rows hold one class only, ValueError for a label that is
not 0 or 1.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Shaped

from omics_jax.errors import UserError

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin
    from sklearn.pipeline import Pipeline

TrainFeatures = Float[np.ndarray, "n F"]
TrainLabels = Shaped[np.ndarray, " n"]
TestFeatures = Float[np.ndarray, "t F"]

PLATT_FOLDS = 3
BOOSTED_TREES = 200
FEW_ROWS = 1000


def logistic_on_summary(
    x_train: TrainFeatures,
    y_train: TrainLabels,
    x_test: TestFeatures,
) -> Float[np.ndarray, " t"]:
    """L2-penalised logistic regression (C = 0.1) of median-filled, standardised features."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=0.1, tol=1e-6, max_iter=5000)
    return _event_probability(_on_complete_features(model), x_train, y_train, x_test)


def elastic_net_on_summary(
    x_train: TrainFeatures,
    y_train: TrainLabels,
    x_test: TestFeatures,
) -> Float[np.ndarray, " t"]:
    """Logistic regression with half L1, half L2 penalty (C = 0.05) of standardised features."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(
        C=0.05, l1_ratio=0.5, solver="saga", tol=1e-3, max_iter=1000, random_state=0
    )
    return _event_probability(_on_complete_features(model), x_train, y_train, x_test)


def nearest_centroid_on_summary(
    x_train: TrainFeatures,
    y_train: TrainLabels,
    x_test: TestFeatures,
) -> Float[np.ndarray, " t"]:
    """Linear discriminant with a diagonal covariance: the nearer centroid in standardised features.

    Source: Tibshirani et al. 2002 without shrinkage; prior odds are those of the training rows.
    """
    from sklearn.neighbors import NearestCentroid

    return _event_probability(_on_complete_features(NearestCentroid()), x_train, y_train, x_test)


def boosting_on_summary(
    x_train: TrainFeatures,
    y_train: TrainLabels,
    x_test: TestFeatures,
) -> Float[np.ndarray, " t"]:
    """scikit-learn's gradient-boosted trees on histograms (Ke et al. 2017, LightGBM).

    nan is a branch of its own.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    model = HistGradientBoostingClassifier(
        learning_rate=0.05,
        max_iter=BOOSTED_TREES,
        max_leaf_nodes=15,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=0,
    )
    # On few rows, threads that wait for each other take a hundred times as long as one.
    threads = threadpool_limits(1) if len(x_train) < FEW_ROWS else nullcontext()
    # scikit-learn fails on a column without any value; a constant one is never split on.
    empty = np.isnan(x_train).all(axis=0)
    x_train, x_test = np.where(empty, 0, x_train), np.where(empty, 0, x_test)
    with threads:
        return _event_probability(model, x_train, y_train, x_test)


def svm(
    x_train: TrainFeatures,
    y_train: TrainLabels,
    x_test: TestFeatures,
) -> Float[np.ndarray, " t"]:
    """RBF support vector machine (C = 1, gamma = 1 / (F var x)), its margin through a sigmoid.

    The sigmoid (Platt 1999) is fitted to margins of 3-fold cross-validation inside the training
    rows, the machine to all of them. UserError with fewer than 3 training rows of a class.
    """
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.model_selection import StratifiedKFold
    from sklearn.svm import SVC

    rarest = int(min((y_train == 0).sum(), (y_train == 1).sum()))
    if 0 < rarest < PLATT_FOLDS:
        raise UserError(
            f"the {PLATT_FOLDS}-fold calibration of the SVM needs {PLATT_FOLDS} training rows of "
            f"each class and one class has {rarest}; add patients or leave this baseline out"
        )
    folds = StratifiedKFold(PLATT_FOLDS, shuffle=True, random_state=0)
    model = CalibratedClassifierCV(
        _on_complete_features(SVC()), method="sigmoid", cv=folds, ensemble=False
    )
    return _event_probability(model, x_train, y_train, x_test)


def xgboost(
    x_train: TrainFeatures,
    y_train: TrainLabels,
    x_test: TestFeatures,
) -> Float[np.ndarray, " t"]:
    """Gradient-boosted trees of the package xgboost (Chen & Guestrin 2016).

    nan goes down a learned branch. UserError when the package is not installed.
    """
    try:
        from xgboost import XGBClassifier
    except ImportError:
        raise UserError(
            "the baseline xgboost needs the package of that name: pip install 'omics_jax[boost]', "
            "or leave it out"
        ) from None
    model = XGBClassifier(
        n_estimators=BOOSTED_TREES,
        learning_rate=0.05,
        max_depth=4,
        tree_method="hist",
        random_state=0,
        n_jobs=1,
    )
    return _event_probability(model, x_train, y_train, x_test)


def _on_complete_features(model: ClassifierMixin) -> Pipeline:
    """The model after a median fill and a standardisation.

    A feature that no training row has becomes constant.
    """
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler(), model
    )


def _event_probability(
    model: ClassifierMixin,
    x_train: TrainFeatures,
    y_train: TrainLabels,
    x_test: TestFeatures,
) -> Float[np.ndarray, " t"]:
    """float64 probability of label 1 of the test rows, after a fit on the training rows."""
    classes = np.unique(y_train)
    if not np.isin(classes, (0, 1)).all():
        raise ValueError(f"labels are 0 or 1, not {classes}; mask the others first")
    if len(classes) < 2:
        raise UserError(
            f"the {len(y_train)} training rows hold {_only(classes)}, and a classifier needs both "
            "labels; check the outcome column, or give the training part more rows"
        )
    if not len(x_test):
        return np.empty(0)
    model.fit(x_train, y_train.astype(int))
    return model.predict_proba(x_test)[:, 1].astype(np.float64)


def _only(classes: Shaped[np.ndarray, " c"]) -> str:
    return f"the label {int(classes[0])} only" if len(classes) else "no label"
