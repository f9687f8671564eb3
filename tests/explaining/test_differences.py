"""A replay compares all that a record says: whatever leaf is changed, added or left out is named, and rounding is not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from tests.explaining.runs import ASKED, Made, explained, records_of
from trmfin.explaining.differences import MOST, WITHIN, differences
from trmfin.explaining.record import OWN, PREVIOUS
from trmfin.explaining.replay import Replayer
from trmfin.explaining.replayed import Replayed
from trmfin.scoring.folder import verify_run

Path_ = tuple[str | int, ...]
OTHER = {str: lambda v: v + "x", int: lambda v: v + 1, float: lambda v: v + 0.01, bool: lambda v: not v, type(None): lambda v: "x"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return explained(tmp_path_factory.mktemp("explained"), asked=replace(ASKED, counterfactual=True))


@pytest.fixture(scope="module")
def again(made: Made) -> Callable[[dict[str, Any], int | None], Replayed]:
    """`Replayer.again` that works equal data out once."""
    replayer, known = Replayer(made.bundle, verify_run(made.run)), dict[str, dict[str, Any]]()
    worked_out = replayer._worked_out

    def remembered(explainer: Any, case: Any, every: int) -> dict[str, Any]:
        key = json.dumps([case, every], sort_keys=True)
        if key not in known:
            known[key] = worked_out(explainer, case, every)
        return deepcopy(known[key])

    replayer._worked_out = remembered  # type: ignore[method-assign]
    return replayer.again


def leaves(value: Any, at: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    if isinstance(value, dict | list) and value:
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(part, (*at, key))
    else:
        yield at, value


def parts(value: Any, at: Path_ = ()) -> Iterator[Path_]:
    """Everything that can be left out."""
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*at, key)
        yield from parts(part, (*at, key))


def changed(record: dict[str, Any], at: Path_, change: Callable[[Any, Any], object]) -> dict[str, Any]:
    """A copy in which the holder of a leaf was changed. change: of the holder and the leaf's name."""
    copy = deepcopy(record)
    holder: Any = copy
    for key in at[:-1]:
        holder = holder[key]
    change(holder, at[-1])
    return copy


def compared(at: Path_) -> bool:
    """The place in the chain is for the chain; what the data are cannot be known without them."""
    return at[0] not in (OWN, PREVIOUS) and at[:2] != ("data", "case")


@pytest.mark.parametrize("place", [0, 1])
def test_every_changed_leaf_is_named(place: int, made: Made, again: Callable[..., Replayed]) -> None:
    record = records_of(made.run)[place]
    assert record["counterfactual"]["changes"] and (place == 0 or (record["reasons"] and record["mitigating"]))
    assert again(record, place).stands
    walked = [(at, value) for at, value in leaves(record) if compared(at)]
    assert len(walked) > 80
    for at, value in walked:
        other = "x" if value in ([], {}) else OTHER[type(value)](value)
        found = again(changed(record, at, lambda holder, key, other=other: holder.__setitem__(key, other)), place)  # type: ignore[misc]
        assert any(str(at[0]) in text for text in found.differences), f"{at}: {value!r} was made {other!r}: {found.differences}"


@pytest.mark.parametrize("place", [0, 1])
def test_everything_that_is_left_out_is_named(place: int, made: Made, again: Callable[..., Replayed]) -> None:
    record = records_of(made.run)[place]
    for at in parts(record):
        if compared(at) and at[0] not in (OWN, PREVIOUS):
            found = again(changed(record, at, lambda holder, key: holder.pop(key)), place)
            assert any(str(at[0]) in text for text in found.differences), f"{at} was left out: {found.differences}"


@pytest.mark.parametrize(
    ("at", "item"),
    [
        (("needs_human",), "because"),
        (("data", "money"), "status"),
        (("data", "inputs", "more.parquet"), "0" * 64),
        (("checks", "more"), "pass"),
        (("stability", "agreement"), 1.0),
        (("stability", "groups"), {}),
    ],
)
def test_what_is_added_is_named(at: Path_, item: Any, made: Made, again: Callable[..., Replayed]) -> None:
    def add(holder: Any, key: Any) -> None:
        if isinstance(holder.get(key), list):
            holder[key].append(item)
        else:
            holder[key] = item

    record = records_of(made.run)[4]
    assert any(str(at[0]) in text for text in again(changed(record, at, add), 4).differences)


def test_a_player_that_is_left_out_or_put_in_everywhere_is_named(made: Made, again: Callable[..., Replayed]) -> None:
    record = records_of(made.run)[4]
    for name in ("values", "values_by_step"):
        record["attribution"][name]["luck"] = record["attribution"][name].pop("bills")
    found = " ".join(again(record, 4).differences)
    assert "attribution.values.luck was " in found and "attribution.values.bills was not there, is " in found


