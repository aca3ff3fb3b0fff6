"""The push of an export to the Hugging Face Hub: what changed, in commits that can be resumed.

Owns the order of it. What is there is compared by content first, so a push that was killed goes on
where it was: a file that has arrived is not sent again, and the card comes last. Nothing of others
is changed: a dataset that no push has made is refused, an edited card is kept, and only what
carries one of our names is removed. huggingface_hub, an extra, is imported here and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fluxbatch._version import __version__
from fluxbatch.errors import ConfigError, FluxbatchError
from fluxbatch.export.croissant import METADATA_NAME
from fluxbatch.export.dataset_card import NAME
from fluxbatch.infra.loopback import is_loopback

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.hf_api import RepoFile

_ABOUT = ".fluxbatch/export.json"
_OTHERS = {".gitattributes", ".gitignore", NAME, "LICENSE", "LICENSE.md", "LICENSE.txt"}
"""What a dataset may have before the first push."""
_COMMIT_FILES = 1_000
_COMMIT_BYTES = 4 << 30
_URL = re.compile(r"hf://datasets/([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)/?", re.ASCII)


class PushFailed(FluxbatchError):
    """The Hub refused, or could not be reached; run the push again."""


@dataclass(frozen=True, slots=True)
class ReadyExport:
    """An export on the disk, whole, on its way to the Hub."""

    root: Path
    format: str
    files: Mapping[str, str]
    """Their sha256 by their names below *root*."""
    patterns: tuple[str, ...]
    """The names of the format's shards, as globs."""
    images: int


@dataclass(slots=True)
class Pushed:
    """What a push did."""

    url: str
    uploaded: int = 0
    """Files."""
    bytes: int = 0
    unchanged: int = 0
    removed: int = 0
    commits: int = 0
    card_kept: bool = False
    """The card there was edited, so it stays."""


def dataset_of(url: str) -> str:
    """`OWNER/NAME` of `hf://datasets/OWNER/NAME`; raises `ConfigError` for anything else."""
    if (found := _URL.fullmatch(url)) is None:
        raise ConfigError(f"{url!r} is no dataset of the Hub; write hf://datasets/OWNER/NAME")
    return found[1]


def hub_token() -> str:
    """The user's token: of `HF_TOKEN`, else of `hf auth login`; raises `ConfigError` without."""
    _require_hub()
    from huggingface_hub import get_token

    if (token := get_token()) is None:
        raise ConfigError(
            "no token of the Hub: set HF_TOKEN to one that may write, or run:  hf auth login"
        )
    return token


def push_export(
    ready: ReadyExport,
    url: str,
    token: str,
    *,
    public: bool = False,
    replace_card: bool = False,
    tell: Callable[[str], None],
) -> Pushed:
    """Make the dataset at *url* have exactly the files of *ready*, and its card last.

    *public* is for a dataset that is made by this. Raises `ConfigError` where another's files are
    there or another format's, `PushFailed` where the Hub refuses or is not reached.
    """
    _require_hub()
    from huggingface_hub import HfApi, constants
    from huggingface_hub.utils.tqdm import disable_progress_bars

    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or constants.ENDPOINT
    if urlsplit(endpoint).scheme != "https" and not is_loopback(endpoint):
        raise ConfigError("HF_ENDPOINT is no https address: the token would be read on its way")
    disable_progress_bars()
    api = HfApi(endpoint, token, library_name="fluxbatch", library_version=__version__)
    name = dataset_of(url)
    with _explained(name):
        api.create_repo(name, repo_type="dataset", private=not public, exist_ok=True)
        push = _Push(api, name, ready, Pushed(f"{endpoint}/datasets/{name}"), tell)
        push.compare(replace_card=replace_card)
        push.upload()
    return push.done


