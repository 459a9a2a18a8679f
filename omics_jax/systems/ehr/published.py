"""What the paper (Arul Raj, Qian & Ibrahim) prints for PhysioNet 2012: tables II, III and text."""

# (network, strategy) -> AUROC (validation, test), table II: the imputer frozen.
FROZEN = {
    ("mlp2", "optuna"): (0.783, 0.777),
    ("mlp2", "cyclic"): (0.786, 0.782),
    ("mlp2", "plateau"): (0.783, 0.778),
    ("mlp5", "optuna"): (0.780, 0.768),
    ("mlp5", "cyclic"): (0.789, 0.763),
    ("mlp5", "plateau"): (0.786, 0.764),
    ("lstm", "optuna"): (0.785, 0.780),
    ("lstm", "cyclic"): (0.803, 0.777),
    ("lstm", "plateau"): (0.802, 0.786),
    ("gru", "optuna"): (0.783, 0.758),
    ("gru", "cyclic"): (0.800, 0.786),
    ("gru", "plateau"): (0.798, 0.792),
}
# Averages over the strategies of table II, and those of table III, a picture, that the text names.
# For the figure the text names others: mlp5 .824 and .805, mlp2 .811 and .797.
FROZEN_AVERAGE = {
    "mlp2": (0.784, 0.779),
    "mlp5": (0.785, 0.765),
    "lstm": (0.797, 0.781),
    "gru": (0.794, 0.779),
}
UNFROZEN_AVERAGE = {
    "mlp2": (None, 0.798),
    "mlp5": (0.821, None),
    "lstm": (0.813, None),
    "gru": (None, 0.777),
}
# Test AUROC of the classical models; the paper does not name their features. Hard 0/1 decisions
# score like this.
CLASSICAL = {"XGBoost": 0.620, "SVM": 0.590}
