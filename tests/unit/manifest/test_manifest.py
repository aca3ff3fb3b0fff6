"""The manifest as a whole: identity, defaults, and files that cannot be one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fluxbatch.config.sweep import Sweep
from fluxbatch.errors import BadRow, ConfigError, ManifestError
from fluxbatch.manifest import Manifest
from tests.unit.manifest.reading import CARD, ROW, URL, bad_rows, inputs, line, opened, read, write


def refusal(path: Path | None, **settings: object) -> str:
    with pytest.raises(ConfigError) as caught:
        read(path, **settings)
    return str(caught.value)


def test_defaults_are_given_to_rows_that_do_not_speak(tmp_path: Path) -> None:
    """As if the row had given them: they are part of the job, and typed."""
    path = write(tmp_path, line() + line(guidance=5) + line(guidance=""))

    assert [
        given["guidance"] for given in inputs(read(path, defaults={"guidance": "3.0", "seed": 1}))
    ] == [3, 5, 3]


def test_bad_defaults_are_refused_before_any_row(tmp_path: Path) -> None:
    """All of them, once, not in every row."""
    said = refusal(write(tmp_path, line()), defaults={"guidence": 3, "num_outputs": 9})

    assert "defaults.guidence: no such input; did you mean 'guidance'?" in said
    assert "defaults.num_outputs: 9 is not an integer from 1 to 4" in said


def test_the_identity_is_of_the_bytes_and_the_settings(tmp_path: Path) -> None:
    """Whatever shapes the jobs; not the name or the time of the file."""
    one, same = write(tmp_path, line()), write(tmp_path, line(), "copy.jsonl")
    other = write(tmp_path, line(seed=1), "other.jsonl")
    sweep = Sweep(axes={"seed": [1, 2]})
    identities = [
        opened(one).identity,
        opened(other).identity,
        opened(one, defaults={"seed": 1}).identity,
        opened(one, sweep=sweep).identity,
        opened(one, sweep=sweep, defaults={"guidance": 1}).identity,
        opened(None, sweep=sweep).identity,
    ]

    assert opened(one).identity == opened(same).identity
    assert (
        opened(one, defaults={"seed": 1}).identity == opened(one, defaults={"seed": "1"}).identity
    )
    assert len(set(identities)) == len(identities)
    assert all(len(identity) == 64 for identity in identities)


def test_a_new_file_under_a_glob_is_another_manifest(tmp_path: Path) -> None:
    """Its jobs are others."""
    write(tmp_path, "x", "a.png")
    sweep = Sweep(axes={"control_image": "*.png"})
    before = opened(None, sweep=sweep, folder=tmp_path).identity
    write(tmp_path, "x", "b.png")

    assert opened(None, sweep=sweep, folder=tmp_path).identity != before


def test_progress_is_known_while_reading(tmp_path: Path) -> None:
    """In bytes of the file."""
    path = write(tmp_path, line() * 20_000)
    manifest = opened(path)

    assert (manifest.bytes, manifest.bytes_read, manifest.path) == (path.stat().st_size, 0, path)
    rows = manifest.rows()
    next(rows)
    assert 0 < manifest.bytes_read < manifest.bytes
    assert sum(1 for _ in rows) == 19_999
    assert manifest.bytes_read == manifest.bytes


def test_rows_can_be_read_again_and_are_the_same(tmp_path: Path) -> None:
    """Each pass has its own memory of ids."""
    manifest = opened(write(tmp_path, line(id="a") + line(id="b")))

    assert list(manifest.rows()) == list(manifest.rows())


def test_a_file_that_changes_after_it_was_opened_is_refused(tmp_path: Path) -> None:
    """Its rows would not be those of its identity."""
    path = write(tmp_path, line())
    manifest = opened(path)
    write(tmp_path, line() + line(seed=1))

    with pytest.raises(ManifestError, match=r"changed while it was read; run again"):
        list(manifest.rows())


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    """Even when its size and time stay: the bytes themselves are compared."""
    path = write(tmp_path, line() * 20_000)
    manifest = opened(path)
    rows = manifest.rows()
    next(rows)
    stats = path.stat()
    with path.open("r+b") as file:
        file.seek(-20, os.SEEK_END)
        file.write(b"X")
    os.utime(path, ns=(stats.st_atime_ns, stats.st_mtime_ns))

    with pytest.raises(ManifestError, match=r"changed while it was read"):
        list(rows)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04....", "spreadsheet; save it as CSV"),
        (b"\x1f\x8b\x08....", "is packed and damaged"),
        (b"\x28\xb5\x2f\xfd....", "is packed and damaged"),
        (b"PAR1....", "is no Parquet file that can be read"),
        (b"\x89PNG\r\n\x1a\n", "is an image"),
        ("id,prompt\n".encode("utf-16"), "save it as UTF-8"),
        (bytes(range(256)) * 4, "is not text"),
        ("id,prompt\n1,x\n".encode("utf-16-le"), "is not text"),
        (b"\n\n  \n", "has no rows"),
        (b"\xef\xbb\xbf", "has no rows"),
    ],
)
def test_what_cannot_be_a_manifest_is_refused_with_the_remedy(
    tmp_path: Path, content: bytes, said: str
) -> None:
    """By its content, whatever its name."""
    assert said in refusal(write(tmp_path, content))


def test_a_folder_a_missing_file_and_a_pipe_are_refused(tmp_path: Path) -> None:
    """Without a traceback or a hang."""
    os.mkfifo(tmp_path / "pipe.csv")

    assert "is a folder" in refusal(tmp_path)
    assert "No such file" in refusal(tmp_path / "none.csv")
    assert "no regular file" in refusal(tmp_path / "pipe.csv")
    assert "cannot read manifest" in refusal(tmp_path / "a\0b.csv")


def test_nothing_to_make_is_refused() -> None:
    """Neither a manifest nor a sweep."""
    assert "name a manifest, or a sweep" in refusal(None)


def test_an_unknown_suffix_is_sniffed(tmp_path: Path) -> None:
    """JSON lines and comma-separated text are known by their first character."""
    csv = f"prompt,control_image\na cat,{URL}\n"

    assert inputs(read(write(tmp_path, "\ufeff\n" + line(), "rows"))) == [ROW]
    assert inputs(read(write(tmp_path, line(), "m.json"))) == [ROW]
    assert inputs(read(write(tmp_path, csv, "rows.txt"))) == [ROW]
    assert inputs(read(write(tmp_path, csv, "M.CSV"))) == [ROW]
    assert "name the format with --format" in refusal(write(tmp_path, "prompt: x\n", "m.data"))
    assert "write one object a line" in refusal(write(tmp_path, "[" + line() + "]", "m.json"))


def test_a_bad_row_is_heard_of_before_it_is_yielded(tmp_path: Path) -> None:
    """One text in the row, every field to whoever listens."""
    heard: list[BadRow] = []
    path = write(tmp_path, line(id="a", num_outputs=9, seed="x", **{"meta.k": 1}))
    (row,) = opened(path).rows(heard.append)

    assert row.job is None
    assert (row.user_id, row.meta) == ("a", {"k": 1})
    assert [bad.field for bad in heard] == ["num_outputs", "seed"]
    assert row.error == f"{heard[0]}; seed: {heard[1].reason}"


def test_equal_rows_name_one_job(tmp_path: Path) -> None:
    """And id, meta and order of columns don't matter."""
    text = line(id="a", guidance=10) + line(guidance="10.0", **{"meta.x": 1})
    rows = read(write(tmp_path, text))

    assert len({row.job.job_id for row in rows if row.job}) == 1


