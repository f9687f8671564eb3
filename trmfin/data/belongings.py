"""Whose files lie in a folder that is to be written to: a command removes and replaces only what a command of ours wrote."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

from trmfin.data.files import reading
from trmfin.errors import RunError

PART = re.compile(r"\.(.+)\.\d+\.part")  # how `replacing` calls a file until it is whole


def own_names(folder: Path, ours: tuple[str, ...], what: str) -> frozenset[str]:
    """The names in a folder, half-written files included; none where there is no folder.

    ours: names or patterns (`member-*.safetensors`) that may be there. what: what they are of, such as "a bundle".
    Raises RunError where `folder` is a file, cannot be read, or holds anything else.
    """
    with reading(folder, RunError):
        if not folder.exists():
            return frozenset()
        if not folder.is_dir():
            raise RunError(f"{folder}: is a file, expected a folder to write to; choose another --out")
        found = {path.name for path in folder.iterdir()}
    whole = {name: part[1] if (part := PART.fullmatch(name)) else name for name in found}
    if strange := sorted(name for name in found if not any(fnmatchcase(whole[name], own) for own in ours)):
        raise RunError(f"{folder}: holds {strange[0]!r}, which is no part of {what}; choose a new or empty folder for --out")
    return frozenset(found)
