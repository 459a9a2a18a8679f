"""Studies of methylation from files: beta values, labels, studies, persons, and what is refused."""

import gzip
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from omics_jax.data.formats.read import read_matrix, read_table
from omics_jax.data.methylation.beta_values import m_to_beta
from omics_jax.data.methylation.disease_labels import DiseaseRule, parse_disease
from omics_jax.data.methylation.genome_studio import kind_and_person
from omics_jax.data.methylation.read import read_methylation
from omics_jax.data.methylation.settings import check_settings
from omics_jax.data.methylation.text_settings import parse_settings, rules
from omics_jax.errors import UserError
from omics_jax.settings.checks import check_values
from omics_jax.settings.sections import methylation_section

SITES = [f"cg{j:08d}" for j in range(60)]


def settings(targets=True, **given):
    section = methylation_section()
    section.update(given)
    return parse_settings(section, targets)


def read(features=(), chromosomes=None, targets=True, **given):
    return read_methylation(
        settings(targets, **given), features=features, chromosomes=chromosomes or {}
    )


def betas(people, sites=SITES, seed=0):
    """A frame of people by sites."""
    values = np.random.default_rng(seed).beta(0.5, 0.5, (len(people), len(sites)))
    return pd.DataFrame(values.clip(0.001, 0.999).round(4), index=people, columns=sites)


def write(path, frame, corner="ID_REF"):
    """The frame with sites in rows."""
    frame.T.rename_axis(corner).to_csv(path)
    return str(path)


def table(path, **columns):
    pd.DataFrame(columns).to_csv(path, index=False)
    return str(path)


def error_of(call, *args, **kwargs):
    with pytest.raises(UserError) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def two_studies(tmp_path):
    """Studies A (p0-p5) and B (q0-q3), a table of their people, and the settings that read them."""
    a, b = betas([f"p{i}" for i in range(6)]), betas([f"q{i}" for i in range(4)], seed=1)
    write(tmp_path / "a.csv", a)
    write(tmp_path / "b.csv", b)
    people = [*a.index, *b.index]
    table(
        tmp_path / "people.csv",
        id=people,
        state=["RA", "normal"] * 3 + ["MS", "normal"] * 2,
        age=range(30, 40),
        sex=["f", "m"] * 5,
    )
    given = dict(
        studies=f"A={tmp_path / 'a.csv'}, B={tmp_path / 'b.csv'}",
        clinical=str(tmp_path / "people.csv"),
        diseases="RA=state, MS=state",
        numbers="age=age",
        classes="sex=sex",
    )
    return a, b, given


# --- values and targets ---------------------------------------------------------------------------


def test_studies_are_one_modality_with_a_target_per_disease(two_studies):
    a, b, given = two_studies
    data = read(**given)
    modality = data.modalities["methylation"]
    expected = pd.concat([a, b])
    assert data.ids.tolist() == expected.index.tolist()
    assert modality.values.dtype == np.float32
    assert modality.mask.all()
    np.testing.assert_array_equal(modality.values, expected.to_numpy(np.float32))
    assert modality.features.tolist() == SITES
    codes, known = data.targets["RA"]
    assert codes.dtype == np.int32
    assert known.tolist() == [True] * 6 + [False] * 4
    assert codes.tolist() == [1, 0, 1, 0, 1, 0, 0, 0, 0, 0]
    codes, known = data.targets["MS"]
    assert known.tolist() == [False] * 6 + [True] * 4
    assert codes[6:].tolist() == [1, 0, 1, 0]
    assert data.classes["RA"] == data.classes["MS"] == ("control", "case")
    assert data.classes["sex"] == ("f", "m")
    assert data.targets["age"][0].tolist() == list(range(30, 40))
    assert data.table["study"].tolist() == ["A"] * 6 + ["B"] * 4
    assert data.table["state"].tolist() == ["RA", "normal"] * 3 + ["MS", "normal"] * 2


def test_controls_of_another_study_never_count(two_studies):
    *_, given = two_studies
    data = read(**given)
    masked = [note for note in data.notes if note.startswith("RA: 2 people are masked")]
    assert masked == [
        "RA: 2 people are masked, because their study does not hold both cases and controls: "
        "B 0 cases and 2 controls."
    ]
    assert not data.warnings


def test_a_study_of_cases_alone_is_a_warning_that_names_it(tmp_path, two_studies):
    *_, given = two_studies
    given["clinical"] = table(
        tmp_path / "t.csv", id=[f"p{i}" for i in range(6)] + [f"q{i}" for i in range(4)],
        state=["case", "control"] * 3 + ["case"] * 4,
    )  # fmt: skip
    data = read(**{**given, "diseases": "RA=state", "numbers": "", "classes": ""})
    assert data.targets["RA"][1].tolist() == [True] * 6 + [False] * 4
    assert any("the study B has 4 cases of RA and no control" in w for w in data.warnings)
    assert any("of B nobody counts for a disease" in w for w in data.warnings)