def test_wanted_outputs_are_those_the_row_asks_for(tmp_path: Path) -> None:
    """What the job is done by."""
    rows = read(write(tmp_path, line() + line(num_outputs="4")))

    assert [row.job.outputs_wanted for row in rows if row.job] == [1, 4]


def test_relative_paths_begin_where_they_are_told_to(tmp_path: Path) -> None:
    """The manifest's folder unless the caller knows better."""
    path = write(tmp_path, line(control_image="a.png"))

    (bad,) = bad_rows(path, folder=tmp_path / "elsewhere")
    assert "elsewhere" in bad.reason


_READ_ALL = """
import resource, sys
from pathlib import Path
from fluxbatch.manifest import Manifest
from fluxbatch.models import find_card
manifest = Manifest.open(Path(sys.argv[1]), card=find_card("flux-depth-dev"))
assert sum(1 for row in manifest.rows() if row.job) == int(sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """100,000 rows with ids need little more than 1,000 (ids: 12 bytes a slot)."""

    def peak_kib(rows: int) -> int:
        path = tmp_path / f"{rows}.jsonl"
        with path.open("w") as file:
            file.writelines(line(id=f"row-{n}", seed=n) for n in range(rows))
        command = [sys.executable, "-c", _READ_ALL, str(path), str(rows)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert peak_kib(100_000) - peak_kib(1000) < 12 * 1024


def test_opening_takes_settings_by_name_alone(tmp_path: Path) -> None:
    """So that the call reads as what it does."""
    manifest = Manifest.open(write(tmp_path, line()), card=CARD)

    assert inputs(list(manifest.rows())) == [ROW]


def test_a_row_says_all_that_is_wrong_with_it_at_once(tmp_path: Path) -> None:
    """A bad number does not hide the file that is not there."""
    path = write(tmp_path, line(guidance="abc", control_image="photos/none.webp"))
    fields = {bad.field: bad.reason for bad in bad_rows(path)}

    assert set(fields) == {"guidance", "control_image"}
    assert "does not exist" in fields["control_image"]
