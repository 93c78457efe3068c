"""Names that may mean one person are linked; names that merely count are not."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainseg.config.sweep import Split
from brainseg.data.dataset import read_data
from brainseg.data.formats.detect import find_slices
from brainseg.data.partition import assign_split, linked_patients
from brainseg.data.persons import (
    alike_names,
    composed,
    namesakes,
    patients_of_folders,
    person,
    visits,
)
from brainseg.data.phantom import write_phantoms
from tests.support.scans import problems

VISITS = [
    ("P1_2019-05-01", "P1_2020-01-31"),
    ("P1_20190501", "P1_20190502"),
    ("P1.2019.05.01", "P1"),
    ("P1_20190501_1200", "P1_20190501_1330"),
    ("TCGA_DU_5849_19950405", "tcga_du_5849_19960101"),
    ("P1_baseline", "P1_followup1"),
    ("P1_bl", "P1-FU2"),
    ("P1_t0", "P1_tp2"),
    ("P1_pre", "P1_post"),
    ("P1_preop", "P1_post-op"),
    ("P1_scan1", "P1_scan2"),
    ("P1_visit2", "p1 Visit 03"),
    ("P1_m12", "P1_24m"),
    ("P1_first", "P1_2nd_scan"),
    ("P1_T1w", "P1_FLAIR"),
    ("sub-01_ses-01", "sub-01_ses-02"),
    ("sub-01_ses-pre_run-1", "sub-01_ses-post"),
    ("sub-01/ses-01/anat", "sub-01/ses-02/anat"),
    ("BraTS-GLI-00008-000", "BraTS-GLI-00008-001"),
    ("BraTS-MEN-RT-0001-1", "BraTS-MEN-RT-0001-2"),
    ("UPENN-GBM-00001_11", "UPENN-GBM-00001_21"),
    ("UCSF-PDGM-0004", "UCSF-PDGM-0004_FU003d"),
    ("Patient-001_week-000-1", "Patient-001_week-044"),
    ("OAS30001_MR_d0129", "OAS30001_MR_d0757"),
    ("002_S_0413_m12", "002_S_0413_sc"),
    ("Müller_baseline", "Müller_followup"),
    ("P\u200b1", "P1"),
    ("P1_01.05.2019", "P1_31.12.2019"),
    ("P1_2019-05", "P1_2019-12"),
    ("P1_01May2019", "P1-aug_2020"),
    ("baseline_001", "followup2_001"),
    ("Müller_20190501", "Müller_20200101"),
    ("baseline/P1", "followup/P1"),
]
OTHERS = [
    ("P1", "P2"),
    ("1", "11"),
    ("P1_1", "P1_2"),
    ("patient_001", "patient_002"),
    ("case_0000", "case_0001"),
    ("sub-01", "sub-02"),
    ("BraTS-GLI-00008-000", "BraTS-GLI-00009-000"),
    ("BraTS20_Training_001", "BraTS20_Training_002"),
    ("Brats18_2013_10_1", "Brats18_2013_11_1"),
    ("UPENN-GBM-00001_11", "UPENN-GBM-00002_11"),
    ("IXI002-Guys-0828", "IXI003-Guys-0828"),
    ("UCSF-PDGM-0004", "UCSF-PDGM-0005"),
    ("scan_19950405", "scan_19960101"),
    ("P_12345678", "P_12345679"),
    ("0019990101", "0019990102"),
    ("site1_scan1", "site1_scan2"),
    ("GBM_t1", "GBM_t2"),
    ("patient_baseline", "patient_followup"),
    ("ses-01", "ses-02"),
    ("sub-01/ses-01", "sub-02/ses-01"),
    ("sub-01/anat", "sub-02/anat"),
    ("pre_001", "pre_002"),
    ("baseline", "followup"),
    ("P1_2019", "P1_2020"),
]


@pytest.mark.parametrize("names", VISITS)
def test_visits_of_one_person_are_linked(names: tuple[str, str]) -> None:
    assert visits([*names, "P2", "other_1"]) == [sorted(names)]


@pytest.mark.parametrize("names", OTHERS)
def test_names_that_may_merely_count_are_not_linked(names: tuple[str, str]) -> None:
    assert alike_names(names) == []


def test_many_dates_of_a_word_are_patients_of_a_place_not_visits_of_a_person() -> None:
    names = [f"Munich_2019-05-{day:02}" for day in range(1, 8)]
    assert visits(names[:6]) == [names[:6]]
    assert visits(names) == []


def test_pairs_are_in_the_order_of_the_names() -> None:
    names = ["TCGA_DU_5849_19950405", "tcga_du_5849_19950405", "TCGA_DU_5849_19960101", "P1", "p1"]
    first = "TCGA_DU_5849_19950405"
    assert alike_names(names) == [(first, names[2]), ("P1", "p1"), (first, names[1])]


def test_no_two_of_the_24_real_patients_are_linked() -> None:
    real = Path("../shared/lgg/kaggle_3m")
    if not real.is_dir():
        pytest.skip("needs ../shared/lgg")
    patients = sorted(path.name for path in real.iterdir() if path.is_dir())
    assert len(patients) == 24
    assert alike_names(patients) == []
    assert set(patients_of_folders(patients).values()) == set(patients)


def test_a_folder_is_called_by_its_last_part_unless_that_is_a_visit_or_another_s_too() -> None:
    folders = {
        "P2": "P2",
        "x/P3": "P3",
        "x/P4_t0": "P4_t0",
        "A/P1": "A/P1",
        "B/P1": "B/P1",
        "x/P7/20190501": "P7/20190501",
        "P8/ses-01": "P8/ses-01",
        "P9/ses-01": "P9/ses-01",
        "x/t1": "t1",
    }
    assert patients_of_folders(folders) == folders
    assert namesakes(folders.values()) == [["A/P1", "B/P1"]]


NAMESAKES = [
    (["A/P1", "B/P1", "C/P1"], ["A/P1", "B/P1", "C/P1"]),
    (["A/P1", "A/P2", "B/P1", "C/P1"], ["A/P1", "B/P1", "C/P1"]),
    (["site 1/sub-07", "site 2/sub-07", "site 3/sub-07"], ["site 1/sub-07", "site 2/sub-07"]),
    (["Mueller/1", "Schmidt/1", "Huber/1"], []),
    (["P1/left2", "P2/left2", "P3/left2"], []),
    (["P1/brain", "P2/brain", "P3/brain"], []),
]


@pytest.mark.parametrize(("names", "linked"), NAMESAKES)
def test_one_name_in_more_places_than_there_are_names_is_linked_if_the_places_are_no_persons(
    names: list[str], linked: list[str]
) -> None:
    assert [group[: len(linked)] for group in namesakes(names)] == [linked] * bool(linked)


def test_folders_of_one_last_part_are_two_patients_in_one_part(tmp_path: Path) -> None:
    root = write_phantoms(tmp_path / "d", patients=6, slices=4, size=32)
    for number, name in ((1, "A/P1"), (2, "B/P1"), (3, "P4/20190501"), (4, "P4/20200101")):
        (root / name).parent.mkdir(exist_ok=True)
        (root / f"PHANTOM_000{number}").rename(root / name)
    assert problems(root) == []
    names = sorted(set(find_slices(root)["patient"]))
    linked = {"A/P1": "A/P1", "B/P1": "A/P1", "P4/20190501": "P4/20190501"}
    linked |= {"P4/20200101": "P4/20190501", "PHANTOM_0005": "PHANTOM_0005"}
    linked |= {"PHANTOM_0006": "PHANTOM_0006"}
    assert names == sorted(linked)
    lines: list[str] = []
    data = read_data(str(root), "auto", print)
    assert linked_patients(data, lines.append) == linked
    assert len(lines) == 1
    assert "4 patients are linked" in lines[0]
    assert "as 2 persons: A/P1, B/P1; P4/20190501, P4/20200101 (" in lines[0]
    for split in (*(Split(seed=seed, test=0.2) for seed in range(6)), Split(folds=3, test=0)):
        parts = assign_split(data, split, lines.append)
        side = parts["fold" if split.folds else "part"]
        assert (side.groupby(data.table["patient"].map(linked)).nunique() == 1).all()


PARTS = st.sampled_from(
    ["P1", "p1", "P2_t0", "t0", "ses-01", "anat", "x", "site1", "scan", "20190501", "é", "e\u0301"]
)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.lists(st.lists(PARTS, min_size=1, max_size=3).map("/".join), max_size=8))
def test_two_folders_are_one_patient_only_if_they_are_one_but_for_spelling(
    folders: list[str],
) -> None:
    names = patients_of_folders(folders)
    assert set(names) == set(folders)
    assert len(set(names.values())) == len(set(map(composed, folders)))
    for folder, name in names.items():
        assert f"/{composed(folder)}".endswith(f"/{name}")


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.lists(st.one_of(st.text(max_size=12), st.text("_-. /t1", max_size=40)), max_size=6))
def test_any_names_are_grouped_by_person_and_none_is_lost(names: list[str]) -> None:
    groups = visits(names)
    grouped = [name for group in groups for name in group]
    assert len(grouped) == len(set(grouped))
    assert {person(name) for name in set(names) - set(grouped)}.isdisjoint(map(person, grouped))
    for group in groups:
        assert len({person(name) for name in group}) == 1