@pytest.mark.parametrize(
    ("states", "rule", "cases"),
    [
        (["1", "0"], "state", "1"),
        (["1.0", "0.0"], "state", "1.0"),
        (["Case", "Healthy control"], "state", "Case"),
        (["MS case", "Control"], "state", "MS case"),
        (["MS", "no MS"], "state", "MS"),
        (["Rheumatoid arthritis", "Normal"], "state", "Rheumatoid arthritis"),
        (["2", "1"], "state:case=2:control=1", "2"),
        (["relapsing", "Normal"], "state:case=Relapsing", "relapsing"),
        (["case", "volunteer"], "state:control=volunteer", "case"),
    ],
)
def test_words_for_cases_and_controls(tmp_path, states, rule, cases):
    people = [f"p{i}" for i in range(4)]
    write(tmp_path / "a.csv", betas(people))
    given = dict(
        studies=f"A={tmp_path / 'a.csv'}",
        clinical=table(tmp_path / "t.csv", id=people, state=states * 2),
        diseases=f"MS={rule}",
    )
    codes, known = read(**given).targets["MS"]
    assert known.all()
    assert codes.tolist() == [int(state == cases) for state in states * 2]


@pytest.mark.parametrize(
    ("states", "rule", "fragments"),
    [
        (["2", "1"], "state", ["'2' 2, '1' 2", "not plain", ":case=WORD"]),
        (["case", "control", "maybe"], "state", ["'maybe' 1", "not plain"]),
        (["lupus", "ra", "control"], "state", ["'lupus' 1, 'ra' 1", "not plain"]),
        (["case", "case"], "state", ["'case' 4", "not plain"]),
        (["control", "control"], "state", ["'control' 4", "not plain"]),
        (["a", "b"], "state:case=a:control=c", ["never holds 'c'", "'a' 2, 'b' 2"]),
        (["MS", "none"], "state", ["'ms' 2 (2 are unknown, as NA and none are)", "not plain"]),
        (["MS", "none"], "state:control=none", ["never holds 'none'", "2 are unknown"]),
        (["a", "b"], "State", ["has no column 'State' (diseases.MS)", "did you mean 'state'"]),
        (["a", "b"], "state:case=a:study=B", ["names the study 'B' for MS", "studies are A"]),
    ],
)
def test_labels_that_are_not_plain_are_refused_with_the_words(tmp_path, states, rule, fragments):
    people = [f"p{i}" for i in range(4)]
    write(tmp_path / "a.csv", betas(people))
    given = dict(
        studies=f"A={tmp_path / 'a.csv'}",
        clinical=table(tmp_path / "t.csv", id=people, state=(states * 4)[:4]),
        diseases=f"MS={rule}",
    )
    if len(states) == 3:
        given["clinical"] = table(tmp_path / "t.csv", id=people[:3], state=states)
    message = error_of(read, **given)
    assert all(fragment in message for fragment in fragments), message


def test_cases_and_controls_in_different_studies_are_refused(tmp_path, two_studies):
    *_, given = two_studies
    people = [f"p{i}" for i in range(6)] + [f"q{i}" for i in range(4)]
    given["clinical"] = table(tmp_path / "t.csv", id=people, state=["case"] * 6 + ["control"] * 4)
    message = error_of(read, **{**given, "diseases": "RA=state", "numbers": "", "classes": ""})
    assert "no study holds both cases and controls of RA" in message
    assert "A: 6 cases and 0 controls; B: 0 cases and 4 controls" in message


def test_labels_of_several_studies_need_words_or_studies(tmp_path, two_studies):
    *_, given = two_studies
    people = [f"p{i}" for i in range(6)] + [f"q{i}" for i in range(4)]
    given["clinical"] = table(tmp_path / "t.csv", id=people, sick=[1, 0] * 5)
    given |= dict(numbers="", classes="")
    message = error_of(read, **{**given, "diseases": "RA=sick, MS=sick"})
    assert "gives RA and MS the same labels (sick)" in message
    data = read(**{**given, "diseases": "RA=sick:study=A, MS=sick:study=B"})
    assert data.targets["RA"][1].tolist() == [True] * 6 + [False] * 4
    assert data.targets["MS"][1].tolist() == [False] * 6 + [True] * 4


