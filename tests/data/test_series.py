"""Arrays of series in .npz, .npy and HDF5, edges of bins, outcomes, settings, and refusals."""

from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from omics_jax.data.clinical_series.observations import Observations, bin_means
from omics_jax.data.clinical_series.read import read_series
from omics_jax.errors import UserError

DEFAULTS = {
    "path": "",
    "outcomes": "",
    "label": "In-hospital_death",
    "outcome_id": "RecordID",
    "columns": {"id": "id", "time": "time", "variable": "variable", "value": "value"},
    "time_unit": "hours",
    "hours": 48.0,
    "bin_hours": 1.0,
    "variables": (),
    "statics": ("Age", "Gender", "Height", "Weight", "ICUType"),
}
rng = np.random.default_rng(0)
X_ORI = np.where(rng.random((5, 4, 3)) < 0.7, rng.normal(size=(5, 4, 3)), np.nan)
X = np.where(rng.random(X_ORI.shape) < 0.3, np.nan, X_ORI)
Y = np.array([0, 1, 0, 1, 1])
NAMES = np.array(["HR", "pH", "Na"])
FULL = {
    "X": X,
    "X_ori": X_ORI,
    "y": Y,
    "ids": np.array(list("abcde")),
    "groups": np.array(["p", "p", "q", "r", "s"]),
    "features": NAMES,
    "times": np.array([0, 1, 3, 8.5]),
    "static": np.array([[1.0, np.nan]] * 5),
    "static_features": np.array(["age", "sex"]),
}


def settings(path, **changes) -> SimpleNamespace:
    return SimpleNamespace(**{**DEFAULTS, "path": str(path), **changes})


def stored(tmp_path, name: str, arrays) -> SimpleNamespace:
    path = tmp_path / name
    if name.endswith(".npz"):
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for key, array in arrays.items():
                file[key] = array.astype("S") if array.dtype.kind == "U" else array
    return settings(path)


@pytest.mark.parametrize("name", ["ward.npz", "ward.h5", "ward.hdf5"])
def test_arrays_come_back_as_they_were_stored(tmp_path, name):
    dataset = read_series(stored(tmp_path, name, FULL))
    series, truth = dataset.modalities["series"], dataset.modalities["truth"]
    np.testing.assert_array_equal(series.mask, ~np.isnan(X))
    np.testing.assert_allclose(series.values, np.nan_to_num(X), rtol=1e-6)
    np.testing.assert_array_equal(truth.mask, np.isnan(X) & ~np.isnan(X_ORI))
    np.testing.assert_allclose(truth.values, np.where(truth.mask, X_ORI, 0), rtol=1e-6)
    np.testing.assert_array_equal(
        dataset.modalities["hours"].values, np.tile(FULL["times"], (5, 1))
    )
    assert dataset.modalities["hours"].mask.all()
    assert dataset.modalities["hours"].features.tolist() == ["0", "1", "3", "8.5"]
    static = dataset.modalities["static"]
    assert static.features.tolist() == ["age", "sex"] and static.values.tolist() == [[1, 0]] * 5
    assert static.mask.tolist() == [[True, False]] * 5
    assert (
        series.features.tolist() == NAMES.tolist()
        and dataset.groups.tolist() == FULL["groups"].tolist()
    )
    assert dataset.ids.tolist() == list("abcde") and dataset.table["set"].tolist() == ["ward"] * 5
    values, mask = dataset.targets["label"]
    assert values.tolist() == Y.tolist() and values.dtype == np.float32 and mask.all()


def test_bare_arrays_need_nothing_else(tmp_path):
    np.save(tmp_path / "ward.npy", X)
    dataset = read_series(settings(tmp_path / "ward.npy", bin_hours=2.0))
    assert dataset.ids.tolist() == [f"ward:{k}" for k in range(5)] and dataset.targets == {}
    assert dataset.modalities["series"].features.tolist() == ["x0", "x1", "x2"]
    assert dataset.modalities["hours"].values[3].tolist() == [0, 2, 4, 6]
    assert set(dataset.modalities) == {"series", "hours"}


def test_variables_and_statics_are_chosen_in_the_order_asked_for(tmp_path):
    chosen = stored(tmp_path, "ward.npz", FULL)
    chosen.variables, chosen.statics = ("Na", "HR"), ("sex",)
    dataset = read_series(chosen)
    np.testing.assert_array_equal(dataset.modalities["series"].mask, ~np.isnan(X[..., [2, 0]]))
    np.testing.assert_array_equal(
        dataset.modalities["truth"].mask, (np.isnan(X) & ~np.isnan(X_ORI))[..., [2, 0]]
    )
    assert dataset.modalities["static"].features.tolist() == ["sex"]


