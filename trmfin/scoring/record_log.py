"""A file of records, one after the other, each on the disk before the next step is taken. It ends where the last whole record does.

A record is 8 bytes of length, 16 bytes of hash, and a body that is an Arrow IPC file. What a kill or a full disk leaves of one is
cut off; a record that was altered is told and left as it is, since those behind it have been answered.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trmfin.data.files import changing, reading, sync_folder
from trmfin.errors import RunError

LENGTH, DIGEST = 8, 16  # bytes of a record's head
HEAD = LENGTH + DIGEST
MAGIC = b"ARROW1"  # with which each body begins
NOT_WRITTEN = "cannot be written", "free some space and send these events again, they were not taken in"  # failure and advice
NOT_CUT = "cannot be cut off behind its last whole record", "free some space and open the stream again"


@dataclass(kw_only=True)
class RecordLog:
    """For one process at a time. `records` first: it finds where the file ends."""

    path: Path
    size: int = 0  # bytes of whole records
    listed: bool = False  # whether its folder is known to name it on the disk
    torn: bool = False  # whether bytes of no record lie behind these, which could not be cut off

    def append(self, body: bytes) -> None:
        """Write one record, flushed to the disk. Raises RunError where it cannot be; the file then ends where it did before."""
        if self.torn:
            raise RunError(
                f"{self.path}: holds half a record from byte {self.size} on, which could not be cut off, so that nothing is written behind "
                "it; free some space and open the stream again"
            )
        record = len(body).to_bytes(LENGTH, "little") + _digest(body) + body
        try:
            with changing(self.path, *NOT_WRITTEN):
                with self.path.open("ab") as file:
                    file.write(record)
                    file.flush()
                    os.fsync(file.fileno())
                if not self.listed:
                    sync_folder(self.path.parent)
        except BaseException:
            self._cut(quietly=True)
            raise
        self.listed, self.size = True, self.size + len(record)

    def records(self) -> Iterator[bytes]:
        """The bodies of all whole records; then what was torn is cut off.

        Raises RunError at a record that was altered while others follow it; nothing is cut off then.
        """
        with reading(self.path, RunError):
            data = self.path.read_bytes() if self.path.exists() else b""
        self.size = 0
        while (body := _record(data, self.size)) is not None:
            yield body
            self.size += HEAD + len(body)
        if _is_altered(data, self.size):
            raise RunError(
                f"{self.path}: the record at byte {self.size} is not what its hash says, and more than a kill leaves stands in the "
                f"{len(data) - self.size} bytes from there on, so it was altered; the file is left as it is: put a copy of it back, or "
                "take all events in again in another folder"
            )
        if self.size < len(data):
            self._cut(quietly=False)

    def _cut(self, quietly: bool) -> None:
        """Cut off what lies behind the last whole record. quietly: where that fails, nothing is raised, but no more is written."""
        self.torn = True
        try:
            with changing(self.path, *NOT_CUT):
                if self.path.exists():
                    os.truncate(self.path, self.size)
                    with self.path.open("rb+") as file:
                        os.fsync(file.fileno())
        except RunError:
            if quietly:
                return
            raise
        self.torn = False


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=DIGEST).digest()


def _end(data: bytes, place: int) -> int:
    """Where the record at this place ends, by its length."""
    return place + HEAD + int.from_bytes(data[place : place + LENGTH], "little")


def _record(data: bytes, place: int) -> bytes | None:
    """The body of the record at this place, None where there is none, or it is torn or altered."""
    end = _end(data, place)
    if place + HEAD > len(data) or end > len(data):
        return None
    body = data[place + HEAD : end]
    return body if _digest(body) == data[place + LENGTH : place + HEAD] else None


def _is_altered(data: bytes, place: int) -> bool:
    """Whether what is no record at this place is more than one that was being written: bytes follow it, or a whole record does.

    A power cut may leave a length of zeros.
    """
    if place + HEAD > len(data) or data.count(0, place) == len(data) - place:
        return False
    if _end(data, place) < len(data):
        return True
    found = data.find(MAGIC, place + HEAD + 1)
    while found >= 0:
        if found - HEAD > place and _record(data, found - HEAD) is not None:
            return True
        found = data.find(MAGIC, found + 1)
    return False