def test_rules_of_diseases_are_parsed_around_marks_in_names():
    rule = parse_disease("SCZ", "status (1=control, 2=case):case=2|3:control=1:study=A")
    assert rule == DiseaseRule("status (1=control, 2=case)", ("2", "3"), ("1",), ("A",))
    for text, fragment in {
        ":case=1": "names no column",
        "x:case=": "gives no word for case",
        "x:case=1:case=2": "gives case twice",
        "x:case=1:control=1.0": "'1' is a case and a control",
    }.items():
        assert fragment in error_of(parse_disease, "D", text)


# --- scales ---------------------------------------------------------------------------------------


def test_m_values_become_beta_values(tmp_path):
    beta = betas([f"p{i}" for i in range(5)])
    m_values = np.log2(beta / (1 - beta)).round(5)
    path = write(tmp_path / "m.csv", m_values)
    for values in ("auto", "m"):
        data = read(studies=f"A={path}", values=values)
        found = data.modalities["methylation"].values
        np.testing.assert_allclose(found, beta.to_numpy(), atol=1e-5)
        assert any("converted to beta values" in note for note in data.notes)
    message = error_of(read, studies=f"A={path}", values="beta")
    assert "are not between 0 and 1" in message
    assert "set --config.data.values=m" in message


def test_conversion_is_the_inverse_of_the_logit():
    m_values = np.array([-40, -10, -1, 0, 1, 10, 40], np.float32)
    expected = 2.0 ** m_values.astype(float) / (1 + 2.0 ** m_values.astype(float))
    np.testing.assert_allclose(m_to_beta(m_values), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "fragments"),
    [
        (lambda v: v * 100, ["look like percentages", "divide them by 100"]),
        (lambda v: v * 5000, ["look like intensities"]),
        (
            lambda v: v + (np.arange(60) < 5) * 0.9,
            ["--config.data.limits=methylation=0:1"],
        ),
    ],
)
def test_values_on_no_known_scale_are_refused_with_their_number(tmp_path, change, fragments):
    frame = betas([f"p{i}" for i in range(5)])
    changed = pd.DataFrame(change(frame.to_numpy()), index=frame.index, columns=frame.columns)
    message = error_of(read, studies=f"A={write(tmp_path / 'a.csv', changed)}")
    outside = int((changed.to_numpy() > 1).sum())
    assert f"{outside:,} of its 300 values are not between 0 and 1" in message
    assert all(fragment in message for fragment in fragments), message


def test_people_on_different_scales_are_refused_and_limits_mend_single_values(tmp_path):
    frame = betas([f"p{i}" for i in range(5)])
    mixed = frame.copy()
    mixed.iloc[3:] = np.log2(mixed.iloc[3:] / (1 - mixed.iloc[3:]))
    message = error_of(read, studies=f"A={write(tmp_path / 'mixed.csv', mixed)}")
    assert "the values of 3 people (such as p0) are all between 0 and 1" in message
    assert "those of 2 (such as p3)" in message
    frame.iloc[1, 2] = 1.5
    path = write(tmp_path / "one.csv", frame)
    data = read(studies=f"A={path}", limits="methylation=0:1")
    mask = data.modalities["methylation"].mask
    assert not mask[1, 2]
    assert mask.sum() == mask.size - 1


# --- sites ----------------------------------------------------------------------------------------


def test_sites_are_united_and_what_a_study_lacks_is_missing(tmp_path):
    a, b = betas(["p0", "p1"], SITES[:40]), betas(["q0", "q1"], SITES[10:])
    paths = write(tmp_path / "a.csv", a), write(tmp_path / "b.csv", b)
    data = read(studies=f"A={paths[0]}, B={paths[1]}")
    modality = data.modalities["methylation"]
    expected = pd.concat([a, b])[SITES]
    assert modality.features.tolist() == SITES
    np.testing.assert_array_equal(modality.mask, expected.notna())
    np.testing.assert_array_equal(modality.values, expected.fillna(0).to_numpy(np.float32))
    (warning,) = [w for w in data.warnings if "not in every study" in w]
    assert warning.startswith("30 of 60 sites are not in every study (A lacks 20, B lacks 10)")


def test_suffixes_of_epic_are_cut_off_and_duplicates_averaged(tmp_path):
    names = ["cg00000001_TC21", "cg00000001_BC11", "cg00000002_TO11", "cg00000003"]
    frame = betas(["p0", "p1", "p2"], names)
    path = write(tmp_path / "a.csv", frame)
    assert read(studies=f"A={path}").modalities["methylation"].features.tolist() == names
    data = read(studies=f"A={path}", strip_suffixes=True)
    modality = data.modalities["methylation"]
    assert modality.features.tolist() == ["cg00000001", "cg00000002", "cg00000003"]
    mean = frame.iloc[:, :2].mean(axis=1)
    np.testing.assert_allclose(modality.values[:, 0], mean, rtol=1e-6)
    assert any("suffixes of 3 sites cut off" in n and "1 sites were" in n for n in data.notes)