@pytest.mark.parametrize("mark, name", [("/", "ward.h5"), ("_", "ward.npz"), ("_", "ward.h5")])
def test_blocks_of_train_val_and_test_become_rows_with_their_split(tmp_path, mark, name):
    arrays = {
        f"train{mark}X": X,
        f"train{mark}y": Y,
        f"val{mark}X": X[:2],
        f"val{mark}X_ori": X_ORI[:2],
        f"val{mark}y": Y[:2],
        f"test{mark}X": X[2:],
        "n_classes": np.array(2),
    }
    dataset = read_series(stored(tmp_path, name, arrays))
    assert dataset.table["split"].tolist() == ["train"] * 5 + ["val"] * 2 + ["test"] * 3
    assert dataset.ids[[0, 4, 5, 9]].tolist() == ["train:0", "train:4", "val:0", "test:2"]
    np.testing.assert_array_equal(
        dataset.modalities["series"].mask, ~np.isnan(np.concatenate([X, X[:2], X[2:]]))
    )
    truth = dataset.modalities["truth"].mask
    np.testing.assert_array_equal(truth[5:7], np.isnan(X[:2]) & ~np.isnan(X_ORI[:2]))
    assert not truth[:5].any() and not truth[7:].any()
    values, mask = dataset.targets["label"]
    assert values[:7].tolist() == [*Y, *Y[:2]] and mask.tolist() == [True] * 7 + [False] * 3
    assert any("n_classes" in note for note in dataset.notes)


def test_x_ori_that_holds_nothing_out_is_left_aside(tmp_path):
    """As a truth without a cell it would score nothing, and stop every training at once."""
    for hidden, held in ((X, True), (X_ORI, False)):
        dataset = read_series(stored(tmp_path, f"{held}.npz", {"X": hidden, "X_ori": X_ORI}))
        assert ("truth" in dataset.modalities) == held
        assert any("nothing is held out by it" in note for note in dataset.notes) != held


def test_arrays_of_other_names_may_be_anything(tmp_path):
    dataset = read_series(
        stored(tmp_path, "ward.npz", {"X": X, "scaler": np.array([{"mean": 1}], dtype=object)})
    )
    assert any("scaler" in note for note in dataset.notes)


def test_a_window_that_does_not_cut_arrays_is_said(tmp_path):
    given = stored(tmp_path, "ward.npz", FULL)
    said = lambda hours: [
        n for n in read_series(settings(given.path, hours=hours)).notes if "data.hours" in n
    ]
    assert not said(9.0) and "hour 8.5" in said(4.0)[0]


def test_labels_may_be_unknown(tmp_path):
    unknown = np.where(np.arange(5) == 2, np.nan, Y)
    values, mask = read_series(stored(tmp_path, "ward.npz", {"X": X, "y": unknown})).targets[
        "label"
    ]
    assert mask.tolist() == [True, True, False, True, True] and values.tolist() == [0, 1, 0, 1, 1]


def with_cell(array, value, where=(1, 2, 0)):
    changed = np.array(array, dtype=float)
    changed[where] = value
    return changed