def test_the_place_in_the_shard_says_whether_other_groups_were_asked_not_the_record(made: Made, again: Callable[..., Replayed]) -> None:
    first, second = records_of(made.run)[:2]
    assert again(first, 0).stands and again(first, 50).stands and again(second, 1).stands and again(second, 51).stands
    for key in ("groups", "agreement"):
        first["stability"].pop(key)
    assert again(first, None).stands, "alone it cannot be told"
    assert "stability.groups was not there, is " in " ".join(again(first, 0).differences)
    assert "stability.groups was not there, is " in " ".join(again(second, 50).differences)


def rounded_otherwise(value: Any, by: float, at: Path_ = ()) -> Any:
    """Every number of the network moved, as another processor would."""
    if isinstance(value, dict):
        return {key: rounded_otherwise(part, by, (*at, key)) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded_otherwise(part, by, at) for part in value]
    return value + by if isinstance(value, float) and at[:2] in WITHIN else value


def test_a_record_stands_where_rounding_moves_all_numbers_of_the_network(made: Made, again: Callable[..., Replayed]) -> None:
    for place, record in enumerate(records_of(made.run)):
        moved = rounded_otherwise(record, 1e-6)
        assert moved["counterfactual"]["score"] != record["counterfactual"]["score"]
        assert moved["inference"] != record["inference"] and moved["attribution"]["values"] != record["attribution"]["values"]
        assert again(moved, place).differences == ()
        assert not again(rounded_otherwise(record, 2e-4), place).stands


def test_a_text_that_quotes_the_residual_stands_where_its_digits_round_otherwise(made: Made) -> None:
    record = records_of(made.run)[4]
    old, new = (
        record
        | {"attribution": record["attribution"] | {"residual": residual}}
        | {"needs_human": [f"values miss the score's log-odds by {residual:.2g}, more than 0.0001"]}
        for residual in (0.0123499, 0.0125501)
    )
    within = old["attribution"]["residual"] + 1e-6
    assert differences(old, old | {"attribution": old["attribution"] | {"residual": within}}) == ()
    assert [text.partition(" ")[0] for text in differences(old, new)] == ["attribution.residual"]
    assert differences(old, old | {"needs_human": ["values miss the score's log-odds by 0.5, more than 0.0001"]})


def test_the_verdict_comes_first_and_many_differences_are_cut(made: Made) -> None:
    record = records_of(made.run)[4]
    inputs = record["data"]["inputs"] | {f"{n}.parquet": "" for n in range(25)}
    found = differences(record, record | {"data": record["data"] | {"inputs": inputs}, "inference": record["inference"] | {"band": "x"}})
    assert found[0].startswith("inference.band was ") and len(found) == MOST + 1 and found[-1] == "and 6 more differences"


def test_data_of_which_a_part_is_left_out_do_not_stand(made: Made, again: Callable[..., Replayed]) -> None:
    record = records_of(made.run)[4]
    assert len(record["data"]["case"]["events"]) > 1
    for at in [at for at in parts(record["data"]["case"], ("data", "case")) if len(at) > 2]:
        assert not again(changed(record, at, lambda holder, key: holder.pop(key)), 4).stands, f"{at} was left out"


def test_other_data_do_not_stand_but_for_what_moves_nothing(made: Made, again: Callable[..., Replayed]) -> None:
    record, unseen = records_of(made.run)[4], set()
    for at, value in leaves(record["data"]["case"], ("data", "case")):
        for other in (OTHER[type(value)](value), None, 7, "text", "time"):
            found = again(changed(record, at, lambda holder, key, other=other: holder.__setitem__(key, other)), 4)  # type: ignore[misc]
            unseen |= {at[-1]} if found.stands and other != value else set()
    assert unseen == {"event_id", "event_type"}, "of events that carry no reason; no field reads the type"


def test_the_runs_versions_are_what_a_record_names(made: Made) -> None:
    manifest = verify_run(made.run)
    elsewhere = manifest | {"versions": manifest["versions"] | {"torch": "9.9", "trmfin": "9.9"}}
    record = records_of(made.run)[4]
    found = Replayer(made.bundle, elsewhere).again(record, 4).differences
    assert [text.partition(" ")[0] for text in found] == ["model.torch", "model.trmfin"]
    record["model"] |= {"torch": "9.9", "trmfin": "9.9"}
    assert Replayer(made.bundle, elsewhere).again(record, 4).stands