@pytest.mark.parametrize("text", ["{0}\n{1}\ncg99\n", "TargetID,47\n{0},a\n{1},b\ncg99,c\n"])
def test_listed_sites_and_sex_chromosomes_are_left_out(tmp_path, text):
    frame = betas(["p0", "p1"])
    path = write(tmp_path / "a.csv", frame)
    listed = tmp_path / "cross.csv"
    listed.write_text(text.format(SITES[3], SITES[5]))
    chromosomes = {SITES[0]: "X", SITES[1]: "chrY", **dict.fromkeys(SITES[2:50], "7")}
    given = dict(studies=f"A={path}", drop_sites=(str(listed),), sex_chromosomes="drop")
    data = read(chromosomes=chromosomes, **given)
    kept = [site for j, site in enumerate(SITES) if j not in (0, 1, 3, 5)]
    modality = data.modalities["methylation"]
    assert modality.features.tolist() == kept
    np.testing.assert_array_equal(modality.values, frame[kept].to_numpy(np.float32))
    assert "2 of the 3 sites of cross.csv left out." in data.notes
    assert "Sites on the sex chromosomes left out: X 1, Y 1." in data.notes
    assert any("the chromosome of 10 sites is unknown" in w for w in data.warnings)
    message = error_of(read, **given)
    assert "needs the chromosomes of the sites" in message
    listed.write_text("cg77\n")
    assert any("none of the 1 sites" in w for w in read(chromosomes=chromosomes, **given).warnings)


def test_studies_without_a_common_site_are_refused(tmp_path):
    a, b = betas(["p0"], SITES[:5]), betas(["q0"], [f"{s}_TC21" for s in SITES[:5]])
    given = f"A={write(tmp_path / 'a.csv', a)}, B={write(tmp_path / 'b.csv', b)}"
    assert "strip_suffixes=True" in error_of(read, studies=given)
    assert len(read(studies=given, strip_suffixes=True).modalities["methylation"].features) == 5


# --- detection ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("P1.AVG_Beta", ("beta", "P1")),
        ("P1 Beta", ("beta", "P1")),
        ("GSM1.beta_values", ("beta", "GSM1")),
        ("P1.Detection Pval", ("p", "P1")),
        ("5815284001_R01C01_DetectionPval", ("p", "5815284001_R01C01")),
        ("SAMPLE 12.Detection.P.value", ("p", "SAMPLE 12")),
        ("P1 Detection P-value", ("p", "P1")),
        ("P1_Pval", ("p", "P1")),
        ("P1 p-value", ("p", "P1")),
        ("P1.Detection", ("p", "P1")),
        ("P1.Signal_A", ("intensity", "P1")),
        ("P1 Signal A", ("intensity", "P1")),
        ("P1_Methylated", ("intensity", "P1")),
        ("P1 Unmethylated Signal", ("intensity", "P1")),
        ("P1", ("", "P1")),
        ("alphabeta1", ("", "alphabeta1")),
        ("TGFbeta", ("", "TGFbeta")),
    ],
)
def test_columns_of_genome_studio_are_of_a_person(column, expected):
    assert kind_and_person(column) == expected


def interleaved(frame, p_values, value="{}", p="{}.Detection Pval", signal=""):
    """Columns in turns: the value of a person, its p-value, an intensity; people in rows."""
    rows = {}
    for person in frame.index:
        rows[value.format(person)] = frame.loc[person]
        if person in p_values.index:
            rows[p.format(person)] = p_values.loc[person]
        if signal:
            rows[signal.format(person)] = frame.loc[person] * 5000
    return pd.DataFrame(rows).T


@pytest.mark.parametrize("value", ["{}", "{}.AVG_Beta"])
def test_p_values_between_the_people_of_a_file_are_read_as_such(tmp_path, value):
    frame = betas(["p0", "p1", "p2"])
    p_values = pd.DataFrame(0.001, index=["p0", "p2"], columns=SITES)
    p_values.loc["p0", SITES[7]] = 0.02
    p_values.loc["p2", SITES[8]] = 0.5
    columns = interleaved(frame, p_values, value, signal="{}.Signal_A")
    data = read(studies=f"A={write(tmp_path / 'a.csv', columns)}")
    modality = data.modalities["methylation"]
    assert data.ids.tolist() == ["p0", "p1", "p2"]
    assert np.argwhere(~modality.mask).tolist() == [[0, 7], [2, 8]]
    np.testing.assert_allclose(modality.values[1], frame.loc["p1"], rtol=1e-6)
    said = "of detection p-values 2, of intensities, which are left out, 3."
    assert any(said in n for n in data.notes)
    assert any("A: 2 of 180 values have a detection p-value above 0.01" in n for n in data.notes)
    assert any("1 person (p1) is without detection p-values" in w for w in data.warnings)