KNOWN = tuple(np.argwhere(~np.isnan(X))[0])
# The arrays, and what the message must hold (beside the name): the place, then the mend
ARRAYS = {
    "no X": ({"data": X}, ["no array 'X'", "'data'", "store it"]),
    "X flat": ({"X": X[0]}, ["'X' has shape (4, 3)", "3 dimension"]),
    "X empty": ({"X": X[:0]}, ["(0, 4, 3)", "store"]),
    "X text": ({"X": X.astype(str)}, ["'X' holds", "numbers are needed"]),
    "infinite": ({"X": with_cell(X, np.inf)}, ["X[1, 2, 0] is infinite", "NaN where"]),
    "overflow": ({"X": with_cell(X, 1e300)}, ["X[1, 2, 0] is infinite"]),
    "nothing": (
        {"X": X * np.nan},
        ["not one patient has a value", "check --config.data.variables"],
    ),
    "y short": ({"X": X, "y": Y[:3]}, ["y has shape (3,)", "5 patients", "needs (5,)"]),
    "y of classes": ({"X": X, "y": Y * 2}, ["row 2: y is 2", "neither 0 nor 1", "recode"]),
    "X_ori shape": (
        {"X": X, "X_ori": X_ORI[:, :2]},
        ["X_ori has shape (5, 2, 3)", "(5, 4, 3)", "need the same"],
    ),
    "X_ori lacks": (
        {"X": X, "X_ori": with_cell(X_ORI, np.nan, KNOWN)},
        ["lacks a value that X has", "store it so"],
    ),
    "X_ori disagrees": ({"X": X, "X_ori": X_ORI + 1}, ["disagrees with X at [", "same scale"]),
    "X_ori infinite": (
        {"X": X, "X_ori": with_cell(X_ORI, -np.inf)},
        ["X_ori[1, 2, 0] is infinite"],
    ),
    "times back": (
        {"X": X, "times": np.array([0, 2, 2, 3])},
        ["times do not increase at step 2", "order the steps"],
    ),
    "times of one": (
        {"X": X, "times": np.tile([0, 1, 2, 3], (5, 1)) * [[1], [1], [1], [-1], [1]]},
        ["negative or missing time", "hours since admission"],
    ),
    "times shape": ({"X": X, "times": np.arange(3)}, ["times has shape (3,)", "(4,) or (5, 4)"]),
    "features short": (
        {"X": X, "features": NAMES[:2]},
        ["features names 2 of 3", "one name per column"],
    ),
    "features twice": (
        {"X": X, "features": NAMES[[0, 1, 0]]},
        ["'HR' occurs twice", "features[0] and features[2]"],
    ),
    "ids twice": (
        {"X": X, "ids": np.array(list("abcda"))},
        ["patient 'a' occurs twice", "row 1 and row 5", "rename"],
    ),
    "groups short": ({"X": X, "groups": np.array(["a"])}, ["groups has length 1", "5 patients"]),
    "static short": ({"X": X, "static": np.ones((3, 2))}, ["static has 3 rows", "5 patients"]),
    "splits differ": (
        {"train_X": X, "test_X": X[..., :2]},
        ["shapes of X do not agree", "test (5, 4, 2)", "the same"],
    ),
    "ids in one split": (
        {"train_X": X, "test_X": X, "test_ids": Y.astype(str)},
        ["train has no 'ids'", "in all or"],
    ),
    "names of splits": (
        {"train_X": X, "test_X": X, "train_features": NAMES, "test_features": NAMES[::-1]},
        ["features of test are not those", "the same in all"],
    ),
    "split y short": ({"train_X": X, "train_y": Y[:2]}, ["y of train has 2 rows where X has 5"]),
}


@pytest.mark.parametrize("suffix", ["npz", "h5"])
@pytest.mark.parametrize("case", ARRAYS)
def test_wrong_arrays_are_answered_in_words(tmp_path, case, suffix):
    arrays, parts = ARRAYS[case]
    with pytest.raises(UserError) as error:
        read_series(stored(tmp_path, f"ward.{suffix}", arrays))
    for part in [f"ward.{suffix}", *parts]:
        assert part in str(error.value)


