"""Splits: which samples train and which test. With time, training ends before testing begins, labels included."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trmfin.errors import DataError
from trmfin.sequences.transforms import DAY, NEVER

if TYPE_CHECKING:
    from trmfin.sequences.protocol import Protocol
    from trmfin.sequences.sequences import Sequences

Int = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Split:
    """Rows of Sequences, ascending; no row is in both."""

    train: Int
    test: Int


def stratified_folds(y: NDArray[np.float32], folds: int, seed: int, *, as_of: Int, across_time: bool = False) -> tuple[Split, ...]:
    """Folds with equal shares of each class, the same as scikit-learn's StratifiedKFold(folds, shuffle=True, random_state=seed).

    y: (N,) classes as numbers, NaN = unknown: such rows are in no fold. as_of: (N,); several times are refused, because a
    random split of time-ordered data tells training what came later, unless across_time asks for it.
    Raises DataError on several times, on fewer than 2 folds, and on a class with fewer rows than folds.
    """
    if not across_time and (times := np.unique(as_of)).size > 1:
        raise DataError(
            f"stratified folds: samples have {times.size} different as_of; a random split would tell training what came later: "
            "use walk_forward, or ask for across_time explicitly"
        )
    rows = np.flatnonzero(~np.isnan(y))
    classes, first, inverse, counts = np.unique(y[rows], return_index=True, return_inverse=True, return_counts=True)
    if folds < 2 or not len(rows) or counts.min() < folds:
        found = ", ".join(f"{count} of class {value:g}" for value, count in zip(classes, counts, strict=True))
        raise DataError(
            f"stratified folds: {folds} folds of {found or 'no labelled rows'}; expected at least 2 folds, and as many rows of each class"
        )
    label = np.argsort(np.argsort(first))[inverse]  # classes in order of appearance, as scikit-learn numbers them
    ordered = np.sort(label)
    random = np.random.RandomState(seed)
    fold = np.empty(len(rows), np.int64)
    for value in range(len(classes)):
        sizes = [np.count_nonzero(ordered[k::folds] == value) for k in range(folds)]
        dealt = np.repeat(np.arange(folds), sizes)
        random.shuffle(dealt)
        fold[label == value] = dealt
    return tuple(Split(train=rows[fold != k], test=rows[fold == k]) for k in range(folds))


def walk_forward(
    as_of: Int,
    known_at: Int,
    group: NDArray[np.int32] | None = None,
    *,
    starts: Int,
    test_span: int,
    train_span: int | None = None,
    purge: int = 0,
    embargo: int = 0,
    delay: int = 0,
) -> tuple[Split, ...]:
    """One split for each start t: test on as_of in [t, t + test_span), train on what was known before t. All in microseconds.

    as_of, known_at: (N,) of the samples and of their targets; a target known at NEVER puts its row in neither part. What trains, and
    what the spans, the purge, the embargo and the delay do, says `trainable`. group: where given, training rows of groups that are
    tested are left out. Raises DataError where a split has no training or no test row.
    """
    splits = []
    for start in np.asarray(starts, np.int64):
        test = (known_at != NEVER) & (as_of >= start) & (as_of < start + test_span)
        train = trainable(as_of, known_at, start=start, train_span=train_span, purge=purge, embargo=embargo, delay=delay)
        if group is not None:
            train &= ~np.isin(group, group[test])
        if not (train.any() and test.any()):
            raise DataError(
                f"walk forward from {np.datetime64(int(start), 'us')}Z: {train.sum()} training and {test.sum()} test rows with known "
                f"targets; expected at least one of each. {_labelled(as_of, known_at)}; choose another first day among them, or other spans"
            )
        splits.append(Split(train=np.flatnonzero(train), test=np.flatnonzero(test)))
    return tuple(splits)


def trainable(
    as_of: Int, known_at: Int, *, start: int, train_span: int | None = None, purge: int = 0, embargo: int = 0, delay: int = 0
) -> NDArray[np.bool_]:
    """(N,) which rows may teach a model that is made at `start`: the interval from their as_of to their label lies before it:

        as_of in [start - train_span, start - embargo), and max(known_at, as_of + delay) + purge < start.

    delay: the least time a label takes, where the file's known_at is too kind. purge: room between the last label and `start`.
    embargo: room between the last as_of and `start`. All in microseconds.
    """
    labelled = known_at != NEVER
    label_known = np.maximum(np.where(labelled, known_at, 0), as_of + delay) + purge
    before = np.asarray(labelled & (as_of < start - embargo) & (label_known < start))
    return before if train_span is None else before & (as_of >= start - train_span)


def not_known_bad(test: Int, bad: NDArray[np.bool_], *, as_of: Int, known_at: Int, group: NDArray[np.int32], since: int) -> Int:
    """The test rows whose group had no bad answer, of a sample from `since` on, that was known before the row's day (UTC) began.

    test: rows; bad: (N,) whether a sample's answer is the bad one; as_of, known_at: (N,) microseconds; group: (N,) codes.
    """
    counted = np.flatnonzero(bad & (as_of >= since))
    first = np.full(int(group.max(initial=-1)) + 1, NEVER)
    np.minimum.at(first, group[counted], known_at[counted])
    return test[first[group[test]] >= as_of[test] // DAY * DAY]


def protocol_splits(sequences: Sequences, protocol: Protocol) -> tuple[Split, ...]:
    """The splits a protocol asks for, by the task's primary target. Days are whole UTC days.

    Raises DataError as the two kinds do, where all test rows are of groups known to be bad, and where folds are asked for by
    a target that is not one number a sample.
    """
    primary = sequences.task.primary
    if protocol.kind == "stratified":
        y = sequences.targets.values[primary]
        if y.ndim != 1:
            raise DataError(f"stratified folds: target {primary!r} has shape {y.shape}; expected one class a sample")
        return stratified_folds(y, protocol.folds, protocol.seed, as_of=sequences.as_of, across_time=protocol.across_time)
    train_span, purge, embargo, delay = _room(protocol)
    splits = walk_forward(
        sequences.as_of,
        sequences.targets.known_at[primary],
        sequences.group if protocol.new_groups else None,
        starts=protocol.starts,
        test_span=protocol.test_days * DAY,
        train_span=train_span,
        purge=purge,
        embargo=embargo,
        delay=delay,
    )
    tests = _without_known_bad(sequences, protocol, tuple(split.test for split in splits))
    return tuple(replace(split, test=test) for split, test in zip(splits, tests, strict=True))


def check_delay(sequences: Sequences, protocol: Protocol) -> None:
    """Raises DataError where a protocol holds labels back longer than the data do whose histories tell late columns, verdicts for example.

    Features would know then what training does not yet.
    """
    shortest, late = label_delay(sequences), ", ".join(sorted(sequences.events.late))
    if late and sequences.known.any() and protocol.delay_days * DAY > shortest:
        raise DataError(
            f"protocol, delay_days: found {protocol.delay_days}, but labels are known after {shortest / DAY:g} days in the prepared data, "
            f"by which histories tell {late}, too; expected no more: prepare the data with the longer delay"
        )


def label_delay(sequences: Sequences) -> int:
    """Microseconds from as_of to the primary target's known_at, the least there is; 0 where no target is known."""
    known = sequences.known
    return int((sequences.targets.known_at[sequences.task.primary] - sequences.as_of)[known].min()) if known.any() else 0