def test_a_file_of_p_values_alone_is_refused_and_values_that_are_none(tmp_path):
    frame = betas(["p0", "p1"])
    only = frame.set_axis([f"{person}.Detection Pval" for person in frame.index])
    message = error_of(read, studies=f"A={write(tmp_path / 'a.csv', only)}")
    assert "detection p-values and intensities" in message and "no beta values" in message
    columns = interleaved(frame, frame + 2)
    message = error_of(read, studies=f"A={write(tmp_path / 'b.csv', columns)}")
    assert "p-values are between 0 and 1" in message
    twice = frame.set_axis(["p0.AVG_Beta", "p0 Beta"])
    message = error_of(read, studies=f"A={write(tmp_path / 'c.csv', twice)}")
    assert "'p0' has several columns of beta values" in message
    mixed = frame.set_axis(["p0.AVG_Beta", "p1"])
    message = error_of(read, studies=f"A={write(tmp_path / 'd.csv', mixed)}")
    assert "'p0.AVG_Beta' is named as beta values and 'p1' is not" in message
    other = interleaved(frame, frame, "{}.AVG_Beta", "{}x.Detection Pval")
    message = error_of(read, studies=f"A={write(tmp_path / 'e.csv', other)}")
    assert "of 'p0x' and others" in message and "use the same names" in message


def test_p_values_without_a_name_are_those_of_the_column_at_their_left(tmp_path):
    frame = betas(["p0", "p1", "p2"])
    lines = ["ID_REF,p0,Detection Pval,p1,Detection Pval,p2,Detection Pval"]
    for site in SITES:
        is_undetected = site in SITES[:9]
        values = [f"{frame.loc[p, site]},{0.5 * (p == 'p1') * is_undetected}" for p in frame.index]
        lines.append(",".join([site, *values]))
    (tmp_path / "a.csv").write_text("\n".join(lines))
    modality = read(studies=f"A={tmp_path / 'a.csv'}").modalities["methylation"]
    assert np.argwhere(~modality.mask).tolist() == [[1, j] for j in range(9)]


def test_values_that_were_not_detected_are_missing(tmp_path):
    frame = betas(["p0", "p1", "p2"])
    p_values = pd.DataFrame(0.001, index=["p2", "p0"], columns=SITES[::-1][:-1])
    p_values.loc["p0", SITES[7]] = 0.02
    p_values.loc["p2", SITES[8]] = 0.5
    p_values.loc["p2", SITES[9]] = 0.01
    given = dict(studies=f"A={write(tmp_path / 'a.csv', frame)}")
    given["detection"] = f"A={write(tmp_path / 'p.csv', p_values)}"
    data = read(**given)
    modality = data.modalities["methylation"]
    assert np.argwhere(~modality.mask).tolist() == [[0, 7], [2, 8]]
    assert (modality.values[~modality.mask] == 0).all()
    assert any("A: 2 of 180 values have a detection p-value above 0.01" in n for n in data.notes)
    assert any("1 person (p1) is without detection p-values" in w for w in data.warnings)
    assert any("1 site (cg00000000) is without detection p-values" in w for w in data.warnings)
    assert read(**given, detection_limit=0.5).modalities["methylation"].mask.all()
    p_values.iloc[0, 0] = 3
    write(tmp_path / "p.csv", p_values)
    assert "detection p-values are between 0 and 1" in error_of(read, **given)
    write(tmp_path / "p.csv", p_values.clip(0, 1).set_axis(["x", "y"]))
    assert "no person of the study A (such as 'p0') is among its own" in error_of(read, **given)


# --- persons --------------------------------------------------------------------------------------


