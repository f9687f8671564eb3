"""What a world's arguments may be."""

from __future__ import annotations

from trmfin.errors import ConfigError


def check_bounds(world: str, name: str, value: float, least: float, most: float) -> None:
    """Raises ConfigError, in one line, unless least <= value <= most."""
    if not least <= value <= most:
        raise ConfigError(f"simulate {world}, {name}: found {value}; expected {least} to {most}; choose a value in that range")
