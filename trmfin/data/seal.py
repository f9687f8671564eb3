"""A manifest's own hash, kept inside it, so that a changed byte of the manifest is found like one of any other file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from trmfin.data.files import json_bytes


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with its `seal`."""
    return {**manifest, "seal": _seal(manifest)}


def is_sealed(manifest: Mapping[str, Any]) -> bool:
    """Whether the manifest says what it said when it was sealed."""
    return manifest.get("seal") == _seal(manifest)


def _seal(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json_bytes({key: value for key, value in manifest.items() if key != "seal"})).hexdigest()