def test_a_person_of_two_studies_has_two_rows_that_are_never_split(tmp_path):
    a, b = betas(["p0", "p1", "p2"]), betas(["p2", "p3", "p4"], seed=1)
    given = dict(
        studies=f"A={write(tmp_path / 'a.csv', a)}, B={write(tmp_path / 'b.csv', b)}",
        clinical=table(
            tmp_path / "t.csv", id=[f"p{i}" for i in range(5)], sick=[0, 1, 0, 1, 1], age=range(5)
        ),
        diseases="D=sick",
        numbers="age=age",
    )
    data = read(**given)
    assert data.ids.tolist() == ["A:p2", "B:p2", "p0", "p1", "p3", "p4"]
    assert data.table["study"].tolist() == ["A", "B", "A", "A", "B", "B"]
    assert data.groups[0] == data.groups[1]
    assert len(set(data.groups.tolist())) == 5
    values = data.modalities["methylation"].values
    np.testing.assert_array_equal(values[0], a.loc["p2"].to_numpy(np.float32))
    np.testing.assert_array_equal(values[1], b.loc["p2"].to_numpy(np.float32))
    assert data.targets["age"][0].tolist() == [2, 2, 0, 1, 3, 4]
    assert data.targets["D"][0].tolist() == [0, 0, 0, 1, 1, 1]
    assert any("1 person (p2) is in several files" in note for note in data.notes)


def test_a_person_may_have_a_row_for_each_study_in_the_table(tmp_path):
    a, b = betas(["p0", "p1"]), betas(["p1", "p2"], seed=1)
    given = dict(
        studies=f"A={write(tmp_path / 'a.csv', a)}, B={write(tmp_path / 'b.csv', b)}",
        clinical=table(
            tmp_path / "t.csv", id=["p0", "p1", "p1", "p2"], series=["A", "A", "B", "B"],
            sick=[0, 1, 0, 1], family=["f1", "f2", "f2", "f1"],
        ),
        study="series",
        diseases="D=sick",
        group="family",
    )  # fmt: skip
    data = read(**given)
    assert data.ids.tolist() == ["A:p1", "B:p1", "p0", "p2"]
    assert data.targets["D"][0].tolist() == [1, 0, 0, 1]
    assert data.groups.tolist() == ["f2", "f2", "f1", "f1"]
    assert data.table["study"].tolist() == ["A", "B", "A", "B"]


def test_groups_of_a_column_are_joined_by_persons(tmp_path):
    a, b = betas(["p0", "p1"]), betas(["p1", "p2"], seed=1)
    given = dict(
        studies=f"A={write(tmp_path / 'a.csv', a)}, B={write(tmp_path / 'b.csv', b)}",
        clinical=table(
            tmp_path / "t.csv", id=["p0", "p1", "p1", "p2"], series=["A", "A", "B", "B"],
            family=["f1", "f1", "f2", "f2"],
        ),
        study="series",
        group="family",
    )  # fmt: skip
    assert len(set(read(**given).groups.tolist())) == 1


def test_only_selects_people_and_whole_studies(two_studies):
    a, _, given = two_studies
    data = read(**{**given, "only": "sex=f", "diseases": "", "classes": ""})
    assert data.ids.tolist() == ["p0", "p2", "p4", "q0", "q2"]
    np.testing.assert_array_equal(
        data.modalities["methylation"].values[:3], a.iloc[::2].to_numpy(np.float32)
    )


def test_the_study_may_be_a_column_of_one_file(tmp_path):
    frame = betas([f"p{i}" for i in range(6)])
    given = dict(
        studies=f"all={write(tmp_path / 'a.csv', frame)}",
        clinical=table(
            tmp_path / "t.csv", id=frame.index, series=["S1"] * 3 + ["S2"] * 2 + ["unknown"],
            sick=[0, 1, 1, 0, 0, 1],
        ),
        study="series",
        diseases="D=sick",
    )  # fmt: skip
    data = read(**given)
    assert data.targets["D"][1].tolist() == [True] * 3 + [False] * 3
    assert data.table["study"].tolist() == ["S1"] * 3 + ["S2"] * 2 + [""]
    assert any("the study of 1 people is unknown" in w for w in data.warnings)
    assert any("1 people with a label but without a study are masked" in w for w in data.warnings)


# --- GEO ------------------------------------------------------------------------------------------

SERIES = (
    '!Series_title\t"A series"\n!Series_geo_accession\t"GSE1"\n'
    '!Series_supplementary_file\t"ftp://x/suppl/GSE1_beta.csv.gz"\n\n'
    '!Sample_title\t"blood, 1"\t"blood, 2"\t"blood, 3"\n'
    '!Sample_geo_accession\t"GSM1"\t"GSM2"\t"GSM3"\n'
    '!Sample_contact_name\t"A"\t"A"\t"A"\n'
    '!Sample_characteristics_ch1\t"disease state: RA"\t"disease state: normal"\t"Age: 61"\n'
    '!Sample_characteristics_ch1\t"age: 40"\t"age: 50"\t"disease state: RA"\n'
    '!Sample_characteristics_ch1\t""\t"treated"\t"note: a: b"\n'
    '!Sample_characteristics_ch1\t""\t"note: x"\t"note: c"\n'
    "!series_matrix_table_begin\n"
)
SERIES_TABLE = '"ID_REF"\t"GSM1"\t"GSM2"\t"GSM3"\n"cg00000001"\t0.1\t0.2\t0.3\n'
SERIES_MORE = '"cg00000002"\t0.4\tnull\t0.6\n"cg00000003"\t0.7\t0.8\t0.9\n'
SERIES_END = "!series_matrix_table_end\n"