def check_answers(sequences: Sequences, tests: Iterable[Int]) -> None:
    """Raises DataError where the test rows of a window all have the same answer: no metric compares these. For a binary target."""
    primary = sequences.task.primary
    for rows in tests:
        if len(found := np.unique(sequences.targets.values[primary][rows])) < 2:
            first, last = (np.datetime64(int(time), "us").astype("datetime64[D]") for time in np.sort(sequences.as_of[rows])[[0, -1]])
            raise DataError(
                f"test window {first} to {last}: {primary!r} is {found[0]:g} in all of its {len(rows):,} rows, and metrics compare rows of "
                "both answers; choose other days, longer or fewer windows"
            )


def rows_trained(sequences: Sequences, protocol: Protocol) -> Int:
    """What the first split of a protocol that walks forward trains on, whether there is anything to test or not.

    Of `new_groups` nothing is heeded, which says what may train by what is tested.
    """
    train_span, purge, embargo, delay = _room(protocol)
    known_at, start = sequences.targets.known_at[sequences.task.primary], int(protocol.starts[0])
    return np.flatnonzero(
        trainable(sequences.as_of, known_at, start=start, train_span=train_span, purge=purge, embargo=embargo, delay=delay)
    )


def rows_tested(sequences: Sequences, protocol: Protocol) -> tuple[Int, ...]:
    """What the splits of a protocol that walks forward test, whether there is anything to train on or not.

    Raises DataError where a window has no row with a known target, or all are of groups known to be bad.
    """
    known, as_of, span, tests = sequences.known, sequences.as_of, protocol.test_days * DAY, []
    for start in protocol.starts:
        tests.append(np.flatnonzero(known & (as_of >= start) & (as_of < start + span)))
        if not len(tests[-1]):
            raise DataError(
                f"walk forward from {np.datetime64(int(start), 'us')}Z: no test row with a known target in {protocol.test_days} days. "
                f"{_labelled(as_of, sequences.targets.known_at[sequences.task.primary])}; choose days among them"
            )
    return _without_known_bad(sequences, protocol, tuple(tests))


def _labelled(as_of: Int, known_at: Int) -> str:
    """When samples have known targets, for errors."""
    if not (labelled := known_at != NEVER).any():
        return "No sample has a known target"
    first, last = (np.datetime64(int(time), "us").astype("datetime64[D]") for time in (as_of[labelled].min(), as_of[labelled].max()))
    shortest = (known_at - as_of)[labelled].min() / DAY
    return f"Samples with a known target are as of {first} to {last}, and none is known in less than {shortest:g} days"


def _room(protocol: Protocol) -> tuple[int | None, int, int, int]:
    """train_span, purge, embargo and delay of `trainable`."""
    delay = protocol.delay_days * DAY
    return protocol.train_days * DAY + delay if protocol.train_days else None, protocol.purge_days * DAY, protocol.embargo_days * DAY, delay


def _without_known_bad(sequences: Sequences, protocol: Protocol, tests: tuple[Int, ...]) -> tuple[Int, ...]:
    """The test rows of each window without those of groups known to be bad, where the protocol leaves them out."""
    if not protocol.known_from_days:
        return tests
    primary, as_of, delay = sequences.task.primary, sequences.as_of, protocol.delay_days * DAY
    known_at = sequences.targets.known_at[primary]
    bad, told = sequences.targets.values[primary] == 1, np.where(known_at == NEVER, NEVER, np.maximum(known_at, as_of + delay))
    before, kept = protocol.known_from_days * DAY + delay, []
    for rows, start in zip(tests, protocol.starts, strict=True):
        test = not_known_bad(rows, bad, as_of=as_of, known_at=told, group=sequences.group, since=int(start) - before)
        if not len(test):
            raise DataError(
                f"walk forward from {np.datetime64(int(start), 'us')}Z: every group of the {len(rows)} test rows is known to be "
                f"bad by labels from {protocol.known_from_days} days before the delay on; ask for fewer known_from_days"
            )
        kept.append(test)
    return tuple(kept)
