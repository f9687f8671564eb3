"""Who somebody is to the journal, and what they may do: from a login where there is one, else from where they sit."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trmfin.errors import ConfigError
from trmfin.scoring.review import Reviewer, Role

LOCAL: tuple[Role, ...] = ("analyst", "approver", "compliance")  # of who sits at the machine itself, without a login
VISITOR, UNVERIFIED = "visitor", "somebody whose email is not verified"


def roles_from(path: Path) -> dict[str, tuple[Role, ...]]:
    """People and their roles, of a TOML file: `"ann@bank.example" = ["analyst"]`. Raises ConfigError on what is none."""
    try:
        found = tomllib.loads(path.read_text())
    except (OSError, ValueError) as problem:
        raise ConfigError(f'{path}: cannot be read as TOML ({problem}); give lines such as "ann@bank.example" = ["analyst"]') from problem
    for name, roles in found.items():
        if not isinstance(roles, list):
            raise ConfigError(f'{path}: {name!r} has {roles!r}; expected a list of roles such as ["analyst"]')
        Reviewer(name=name, roles=tuple(roles))
    return {name: tuple(roles) for name, roles in found.items()}


def who(user: Mapping[str, Any] | None, roles: Mapping[str, tuple[Role, ...]], *, local: bool, local_name: str) -> Reviewer:
    """The reviewer in front of a page.

    user: claims of a login (email, else sub, names a person, and whose email the provider says it has not verified is a viewer;
    roles of somebody unlisted are viewer alone); None = nobody has logged in: at this machine's own address, where no login is asked
    for (`local`), `local_name` with all roles, elsewhere a visitor who may only look.
    """
    if user is not None:
        sub = str(user.get("sub") or "")
        if user.get("email_verified", True) not in (True, "true"):
            return Reviewer(name=sub or UNVERIFIED, roles=("viewer",))
        name = str(user.get("email") or sub)
        return Reviewer(name=name, roles=roles.get(name, ("viewer",)))
    return Reviewer(name=local_name, roles=LOCAL) if local else Reviewer(name=VISITOR, roles=("viewer",))
