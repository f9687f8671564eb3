"""Canonical forms: two puzzles, or two solution grids, are the same up to a board's symmetries if and only if their keys are equal.

A grid's form is the least, cell by cell in reading order, of all its looks. With the first row relabelled to 1 … n, the second is
a permutation, which an arrangement of columns conjugates. A table holds each permutation's least conjugate and the few
arrangements that reach it, so only looks that share the least second row are ever written out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from trmfin.errors import DataError
from trmfin.puzzles.board import Board, Int
from trmfin.puzzles.puzzles import Grids

Keys = NDArray[np.bytes_]
AT_ONCE = 2048  # grids worked on together


@dataclass(frozen=True, kw_only=True, eq=False)
class Conjugates:
    """The P permutations that can be a second row, in lexicographic order, and how columns turn each into its least conjugate."""

    codes: Int  # (P,) ascending: the permutation's digits in base n
    rank: Int  # (P,) place of its least conjugate among the P
    first: Int  # (P,) its arrangements are columns[first : first + count]
    count: Int  # (P,)
    columns: Int  # (·, n) for each column of the new grid the old one


def canonical(board: Board, questions: Grids, answers: Grids) -> tuple[Keys, Keys]:
    """(N,) keys of puzzles and (N,) keys of their solution grids: the digits of the canonical forms as bytes, 0 = blank.

    questions, answers: (N, cells); answers are the puzzles' solutions. Raises DataError on a grid that is no solution grid.
    """
    questions, answers = board.checked(questions, "questions"), board.checked(answers, "answers")
    _check_solutions(board, answers)
    parts = [slice(start, start + AT_ONCE) for start in range(0, len(answers), AT_ONCE)]
    found = [_canonical(board, questions[part], answers[part]) for part in parts]
    nothing = np.zeros(0, f"S{board.cells}")
    return np.concatenate([nothing, *(puzzle for puzzle, _ in found)]), np.concatenate([nothing, *(grid for _, grid in found)])


def _canonical(board: Board, questions: Grids, answers: Grids) -> tuple[Keys, Keys]:
    """As `canonical`, for a few grids. C looks are written out, at least one a grid, in the order of the grids."""
    owner, source = _looks(board, answers)  # (C,), (C, cells)
    seen = np.take_along_axis(answers[owner], source, axis=1)
    label = np.zeros((len(owner), board.size + 1), np.int8)
    np.put_along_axis(label, seen[:, : board.size], np.arange(1, board.size + 1, dtype=np.int8)[None], axis=1)
    forms = np.take_along_axis(label, seen, axis=1)
    least = _least(forms, owner)
    forms, owner, source = forms[least], owner[least], source[least]  # ties are the grid's automorphisms
    puzzles = np.where(np.take_along_axis(questions[owner], source, axis=1) > 0, forms, 0).astype(np.int8)
    best = _least(puzzles, owner)
    _, one = np.unique(owner[best], return_index=True)  # equal ones are left over where a puzzle has automorphisms
    return _keys(puzzles[best][one]), _keys(forms[best][one])


def _looks(board: Board, answers: Grids) -> tuple[Int, Int]:
    """The looks with the least second row: (C,) whose, and (C, cells) from which cells; all but the digits' names."""
    n, table = board.size, conjugates(board)
    cells = np.arange(board.cells).reshape(n, n)
    turns = np.stack([cells, cells.T] if board.square else [cells])  # (T, n, n) from which cells
    pairs = np.array([(b * board.box_rows + i, b * board.box_rows + j) for b in range(board.bands) for i, j in _pairs(board.box_rows)])
    grids = answers[:, turns]  # (N, T, n, n)
    place = np.argsort(grids, axis=3)  # (N, T, n, n) the column in which a row holds each digit
    second = np.take_along_axis(place[:, :, pairs[:, 0]], grids[:, :, pairs[:, 1]].astype(np.int64) - 1, axis=3)  # (N, T, pairs, n)
    which = np.searchsorted(table.codes, second @ _weights(n)).reshape(len(answers), -1)  # (N, T · pairs)
    rank = table.rank[which]
    owner, pick = np.nonzero(rank == rank.min(axis=1, keepdims=True))
    found = which[owner, pick]
    count = table.count[found]
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    columns = table.columns[np.repeat(table.first[found], count) + within]  # (C, n)
    owner, pick = np.repeat(owner, count), np.repeat(pick, count)
    turn, (upper, lower) = pick // len(pairs), pairs[pick % len(pairs)].T
    rows = _rows(board, grids[owner, turn, :, columns[:, 0]], upper, lower, columns, grids[owner, turn, upper])
    return owner, turns[turn[:, None, None], rows[:, :, None], columns[:, None, :]].reshape(len(owner), -1)