@pytest.mark.parametrize("name", ["GSE1_series_matrix.txt", "GSE1_series_matrix.txt.gz"])
def test_a_series_matrix_tells_of_its_samples(tmp_path, name):
    text = SERIES + SERIES_TABLE + SERIES_MORE + SERIES_END
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    expected = pd.DataFrame(
        {
            "geo_accession": ["GSM1", "GSM2", "GSM3"],
            "title": ["blood, 1", "blood, 2", "blood, 3"],
            "disease state": ["RA", "normal", "RA"],
            "age": ["40", "50", "61"],
            "characteristics": ["", "treated", ""],
            "note": ["", "x", "a: b; c"],
        },
        index=["GSM1", "GSM2", "GSM3"],
    )
    matrix = read_matrix(path)
    for key in expected:
        column = "Age" if key == "age" else key
        assert matrix.table[column].tolist() == expected[key].tolist()
    assert len(matrix.table.columns) == len(expected.columns)
    alone = read_table(path)
    assert alone["geo_accession"].tolist() == ["GSM1", "GSM2", "GSM3"]
    assert alone.index.tolist() == ["sample 1", "sample 2", "sample 3"]
    data = read(studies=f"GSE1={path}", diseases="RA=disease state", numbers="age=Age")
    assert data.targets["RA"][0].tolist() == [1, 0, 1]
    assert data.targets["age"][0].tolist() == [40, 50, 61]
    assert data.modalities["methylation"].mask.sum() == 8
    assert data.table["study"].tolist() == ["GSE1"] * 3


@pytest.mark.parametrize("table_", ["", '"ID_REF"\t"GSM1"\t"GSM2"\t"GSM3"\n'])
def test_a_series_matrix_without_values_says_where_they_are(tmp_path, table_):
    path = tmp_path / "GSE1_series_matrix.txt"
    path.write_text(SERIES + table_ + SERIES_END)
    message = error_of(read, studies=f"GSE1={path}")
    assert "without values" in message
    assert "supplementary files on the page of the series: GSE1_beta.csv.gz" in message
    values = betas(["GSM1", "GSM2", "GSM3"])
    data = read(
        studies=f"GSE1={write(tmp_path / 'beta.csv', values)}",
        clinical=str(path),
        diseases="RA=disease state",
    )
    assert data.targets["RA"][0].tolist() == [1, 0, 1]


def test_a_series_matrix_that_contradicts_itself_is_refused(tmp_path):
    path = tmp_path / "GSE1_series_matrix.txt"
    body = SERIES_TABLE + SERIES_MORE + SERIES_END
    path.write_text(SERIES.replace('"A"\t"A"\n', '"A"\n').replace('\t"GSM3"\n', "\n", 1) + body)
    assert "speaks of 2 samples, and !Sample_title of 3" in error_of(read_matrix, path)
    path.write_text(SERIES + body.replace("GSM2", "GSM9"))
    assert "has the sample 'GSM9'" in error_of(read_matrix, path)


# --- new people -----------------------------------------------------------------------------------


def test_new_people_have_the_sites_of_the_training(tmp_path):
    frame = betas(["n0", "n1"], SITES[10:][::-1])
    path = write(tmp_path / "n.csv", frame)
    given = dict(studies=f"new={path}", diseases="RA=state", clinical="missing.csv")
    given |= dict(group="family", only="tissue=blood")  # of a training, unknown here
    data = read(features=SITES, targets=False, **given)
    modality = data.modalities["methylation"]
    assert modality.features.tolist() == SITES
    assert not modality.mask[:, :10].any()
    assert modality.mask[:, 10:].all()
    np.testing.assert_array_equal(modality.values[:, 10:], frame[SITES[10:]].to_numpy(np.float32))
    assert not data.targets
    assert any(note.startswith("10 sites (cg00000000, cg00000001") for note in data.notes)
    other = write(tmp_path / "o.csv", betas(["n0"], ["cg99999999", "cg99999998"]))
    message = error_of(read, features=SITES, targets=False, studies=f"new={other}")
    assert "none of the 60 sites of the training" in message


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "fragment"),
    [
        (dict(studies=""), "data.studies is empty"),
        (dict(values="percent"), "--config.data.values='percent' is unknown"),
        (dict(sex_chromosomes="no"), "set it to one of keep, drop"),
        (dict(detection_limit=2.0), "is no p-value"),
        (dict(detection="B=p.csv"), "names the study 'B'; data.studies has A"),
        (dict(limits="rna=0:1"), "as in methylation=0:1"),
        (dict(diseases="x=a", numbers="x=b"), "data.diseases and data.numbers both have 'x'"),
        (dict(barcode="gdc"), "data.barcode is 'gdc'"),
    ],
)
def test_settings_that_mean_nothing_are_refused(given, fragment):
    assert fragment in error_of(check_settings, settings(**{"studies": "A=a.csv", **given}))


