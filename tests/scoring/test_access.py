"""Who somebody is to the journal, and what they may do."""

from __future__ import annotations

from pathlib import Path

import pytest

from trmfin.errors import ConfigError
from trmfin.scoring.access import roles_from, who

ROLES = {"ann@bank.example": ("analyst",), "sub-7": ("approver",)}


def test_a_login_names_a_person_and_the_file_their_roles() -> None:
    for user, name, roles in (
        ({"email": "ann@bank.example"}, "ann@bank.example", ("analyst",)),
        ({"sub": "sub-7"}, "sub-7", ("approver",)),
        ({"email": "eve@elsewhere.example"}, "eve@elsewhere.example", ("viewer",)),
        ({"email": "ann@bank.example", "email_verified": True}, "ann@bank.example", ("analyst",)),
        ({"email": "ann@bank.example", "email_verified": False, "sub": "eve"}, "eve", ("viewer",)),
        ({"email": "x", "email_verified": False, "sub": "ann@bank.example"}, "ann@bank.example", ("viewer",)),
        ({"email": "ann@bank.example", "email_verified": False}, "somebody whose email is not verified", ("viewer",)),
    ):
        found = who(user, ROLES, local=True, local_name="root")  # type: ignore[arg-type]
        assert (found.name, found.roles) == (name, roles)
    with pytest.raises(ConfigError, match="the name is empty"):
        who({}, ROLES, local=True, local_name="root")  # type: ignore[arg-type]


def test_without_a_login_only_this_machine_may_act() -> None:
    assert who(None, {}, local=True, local_name="ann").may("accept")
    visitor = who(None, {}, local=False, local_name="ann")
    assert visitor.name == "visitor" and not any(visitor.may(action) for action in ("claim", "accept", "export"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "said"),
    [("=", "cannot be read as TOML"), ('ann = "analyst"', "expected a list of roles"), ('ann = ["boss"]', "role 'boss' is unknown")],
)
def test_a_file_of_roles_that_is_none_is_said(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "roles.toml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        roles_from(tmp_path / "roles.toml")


def test_a_file_of_roles_is_read(tmp_path: Path) -> None:
    (tmp_path / "roles.toml").write_text('"ann@bank.example" = ["analyst", "approver"]\n')
    assert roles_from(tmp_path / "roles.toml") == {"ann@bank.example": ("analyst", "approver")}
    with pytest.raises(ConfigError, match="cannot be read"):
        roles_from(tmp_path / "none.toml")