def _rows(board: Board, left: Grids, upper: Int, lower: Int, columns: Int, top: Grids) -> Int:
    """(C, n) the order of rows that makes a look least, once its first two rows and its columns are chosen.

    left: (C, n) the first column's digits, row by row; upper, lower: (C,) the first two rows; top: (C, n) the first row's digits.
    """
    order = np.arange(len(left))
    label = np.argsort(np.take_along_axis(top, columns, axis=1), axis=1)  # (C, n) what digit d + 1 is called, less 1
    value = np.take_along_axis(label, left.astype(np.int64) - 1, axis=1)
    value[order, upper], value[order, lower] = -1, 0  # first and second: in other rows the first column holds 1 … n - 1
    band = np.repeat(value.reshape(len(left), board.bands, -1).min(axis=2), board.box_rows, axis=1)
    return np.argsort(band * 2 * board.size + value, axis=1)


def _least(forms: Grids, owner: Int) -> Int:
    """Which rows of forms (C, ·) are the least, in lexicographic order, of their owner's; owner ascends and has no gap."""
    words = np.pad(forms, ((0, 0), (0, -forms.shape[1] % 8))).view(">u8").astype(np.uint64)
    kept = np.arange(len(owner))
    for column in range(words.shape[1]):
        group, word = owner[kept], words[kept, column]
        starts = np.flatnonzero(np.diff(group, prepend=-1))
        kept = kept[word == np.minimum.reduceat(word, starts)[group]]
    return kept


def _keys(forms: Grids) -> Keys:
    return np.ascontiguousarray(forms + np.int8(ord("0"))).view(f"S{forms.shape[1]}")[:, 0]


def _check_solutions(board: Board, answers: Grids) -> None:
    units = np.sort(answers[:, board.units], axis=2)
    if (bad := np.flatnonzero((units != np.arange(1, board.size + 1)).any(axis=(1, 2)))).size:
        raise DataError(
            f"canonical form: {bad.size} of {len(answers)} answers are no solution grids, first answer {bad[0]}; solve them first"
        )


@cache
def conjugates(board: Board) -> Conjugates:
    """The board's table, made once."""
    n = board.size
    perms, columns = _second_rows(board), _arrangements(board)
    codes = perms @ _weights(n)
    rank = np.full(len(perms), -1)
    members, arrangements = [], []
    for least, perm in enumerate(perms):
        if rank[least] < 0:  # the first of its class in lexicographic order
            conjugate = np.empty_like(columns)
            np.put_along_axis(conjugate, columns, columns[:, perm], axis=1)  # these columns take it back to the least
            found = np.searchsorted(codes, conjugate @ _weights(n))
            rank[found] = least
            members.append(found)
            arrangements.append(columns)
    member = np.concatenate(members)
    count = np.bincount(member)
    return Conjugates(
        codes=codes,
        rank=rank,
        first=np.cumsum(count) - count,
        count=count,
        columns=np.concatenate(arrangements)[np.argsort(member, kind="stable")],
    )


def _second_rows(board: Board) -> Int:
    """(P, n) permutations of the columns, in lexicographic order, that leave no column in its own stack."""
    perms = np.zeros((1, 0), np.int64)
    for column in range(board.size):
        longer = np.repeat(perms, board.size, axis=0)
        value = np.tile(np.arange(board.size), len(perms))
        fits = (longer != value[:, None]).all(axis=1) & (value // board.box_columns != column // board.box_columns)
        perms = np.column_stack([longer, value])[fits]
    return perms


def _arrangements(board: Board) -> Int:
    """(A, n) orders of columns that keep stacks together."""
    inside = list(permutations(range(board.box_columns)))
    chosen = product(permutations(range(board.stacks)), product(inside, repeat=board.stacks))
    return np.array([[s * board.box_columns + c for s, part in zip(stacks, parts, strict=True) for c in part] for stacks, parts in chosen])


def _pairs(count: int) -> list[tuple[int, int]]:
    return list(permutations(range(count), 2))


def _weights(n: int) -> Int:
    return np.asarray(n ** np.arange(n - 1, -1, -1, dtype=np.int64))
