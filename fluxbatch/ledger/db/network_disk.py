"""The check of a ledger's disk: file locks and fsync must work there."""

from __future__ import annotations

import os
import re
from pathlib import Path

from fluxbatch.errors import LedgerError

_NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ncpfs", "9p", "fuse.sshfs", "fuse.s3fs",
     "fuse.rclone", "fuse.gcsfuse", "ceph", "glusterfs", "fuse.glusterfs", "lustre"}
)  # fmt: skip


def refuse_network_disk(folder: Path) -> None:
    """Raise `LedgerError` where file locks and fsync cannot be trusted."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return  # only Linux shows it
    kind = file_system_of(os.path.realpath(folder), mounts)
    if is_network(kind):
        raise LedgerError(
            f"{str(folder)!r} lies on a network file system ({kind}), where a ledger is not safe;"
            " choose a local disk"
        )


def is_network(kind: str) -> bool:
    return kind in _NETWORK_FILE_SYSTEMS


def file_system_of(place: str, mounts: str) -> str:
    """The type of the file system that holds *place*; *mounts* is the text of `mountinfo`.

    Empty where it does not say. Of two mounts on one point the later covers the earlier.
    """
    best, kind = "", ""
    for line in mounts.splitlines():
        left, found, right = line.partition(" - ")
        fields = left.split(" ")
        if not found or len(fields) < 5:
            continue
        point = _unescaped(fields[4])
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, right.split(" ")[0]
    return kind


def _unescaped(point: str) -> str:
    """The kernel writes blank, tab, newline and backslash as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), point)
