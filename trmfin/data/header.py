"""Names of columns: which of a pipeline's tables a file is, and which of its columns is which.

A name in a file counts as the schema's when they agree but for case, blanks and dots, or when the pipeline's ALIASES says so.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping

import dataframely as dy

from trmfin.data.convert import quoted
from trmfin.data.files import RawTable
from trmfin.errors import DataError

CLOSE = 0.7  # share of letters in common (difflib) from which a name is offered as the meant one
SURE = 0.85  # the share from which a missing optional column is taken for misspelt
NAMED = 6  # column names that a message lists


def matches(raw: RawTable, schemas: Mapping[str, type[dy.Schema]], aliases: Mapping[str, str]) -> str:
    """The name of the schema whose columns `raw` has; where several fit, the one with the most columns.

    Raises DataError that names the closest schema, the columns it misses and close spellings.
    """
    header = [name for name in raw.frame.columns if name != "line"]
    fits: dict[str, int] = {}
    misses: dict[str, list[str]] = {}
    for name, schema in schemas.items():
        known = _known(schema, aliases)
        present = {known(column) for column in header} & set(schema.column_names())
        misses[name] = [column for column in schema.column_names() if column not in present and not _optional(schema, column)]
        if not misses[name]:
            fits[name] = len(present)
    if fits:
        best = [name for name, columns in fits.items() if columns == max(fits.values())]
        if len(best) > 1:
            raise DataError(f"{raw.path}: fits the tables {' and '.join(best)} equally well; the pipeline must tell them apart by a column")
        return best[0]
    closest = min(schemas, key=lambda name: (len(misses[name]) / len(schemas[name].column_names()), name))
    raise DataError(
        f"{raw.path}: fits no table of the pipeline ({', '.join(schemas)}); the closest is {closest!r}, "
        f"of which it misses {_listed(misses[closest])}{_spellings(header, misses[closest], _known(schemas[closest], aliases))}"
    )


def _known(schema: type[dy.Schema], aliases: Mapping[str, str]) -> Callable[[str], str]:
    """A function from a name in a file to the schema's name for it, or to itself where the schema has none."""
    columns = schema.column_names()
    folded = {_folded(column): column for column in columns}
    folded |= {_folded(other): column for other, column in aliases.items() if column in columns and _folded(other) not in folded}
    return lambda name: name if name in columns else folded.get(_folded(name), name)


def _folded(name: str) -> str:
    return re.sub(r"[\s.]+", "_", name.strip()).casefold()


def _optional(schema: type[dy.Schema], column: str) -> bool:
    definition = schema.columns()[column]
    return bool(definition.nullable and (definition.metadata or {}).get("optional"))


def sources(raw: RawTable, schema: type[dy.Schema], aliases: Mapping[str, str]) -> dict[str, str]:
    """Column of the schema → its name in the file; optional columns that the file has not are left out.

    Raises DataError where a column is missing, given twice, or optional and misspelt.
    """
    known = _known(schema, aliases)
    found: dict[str, str] = {}
    header = [name for name in raw.frame.columns if name != "line"]
    for name in header:
        if (column := known(name)) in schema.column_names():
            if column in found:
                raise DataError(f"{raw.path}: columns {quoted(found[column])} and {quoted(name)} both mean {column!r}; keep one of them")
            found[column] = name
    absent = [column for column in schema.column_names() if column not in found]
    if missing := [column for column in absent if not _optional(schema, column)]:
        raise DataError(f"{raw.path}: misses {_listed(missing)}{_spellings(header, missing, known)}")
    spare = {_folded(name): name for name in header if name not in found.values()}
    for column in absent:
        if near := difflib.get_close_matches(_folded(column), spare, n=1, cutoff=SURE):
            raise DataError(
                f"{raw.path}: found {quoted(spare[near[0]])} where the optional column {column!r} is missing; rename or drop it"
            )
    return {column: found[column] for column in schema.column_names() if column in found}


def _listed(columns: list[str]) -> str:
    return ", ".join(map(quoted, columns[:NAMED])) + (f" and {len(columns) - NAMED} more" if len(columns) > NAMED else "")


def _spellings(header: list[str], missing: list[str], known: Callable[[str], str]) -> str:
    """'; found 'PAY0', expected 'PAY_0'' for names that are nearly right."""
    spare = {_folded(name): name for name in header if known(name) == name}
    near = ((difflib.get_close_matches(_folded(column), spare, n=1, cutoff=CLOSE), column) for column in missing)
    pairs = [f"found {quoted(spare[close[0]])}, expected {column!r}" for close, column in near if close]
    return "; " + "; ".join(pairs[:NAMED]) if pairs else f"; it has {_listed(header)}"