def test_every_setting_has_a_rule():
    section = methylation_section()
    assert {f"data.{name}" for name in section} == set(rules())
    config = {"data": section}
    check_values(config, rules())


def test_labels_without_a_table_are_refused(tmp_path):
    path = write(tmp_path / "a.csv", betas(["p0", "p1"]))
    message = error_of(read, studies=f"A={path}", diseases="RA=state")
    assert "nothing is known of RA" in message


# --- real files -----------------------------------------------------------------------------------


@pytest.fixture
def mini():
    folder = os.environ.get("OMICS_JAX_DATA")
    if not folder:
        pytest.skip("OMICS_JAX_DATA names no folder")
    return Path(folder) / "methylation" / "mini"


def test_four_real_studies_agree_with_pandas(mini):
    values = pd.read_csv(mini / "blood4_n160_cpg250.csv.gz", index_col=0).T
    people = pd.read_csv(mini / "blood4_n160.meta.csv", index_col=0)
    studies = {"RA": "GSE42861", "MS": "GSE106648", "PD": "GSE72774", "depression": "GSE125105"}
    data = read(
        studies=f"blood={mini / 'blood4_n160_cpg250.csv.gz'}",
        clinical=str(mini / "blood4_n160.meta.csv"),
        study="series_id",
        diseases=", ".join(f"{name}=disease:study={study}" for name, study in studies.items()),
        numbers="age=age",
        classes="sex=sex",
    )
    modality = data.modalities["methylation"]
    expected = values.loc[data.ids].astype(np.float32)
    np.testing.assert_array_equal(modality.mask, expected.notna())
    np.testing.assert_allclose(modality.values, expected.fillna(0), rtol=1e-6)
    people = people.loc[data.ids]
    for disease, study in studies.items():
        codes, known = data.targets[disease]
        np.testing.assert_array_equal(known, people["series_id"] == study)
        np.testing.assert_array_equal(codes[known], people["disease"][known])
    np.testing.assert_allclose(data.targets["age"][0], people["age"], rtol=1e-6)
    assert not data.warnings


def test_real_series_matrices_agree_with_pandas(mini):
    path = mini / "GSE42861_n40x400_series_matrix.txt.gz"
    data = read(
        studies=f"GSE42861={path}",
        diseases="RA=disease state",
        numbers="age=age",
        classes="sex=gender",
    )
    values = pd.read_csv(path, sep="\t", comment="!", index_col=0).T
    np.testing.assert_allclose(
        data.modalities["methylation"].values, values.loc[data.ids], rtol=1e-6
    )
    with gzip.open(path, "rt") as stream:
        lines = [line.strip().replace('"', "").split("\t") for line in stream if line[0] == "!"]
    told = {cells[1].split(":")[0]: cells[1:] for cells in lines if "characteristics" in cells[0]}
    ids = next(cells[1:] for cells in lines if cells[0] == "!Sample_geo_accession")
    is_case = {i: "Rheumatoid" in cell for i, cell in zip(ids, told["disease state"], strict=True)}
    ages = {i: float(cell.split(": ")[1]) for i, cell in zip(ids, told["age"], strict=True)}
    codes, known = data.targets["RA"]
    assert known.all()
    assert codes.tolist() == [int(is_case[i]) for i in data.ids]
    assert data.targets["age"][0].tolist() == [ages[i] for i in data.ids]


def test_a_real_series_with_a_ragged_line_is_read(mini):
    matrix = read_matrix(mini / "GSE41169_head_series_matrix.txt")
    assert matrix.table["cancer type (icd-10)"].tolist() == ["", "", "C50", "", "C50"]
    assert matrix.table["diseasestatus (1=control, 2=scz patient)"].tolist() == ["2"] * 5
    message = error_of(
        read,
        studies=f"GSE41169={mini / 'GSE41169_head_series_matrix.txt'}",
        diseases=r"SCZ=diseasestatus (1=control\, 2=scz patient):case=2:control=1",
    )
    assert "never holds '1'; it holds '2' 5" in message
