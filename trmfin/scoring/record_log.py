"""A file of records, one after the other, each on the disk before the next step is taken. It ends where the last whole record does.

A record is 8 bytes that tell where one begins, 8 bytes of length, 16 bytes of hash, and a body. What a kill or a full disk leaves of
one is cut off; a record that was altered is told and left as it is, since those behind it have been answered.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from trmfin.data.files import changing, reading, sync_folder
from trmfin.errors import RunError

MARK = b"\xfftrmfin\n"  # with which each record begins
LENGTH, DIGEST = 8, 16  # bytes behind it
HEAD = len(MARK) + LENGTH + DIGEST
CHUNK = 1 << 20  # bytes searched at a time
NOT_BEGUN = "cannot be made", "free some space, or check the folder's permissions"  # failure and advice
NOT_WRITTEN = "cannot be written", "free some space and send these events again, they were not taken in"
NOT_CUT = "cannot be cut off behind its last whole record", "free some space and open the stream again"


@dataclass(kw_only=True)
class RecordLog:
    """For one process at a time. `begin` or `records` first: the one makes the file, the other finds where it ends."""

    path: Path
    size: int = 0  # bytes of whole records
    torn: bool = False  # whether bytes of no record may lie behind these, which could not be cut off

    def begin(self) -> None:
        """Make the file where it is missing; the disk then names it. Raises RunError where it cannot be made."""
        with changing(self.path, *NOT_BEGUN):
            with self.path.open("ab") as file:
                os.fsync(file.fileno())
            sync_folder(self.path.parent)

    def append(self, body: bytes) -> None:
        """Write one record, flushed to the disk. Raises RunError where it cannot be; the file then ends where it did before."""
        if self.torn:
            raise RunError(
                f"{self.path}: holds half a record from byte {self.size} on, which could not be cut off, so that nothing is written behind "
                "it; free some space and open the stream again"
            )
        record = MARK + len(body).to_bytes(LENGTH, "little") + _digest(body) + body
        self.torn = True
        try:
            with changing(self.path, *NOT_WRITTEN), self.path.open("ab") as file:
                file.write(record)
                file.flush()
                os.fsync(file.fileno())
        except RunError:
            self.cut(quietly=True)
            raise
        self.size += len(record)
        self.torn = False

    def records(self, last: bool = True) -> Iterator[bytes]:
        """The bodies of all whole records, read as they are asked for; then what was torn is cut off.

        last: whether no other log was begun after this one; nothing can be torn where one was. Raises RunError at a record that was
        altered while others follow it; nothing is cut off then.
        """
        self.size = 0
        with reading(self.path, RunError), self.path.open("rb") as file:
            total = os.fstat(file.fileno()).st_size
            while (body := _record(file, self.size, total)) is not None:
                yield body
                self.size += HEAD + len(body)
            left = total - self.size
            if left and not last:
                raise self._altered(f"{left} bytes stand from there on though another log was begun after it")
            if _is_altered(file, self.size, total):
                raise self._altered(f"more than a kill leaves stands in the {left} bytes from there on")
        if left:
            self.cut()

    def _altered(self, why: str) -> RunError:
        return RunError(
            f"{self.path}: the record at byte {self.size} is not what its hash says, and {why}, so it was altered; the file is left as it "
            "is: put a copy of it back, or take all events in again in another folder"
        )

    def cut(self, quietly: bool = False) -> None:
        """Cut off what lies behind the last whole record. quietly: where that fails, nothing is raised, but no more is written."""
        self.torn = True
        try:
            with changing(self.path, *NOT_CUT):
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


def _length(head: bytes) -> int:
    """Of the body behind this head."""
    return int.from_bytes(head[len(MARK) : len(MARK) + LENGTH], "little")


def _record(file: BinaryIO, place: int, total: int) -> bytes | None:
    """The body of the record at this place of a file of `total` bytes, None where there is none, or it is torn or altered."""
    file.seek(place)
    head = file.read(HEAD)
    if len(head) < HEAD or not head.startswith(MARK) or place + HEAD + _length(head) > total:
        return None
    body = file.read(_length(head))
    return body if _digest(body) == head[-DIGEST:] else None


def _is_altered(file: BinaryIO, place: int, total: int) -> bool:
    """Whether what is no record at this place is more than one that was being written: bytes follow it, or a whole record does.

    A power cut may leave a length of zeros.
    """
    if place + HEAD > total or not any(chunk.strip(b"\0") for _, chunk in _chunks(file, place)):
        return False
    file.seek(place)
    if place + HEAD + _length(file.read(HEAD)) < total:
        return True
    return any(_record(file, mark, total) is not None for mark in _marks(file, place + 1))


def _chunks(file: BinaryIO, place: int) -> Iterator[tuple[int, bytes]]:
    """The bytes from a place on, a part at a time, each with where it begins. The file may be read elsewhere meanwhile."""
    while True:
        file.seek(place)
        if not (chunk := file.read(CHUNK)):
            return
        yield place, chunk
        place += len(chunk)


def _marks(file: BinaryIO, place: int) -> Iterator[int]:
    """Where, from a place on, a record may begin."""
    before = b""
    for start, chunk in _chunks(file, place):
        both = before + chunk
        found = both.find(MARK)
        while found >= 0:
            yield start - len(before) + found
            found = both.find(MARK, found + 1)
        before = both[1 - len(MARK) :]