@pytest.mark.parametrize("name", ["ward.h5", "ward.npz", "ward.npy"])
def test_a_damaged_file_is_answered_in_words(tmp_path, name):
    np.savez(tmp_path / "ward.npz", **FULL)
    np.save(tmp_path / "ward.npy", X)
    stored(tmp_path, "ward.h5", FULL)
    whole = (tmp_path / name).read_bytes()
    for broken in (whole[: len(whole) // 2], b"nothing of the kind"):
        (tmp_path / name).write_bytes(broken)
        with pytest.raises(UserError, match=name):
            read_series(settings(tmp_path / name))


SETTINGS = {
    "no path": ({"path": ""}, ["path is empty"]),
    "missing": ({"path": "nowhere.npz"}, ["nowhere.npz does not exist"]),
    "zero hours": ({"hours": 0.0}, ["hours=0.0", "positive"]),
    "negative bins": ({"bin_hours": -1.0}, ["bin_hours=-1.0", "positive"]),
    "not a number": ({"bin_hours": float("nan")}, ["bin_hours=nan", "positive"]),
    "a bin too wide": (
        {"hours": 1.0, "bin_hours": 4.0},
        ["hours=1 is no multiple of --config.data.bin_hours=4", "choose bins"],
    ),
    "uneven bins": (
        {"bin_hours": 5.0},
        ["--config.data.hours=48 is no multiple of", "bin_hours=5", "choose bins"],
    ),
    "a string": ({"variables": "HR"}, ["variables='HR' must be a tuple", "write ('HR',)"]),
    "twice": ({"variables": ("HR", "HR")}, ["variables names 'HR' twice", "remove"]),
    "near": ({"variables": ("hr",)}, ["no variable 'hr'", "did you mean 'HR'?"]),
    "near static": ({"statics": ("agee",)}, ["no static feature 'agee'", "did you mean 'age'?"]),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_wrong_settings_are_answered_in_words(tmp_path, case):
    changes, parts = SETTINGS[case]
    given = stored(tmp_path, "ward.npz", FULL)
    vars(given).update(changes)
    with pytest.raises(UserError) as error:
        read_series(given)
    for part in parts:
        assert part in str(error.value)


def test_a_foreign_suffix_is_refused(tmp_path):
    (tmp_path / "ward.pkl").write_bytes(b"x")
    with pytest.raises(UserError, match=r"ward\.pkl: its suffix names no known format.*\.npz"):
        read_series(settings(tmp_path / "ward.pkl"))


def with_outcomes(tmp_path, text: str, **changes):
    (tmp_path / "outcomes.csv").write_text(text)
    given = stored(tmp_path, "ward.npz", {"X": X, "ids": np.array(list("abcde"))})
    vars(given).update(
        {
            "outcomes": str(tmp_path / "outcomes.csv"),
            "label": "died",
            "outcome_id": "who",
            **changes,
        }
    )
    return read_series(given)


def test_outcomes_join_by_id_and_are_masked_where_unknown(tmp_path):
    dataset = with_outcomes(tmp_path, "who,died\ne,1\nb,0\nd,\nzz,1\na,1.0\n")
    values, mask = dataset.targets["died"]
    assert mask.tolist() == [True, True, False, False, True] and values.tolist() == [1, 0, 0, 0, 1]
    notes = " ".join(dataset.notes)
    assert (
        "2 records (c, d) are without an outcome" in notes
        and "belong to no record that was read: 1." in notes
    )
    assert "died is known of 3 patients and 1 in 2 (66.7%)" in notes


OUTCOMES = {
    "no label": ("who,dead\na,1\n", ["no column 'died'", "label"]),
    "no id": ("id,died\na,1\n", ["no column 'who'", "outcome_id"]),
    "twice": ("who,died\na,1\nb,0\na,0\n", ["'a' occurs twice", "line 2 and line 4", "remove one"]),
    "two": ("who,died\na,1\nb,2\n", ["line 3: died is 2, which is neither 0 nor 1", "recode"]),
    "text": ("who,died\na,1\nb,yes\n", ["line 3: died is 'yes', which is neither 0 nor 1"]),
    "strangers": (
        "who,died\nx,1\ny,0\n",
        ["not one of its 2 rows", "'x'", "'a'", "outcome_id='who'"],
    ),
    "empty": ("who,died\na,\nb,\n", ["'died' is empty for every record"]),
}


@pytest.mark.parametrize("case", OUTCOMES)
def test_wrong_outcomes_are_answered_in_words(tmp_path, case):
    text, parts = OUTCOMES[case]
    with pytest.raises(UserError) as error:
        with_outcomes(tmp_path, text)
    for part in ["outcomes.csv", *parts]:
        assert part in str(error.value)


def test_labels_come_from_one_place_only(tmp_path):
    (tmp_path / "outcomes.csv").write_text("who,died\na,1\n")
    given = stored(tmp_path, "ward.npz", FULL)
    given.outcomes = str(tmp_path / "outcomes.csv")
    with pytest.raises(UserError, match="holds outcomes itself"):
        read_series(given)


@pytest.mark.parametrize("bin_hours, n_steps", [(0.1, 30), (0.25, 12), (1.0, 3), (3.0, 1)])
def test_bins_hold_their_start_and_not_their_end(bin_hours, n_steps):
    """Every edge k·bin_hours, where a quotient in floating point may fall on either side of k."""
    edges = np.array([k * bin_hours for k in range(n_steps + 1)])
    hours = np.concatenate([edges, edges[1:] - 1e-4, [edges[-1] + 1e-3]])
    k = len(hours)
    names = np.array(["HR"])
    values = rng.normal(size=k)
    ids = np.array(["a"])
    observations = Observations(
        "f", ids, ids, ids, names, np.zeros(k, np.int64), np.zeros(k, np.int64), hours, values
    )
    series, notes = bin_means(observations, ("HR",), n_steps, bin_hours)
    # The window's end and what follows it belong to no bin.
    owner = np.concatenate([np.arange(n_steps), [-1], np.arange(n_steps), [-1]])
    expected = [values[owner == t].mean() for t in range(n_steps)]
    np.testing.assert_allclose(series.values[0, :, 0], expected, rtol=1e-5)
    assert series.mask.all() and "left out: 2." in " ".join(notes)
