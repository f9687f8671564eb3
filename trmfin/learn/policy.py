"""What is done with a score: bands, cut-off, costs, and when refinement may stop. Plain data, versioned, in `policy.json`."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trmfin.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a wrong decision costs, in any one unit; only their ratio matters."""

    false_negative: float = 5.0  # a bad case let through
    false_positive: float = 1.0  # a good case stopped

    @property
    def cutoff(self) -> float:
        """The cut-off that costs least when scores are calibrated: stop where p * false_negative ≥ (1 - p) * false_positive.

        Source: Elkan 2001, The foundations of cost-sensitive learning, equation 2.
        """
        return self.false_positive / (self.false_positive + self.false_negative)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How scores in [0, 1], higher = riskier, become decisions.

    A score belongs to the first band whose `upper` it does not exceed. Raises ConfigError on bands that do not rise
    to 1, on a cut-off outside [0, 1], and on costs that are not above 0.
    """

    version: str = "1"
    bands: tuple[tuple[str, float], ...] = (("low", 0.1), ("medium", 0.3), ("high", 1.0))  # (name, highest score), rising
    cutoff: float = 0.5  # a score at or above it is flagged
    costs: Costs = Costs()
    capacity: int | None = None  # flagged cases that people can look at in one run; None = no limit
    halt_epsilon: float = 0.0  # log-odds: a sample stops once a step moves it by less; 0 = all steps are run

    def __post_init__(self) -> None:
        names, uppers = [name for name, _ in self.bands], [upper for _, upper in self.bands]
        if not uppers or not all(0 < upper <= 1 for upper in uppers) or uppers != sorted(set(uppers)) or uppers[-1] != 1.0:
            raise ConfigError(f"policy: bands end at {uppers}; expected rising numbers above 0, the last one 1.0")
        if len(set(names)) < len(names) or not all(names):
            raise ConfigError(f"policy: bands are called {names}; every band needs a name of its own")
        if not 0 <= self.cutoff <= 1:
            raise ConfigError(f"policy: cutoff is {self.cutoff}; it must lie in [0, 1]")
        for name, cost in asdict(self.costs).items():
            if not (cost > 0 and math.isfinite(cost)):
                raise ConfigError(f"policy: costs.{name} is {cost}; it must be above 0")
        if self.capacity is not None and self.capacity < 1:
            raise ConfigError(f"policy: capacity is {self.capacity}; it must be at least 1, or null for no limit")
        if not (self.halt_epsilon >= 0 and math.isfinite(self.halt_epsilon)):
            raise ConfigError(f"policy: halt_epsilon is {self.halt_epsilon}; it must be a number of log-odds, at least 0")

    def to_json(self) -> dict[str, Any]:
        """Plain data; `Policy.from_json` gives an equal policy back."""
        return asdict(self) | {"bands": [{"name": name, "upper": upper} for name, upper in self.bands]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Policy:
        """Inverse of `to_json`; keys left out keep their defaults. Raises ConfigError on an unknown key or a wrong type."""
        _known_keys("policy", data, cls)
        values = dict(data)
        if "bands" in data:
            values["bands"] = tuple(_band(item) for item in _typed("bands", data["bands"], list))
        if "costs" in data:
            costs = _typed("costs", data["costs"], dict)
            _known_keys("policy: costs", costs, Costs)
            values["costs"] = Costs(**{name: _number(f"costs.{name}", value) for name, value in costs.items()})
        for name in ("cutoff", "halt_epsilon"):
            if name in data:
                values[name] = _number(name, data[name])
        if data.get("capacity") is not None:
            _typed("capacity", data["capacity"], int)
        if "version" in data:
            _typed("version", data["version"], str)
        return cls(**values)


def read_policy(path: Path) -> Policy:
    """The policy in a JSON file. Raises ConfigError naming the file where it is missing, not JSON or not a policy."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); expected a policy as JSON, like policy.json of a bundle") from error
    except ValueError as error:
        raise ConfigError(f"{path}: is not JSON ({error}); expected a policy like policy.json of a bundle") from error
    try:
        return Policy.from_json(_typed("the file", data, dict))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _band(item: Any) -> tuple[str, float]:
    band = _typed("a band", item, dict)
    if set(band) != {"name", "upper"}:
        raise ConfigError(f"policy: a band has the keys {sorted(band)}; expected 'name' and 'upper'")
    return _typed("a band's name", band["name"], str), _number("a band's upper", band["upper"])


def _known_keys(where: str, data: dict[str, Any], kind: type) -> None:
    known = kind.__dataclass_fields__  # type: ignore[attr-defined]
    if unknown := sorted(set(data) - set(known)):
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}; known: {', '.join(known)}")


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"policy: {name} is {value!r}; expected a number")
    return float(value)


def _typed(name: str, value: Any, kind: type) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ConfigError(f"policy: {name} is {value!r}; expected {kind.__name__}")
    return value
