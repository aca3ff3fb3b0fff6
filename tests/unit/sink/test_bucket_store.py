"""The bucket store: objects are there whole and verified; every fault of it is reported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import pytest

from fluxbatch.errors import ConfigError, SinkError
from fluxbatch.sink import BucketStore, ImageStore, LocalStore
from fluxbatch.sink.store import PendingFile
from fluxbatch.sink.temp_file import WrittenFile
from tests.support.object_store import SECRET, ObjectStore, object_store
from tests.support.odd_store import OddStore, odd_store


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectStore]:
    with object_store() as running:
        yield running


@pytest.fixture
def bucket(server: ObjectStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> BucketStore:
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    server.make("images-here")
    return BucketStore(f"s3://images-here/{tmp_path.name}/deep", tmp_path, timeout_s=5.0)


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ImageStore:
    """Every kind of place there is for images."""
    if request.param == "folder":
        return LocalStore(tmp_path)
    remote: BucketStore = request.getfixturevalue("bucket")
    return remote


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> Iterator[OddStore]:
    with odd_store() as running:
        for name, value in running.env.items():
            monkeypatch.setenv(name, value)
        yield running


def keep(
    store: ImageStore, *contents: bytes, stems: Sequence[str] = (), extension: str = "png"
) -> list[WrittenFile | SinkError]:
    landings = []
    for number, content in enumerate(contents):
        half = store.begin()
        half.write(content)
        landings.append(PendingFile(half, stems[number] if stems else f"ab/x-{number}", extension))
    kept = store.keep(landings)
    for landing, one in zip(landings, kept, strict=True):
        if isinstance(one, SinkError):
            landing.half.discard()
    return kept


def read(store: ImageStore, path: str) -> bytes:
    with store.open(path) as file:
        return file.read()


def test_what_is_kept_is_whole_and_known_by_its_hash(store: ImageStore, tmp_path: Path) -> None:
    """
    Forty at once, each under its own name; no half file stays behind.
    """
    contents = [f"image {number}".encode() * 1_000 for number in range(40)]
    kept = keep(store, *contents)

    assert kept == [
        WrittenFile(f"images/ab/x-{number}.png", sha256(content).hexdigest(), len(content))
        for number, content in enumerate(contents)
    ]
    assert [read(store, f"images/ab/x-{n}.png") for n in range(40)] == contents
    assert sorted(store.paths()) == sorted(one.path for one in kept if isinstance(one, WrittenFile))
    assert list((tmp_path / "tmp").iterdir()) == []


def test_an_output_that_comes_again_replaces_what_a_crash_left(store: ImageStore) -> None:
    """
    Of the same type it takes its name; of another it is discarded first, and only that one.
    """
    keep(store, b"corrupt", stems=["x-1"])
    keep(store, b"whole", stems=["x-1"])
    assert read(store, "images/x-1.png") == b"whole"

    for stem, extension in (("x-1", "webp"), ("x-10", "png"), ("x-1.5", "png"), ("x-0", "png")):
        keep(store, b"x", stems=[stem], extension=extension)
    assert store.discard("x-1") == 2
    assert store.discard("x-1") == 0
    assert store.discard("none/such") == 0
    assert sorted(store.paths()) == ["images/x-0.png", "images/x-1.5.png", "images/x-10.png"]


def test_an_image_that_is_gone_is_that_and_no_other_trouble(store: ImageStore) -> None:
    """
    `repair` fetches what is missing; where a whole store is, it must not think so.
    """
    with pytest.raises(FileNotFoundError):
        store.open("images/none.png")
    assert list(store.paths()) == []


def test_half_files_are_on_this_machine_and_swept(store: ImageStore, tmp_path: Path) -> None:
    """
    A kill leaves nothing in the store that was not verified.
    """
    half = store.begin()
    half.write(b"half")
    assert len(list((tmp_path / "tmp").iterdir())) == 1
    assert store.sweep() == 1
    half.discard()
    assert store.has_room(1)


def test_a_name_that_could_leave_its_place_is_a_bug(store: ImageStore) -> None:
    """
    Names are the caller's, so a bad one is no outcome but an error of ours.
    """
    half = store.begin()
    with pytest.raises(ValueError, match="no plain relative name"):
        store.keep([PendingFile(half, "../x", "png")])
    half.discard()


def test_a_control_image_is_kept_under_its_hash_and_is_no_image(store: ImageStore) -> None:
    assert store.kept_controls() == set()
    with pytest.raises(FileNotFoundError):
        store.read_kept_control("ab" * 32)
    store.keep_control("ab" * 32, b"one", "image/png")
    store.keep_control("cd" * 32, b"two", "image/jpeg")
    store.keep_control("ab" * 32, b"one", "image/png")
    assert store.kept_controls() == {"ab" * 32, "cd" * 32}
    assert store.read_kept_control("ab" * 32) == b"one"
    assert list(store.paths()) == []


def test_a_place_belongs_to_one_dataset(bucket: BucketStore, server: ObjectStore) -> None:
    """
    Two datasets of one manifest would take each other's images for theirs.
    """
    bucket.claim("one")
    bucket.claim("one")
    with pytest.raises(ConfigError, match=r"another dataset.*fluxbatch\.json"):
        bucket.claim("two")

    place = bucket.address.removeprefix("s3://").removesuffix("/images")
    assert list(server.contents(place)) == ["fluxbatch.json"]


def test_a_bucket_that_is_not_there_is_told_by_every_verb(
    bucket: BucketStore, tmp_path: Path
) -> None:
    """
    Never as images that are missing one by one.
    """
    gone = BucketStore("s3://nowhere/x", tmp_path, timeout_s=5.0)
    for verb in (
        lambda: gone.claim("one"),
        lambda: gone.open("images/x.png"),
        lambda: list(gone.paths()),
        lambda: gone.discard("x"),
    ):
        with pytest.raises(SinkError, match=r"'s3://nowhere/x': there is no such bucket"):
            verb()
    (kept,) = keep(gone, b"x")
    assert isinstance(kept, SinkError)
    assert "there is no such bucket: make it" in str(kept)


def test_credentials_that_do_not_allow_it_are_told_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """
    The rights that are needed are; the secret is nowhere.
    """
    with object_store({"INITIAL_NO_AUTH_ACTION_COUNT": "1"}) as strict:
        for name, value in strict.env.items():
            monkeypatch.setenv(name, value)
        strict.make("private")
        with pytest.raises(SinkError, match="credentials") as caught:
            BucketStore("s3://private", tmp_path, timeout_s=5.0).claim("one")
    assert "list, read, write and delete" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_store_that_is_gone_fails_what_it_should_keep(
    monkeypatch: pytest.MonkeyPatch, bucket: BucketStore, tmp_path: Path
) -> None:
    """
    Each of them, and without waiting for each: once one has failed, the others do.
    """
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    gone = BucketStore("s3://images-here/x", tmp_path, timeout_s=0.5)
    kept = keep(gone, *[b"x"] * 20)

    assert len(kept) == 20
    assert all("run again once it answers" in str(one) for one in kept)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_an_upload_that_is_cut_off_is_sent_again(odd: OddStore, tmp_path: Path) -> None:
    """
    Twice the connection ends in the middle; the third time it is kept.
    """
    odd.cuts = 2
    (kept,) = keep(BucketStore("s3://b", tmp_path, timeout_s=5.0), b"x" * 3_000_000)

    assert isinstance(kept, WrittenFile)
    assert odd.puts == 3
    assert [len(content) for content in odd.objects.values()] == [3_000_000]


def test_a_store_of_few_words_is_enough(odd: OddStore, tmp_path: Path) -> None:
    """
    To write, read and delete one object at a time is all that is asked of it.
    """
    store = BucketStore("s3://b/x", tmp_path, timeout_s=5.0)
    store.claim("one")
    store.claim("one")
    assert list(odd.objects) == ["/b/x/fluxbatch.json"]


def test_a_slow_store_is_waited_for(odd: OddStore, tmp_path: Path) -> None:
    """
    As long as one try may take, silence included.
    """
    odd.delay_s = 1.0
    (kept,) = keep(BucketStore("s3://b", tmp_path, timeout_s=10.0), b"x")
    assert isinstance(kept, WrittenFile)


def test_a_store_that_lost_a_byte_has_kept_nothing(odd: OddStore, tmp_path: Path) -> None:
    """
    It said 200; only what it has when asked counts.
    """
    odd.loses = 1
    (kept,) = keep(BucketStore("s3://b", tmp_path, timeout_s=5.0), b"image")
    assert isinstance(kept, SinkError)
    assert "'s3://b/images/ab/x-0.png' is not what was sent there" in str(kept)


def test_where_tags_are_not_of_the_content_it_is_read_back(odd: OddStore, tmp_path: Path) -> None:
    """
    As with a key of one's own on S3, and on every other kind of store.
    """
    odd.has_own_tags = True
    (kept,) = keep(BucketStore("s3://b", tmp_path, timeout_s=5.0), b"image")
    assert kept == WrittenFile("images/ab/x-0.png", sha256(b"image").hexdigest(), 5)
