"""The lookup of a job by name, and the error where there is none."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from fluxbatch.dataset.find_job import JobRef, find_job
from fluxbatch.dataset.folder import Folder
from fluxbatch.domain.job import Row
from fluxbatch.errors import ConfigError
from tests.export.made import made_dataset, row


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Rows 1 to 8; the ledger's jobs 1 to 6."""
    root = tmp_path_factory.mktemp("naming") / "dataset"
    rows: list[Row] = [
        row(1, "lamp-1"),
        row(2, "lamp-2"),
        row(3, "tower/3"),
        row(4, "twice", prompt="a"),
        row(5, "twice", prompt="b"),
        row(6, "12", prompt="a number for a name"),
    ]
    rows.append(row(7, "lamp-1 again", job=rows[0].job))
    rows.append(row(8, "broken", error="row 8 (line 9), guidance: 101 is too much"))
    with made_dataset(root, rows) as maker:
        maker.done(rows[0])
        maker.done(rows[2], "jpg")
    return Folder(root)


def find(folder: Folder, name: str) -> JobRef:
    with folder.reader() as db:
        return find_job(db, folder, name)


def image(folder: Folder, kind: str) -> Path:
    return next(folder.images.glob(f"*.{kind}"))


@pytest.mark.parametrize(
    ("name", "job"),
    [
        ("#2", 2),
        ("lamp-1", 1),
        ("lamp-2", 2),
        ("tow", 3),
        ("tower/3", 3),
        ("12", 6),
        ("3", 3),
        ("#7", 1),
    ],
)
def test_rows_are_found_by_number_and_by_id(folder: Folder, name: str, job: int) -> None:
    """
    In full, or by a beginning that only one has; a number is an id first, then the row's.
    """
    assert find(folder, name).job_seq == job


def test_jobs_are_found_by_their_ids(folder: Folder) -> None:
    """
    Four digits and more of ours, also an odd number of them; the provider's in full.
    """
    whole = image(folder, "jpg").name.partition("_")[0]
    for name in (whole, whole[:4], whole[:9], whole[:6].upper(), "provider-2"):
        assert find(folder, name).job_seq == 3


def test_a_file_is_found_by_its_place_and_by_its_bytes(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    From anywhere, also a copy under another name.
    """
    path = image(folder, "jpg")
    copy = tmp_path / "copy of it.jpeg"
    copy.write_bytes(path.read_bytes())
    monkeypatch.chdir(folder.images)
    for name in (str(path), f"images/{path.name}", path.name, f"./{path.name}", str(copy)):
        found = find(folder, name)
        assert (found.job_seq, found.output_seq) == (3, 2)


def test_an_invalid_row_is_found_and_names_no_job(folder: Folder) -> None:
    """
    It has a reason, and that is what is asked for.
    """
    found = find(folder, "broken")

    assert found.job_seq is None
    assert found.row is not None
    assert found.row.error == "row 8 (line 9), guidance: 101 is too much"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("#99", "there is no row #99; the rows are #1 to #8"),
        ("#0", "the rows are #1 to #8"),
        ("lamp", "begins the ids of several rows: 'lamp-1' (#1), 'lamp-2' (#2), 'lamp-1 again'"),
        ("twice", "is the id of several rows: #4, #5; name one by its number"),
        ("lamp-3", "the nearest: 'lamp-"),
        ("Tower", "the nearest: 'tower/3' (#3)"),
        ("99", "there is no row #99"),
        ("", "nothing here is called ''"),
        ("ffffffffffff", "name a row (#1 to #8), its id"),
        ("\x00\n\ud800", "nothing here is called"),
        ("x" * 5_000, "nothing here is called"),
    ],
)
def test_what_fits_nothing_or_too_much_is_told(folder: Folder, name: str, said: str) -> None:
    """
    Exit 2, with the candidates or the nearest names.
    """
    with pytest.raises(ConfigError) as caught:
        find(folder, name)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_file_of_somebody_elses_is_no_image_of_this_dataset(
    folder: Folder, tmp_path: Path
) -> None:
    """
    Said as that, not as an unknown id.
    """
    (tmp_path / "other.png").write_bytes(b"another")

    with pytest.raises(ConfigError, match="neither its path nor its bytes"):
        find(folder, str(tmp_path / "other.png"))


def test_an_ambiguous_start_of_a_jobs_id_names_them(tmp_path: Path) -> None:
    """
    Enough jobs that four digits are shared by two.
    """
    rows = [row(n) for n in range(1, 1_001)]
    with made_dataset(tmp_path / "d", rows):
        pass
    ids = sorted(r.job.job_id.hex() for r in rows if r.job)
    one, other = next((a, b) for a, b in pairwise(ids) if a[:4] == b[:4])

    with pytest.raises(ConfigError, match="several jobs") as caught:
        find(Folder(tmp_path / "d"), one[:4])
    assert one in str(caught.value)
    assert other in str(caught.value)