class _Push:
    """One push, compared and then carried out."""

    def __init__(
        self, api: HfApi, name: str, ready: ReadyExport, done: Pushed, tell: Callable[[str], None]
    ) -> None:
        self._api = api
        self._name = name
        self._ready = ready
        self._tell = tell
        self._changed: list[str] = []
        self._gone: list[str] = []
        self._descriptions: list[str] = []
        """What describes all the other files."""
        self._about: dict[str, str] = {}
        self._sends_card = False
        self.done = done

    def compare(self, *, replace_card: bool) -> None:
        """Find out what differs there; raise `ConfigError` where it is not ours to change."""
        remote = self._remote()
        self._about = self._described() if _ABOUT in remote else {}
        self._refuse_others(remote)
        files = self._ready.files
        same = {name for name in files if name in remote and self._is_same(name, remote[name])}
        changed = sorted(name for name in files if name not in same and name != NAME)
        self._changed = [name for name in changed if name != METADATA_NAME]
        self._descriptions = [name for name in changed if name == METADATA_NAME]
        self._gone = sorted(
            path for path in remote if path not in files and _is_shard(path, self._ready.patterns)
        )
        card = remote.get(NAME)
        is_ours = card is None or card.blob_id == self._about.get(NAME)
        if NAME in files and NAME not in same:
            self._sends_card = is_ours or replace_card or self._has_no_words(card)
            self.done.card_kept = not self._sends_card
        self.done.unchanged = len(same)

    def upload(self) -> None:
        """Commit after commit; the last one has the card, what else describes it, and what is to
        go."""
        about = {"format": self._ready.format, **self._about}
        batches = list(self._batches())
        for number, batch in enumerate(batches, 1):
            operations: list[Any] = [self._add(name) for name in batch]
            if about != self._about:  # from the first commit on it is ours
                operations.append(_bytes_to(_ABOUT, about))
                self._about = dict(about)
            self._commit(operations, f"Add {len(batch):,} files ({number} of {len(batches)})")
            self._tell(f"{self.done.uploaded:,} of {len(self._changed):,} files are there")
        last: list[Any] = [_removal(path) for path in self._gone]
        last += [self._add(name) for name in self._descriptions]
        if self._sends_card:
            last.append(self._add(NAME))
            about[NAME] = _git_hash((self._ready.root / NAME).read_bytes())
        if about != self._about:
            last.append(_bytes_to(_ABOUT, about))
        if last:
            self._commit(last, f"{self._ready.images:,} images by fluxbatch {__version__}")
        self.done.removed = len(self._gone)

    def _remote(self) -> dict[str, RepoFile]:
        from huggingface_hub.hf_api import RepoFile

        tree = self._api.list_repo_tree(self._name, recursive=True, repo_type="dataset")
        return {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}

    def _described(self) -> dict[str, str]:
        """What the last push has written of itself."""
        with TemporaryDirectory() as folder:
            path = self._api.hf_hub_download(
                self._name, _ABOUT, repo_type="dataset", cache_dir=folder
            )
            about = json.loads(Path(path).read_bytes())
        return about if isinstance(about, dict) else {}

    def _refuse_others(self, remote: Mapping[str, RepoFile]) -> None:
        before = self._about.get("format")
        others = sorted(path for path in remote if path not in _OTHERS)
        if before is None and others:
            raise ConfigError(
                f"{self._name!r} has files that no push has made ({others[0]!r}); name another"
                " dataset, or one that is empty"
            )
        if before not in (None, self._ready.format):
            raise ConfigError(
                f"{self._name!r} was pushed as {before}; push it so again (--format {before}), or"
                " name another dataset"
            )

    def _is_same(self, name: str, there: RepoFile) -> bool:
        if there.lfs is not None:
            return bool(there.lfs.sha256 == self._ready.files[name])
        path = self._ready.root / name
        return there.size == path.stat().st_size and there.blob_id == _git_hash(path.read_bytes())

    def _has_no_words(self, card: RepoFile | None) -> bool:
        """Whether a card that is not ours is the empty one of a new dataset."""
        return card is not None and card.size < 64 and not self._about

    def _batches(self) -> Iterator[Sequence[str]]:
        batch: list[str] = []
        size = 0
        for name in self._changed:
            batch.append(name)
            size += (self._ready.root / name).stat().st_size
            if len(batch) >= _COMMIT_FILES or size >= _COMMIT_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _add(self, name: str) -> CommitOperationAdd:
        from huggingface_hub import CommitOperationAdd

        path = self._ready.root / name
        operation = CommitOperationAdd(name, path)
        operation.upload_info.sha256 = bytes.fromhex(self._ready.files[name])
        self.done.bytes += path.stat().st_size
        return operation

    def _commit(self, operations: list[Any], message: str) -> None:
        self._api.create_commit(self._name, operations, commit_message=message, repo_type="dataset")
        self.done.commits += 1
        self.done.uploaded += sum(one.path_in_repo in self._ready.files for one in operations)


def _bytes_to(path: str, content: Mapping[str, str]) -> CommitOperationAdd:
    from huggingface_hub import CommitOperationAdd

    return CommitOperationAdd(path, (json.dumps(content, sort_keys=True) + "\n").encode())


def _removal(path: str) -> CommitOperationDelete:
    from huggingface_hub import CommitOperationDelete

    return CommitOperationDelete(path, is_folder=False)


def _is_shard(path: str, patterns: Sequence[str]) -> bool:
    """Whether a file carries the name of a shard, or lies in a folder that does."""
    parts = PurePosixPath(path).parts
    return any(
        PurePosixPath(*parts[:depth]).match(pattern)
        for pattern in patterns
        if len(parts) >= (depth := pattern.count("/") + 1)
    )


def _git_hash(content: bytes) -> str:
    """As git names a blob."""
    head = f"blob {len(content)}\0".encode()
    return hashlib.sha1(head + content, usedforsecurity=False).hexdigest()


def _require_hub() -> None:
    try:
        import huggingface_hub  # noqa: F401  # whether it can be imported is the question
    except ImportError:
        raise ConfigError(
            "a push needs huggingface_hub: pip install 'fluxbatch-engine[hub]'"
        ) from None


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Errors of the client as one of ours, with what to do."""
    from httpx2 import HTTPError
    from huggingface_hub.errors import HfHubHTTPError

    again = "what is there stays, run the same command to go on"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the client's own affair
            yield
    except FluxbatchError:
        raise
    except HfHubHTTPError as exc:
        status = exc.response.status_code
        if status in (401, 403):
            raise PushFailed(
                f"the Hub lets nobody write to {name!r} with this token ({status}); use another"
            ) from exc
        said = exc.server_message or str(exc).partition("\n")[0]
        raise PushFailed(f"the Hub refused a push to {name!r} ({status}): {said}; {again}") from exc
    except (HTTPError, OSError, RuntimeError, ValueError) as exc:
        cause = exc.__cause__ or exc
        raise PushFailed(
            f"cannot push to {name!r}: {type(cause).__name__}: {cause}; {again}"
        ) from exc
