"""The recursion as it is used: a question in, an answer after every supervision step."""

from __future__ import annotations

from collections.abc import Iterator

from trmfin.model.ensemble import Ensemble
from trmfin.model.network import Answer, Network
from trmfin.sequences.batch import Batch


def answers(network: Network | Ensemble, batch: Batch) -> Iterator[Answer]:
    """The answer after each supervision step that was trained; y and z are detached between steps."""
    x, setting = network.encode(batch), network.setting(batch)
    state = network.core.start(x)
    for _ in range(network.config.supervision_steps):
        state = network.core(x, state.detach(), setting)  # type: ignore[arg-type]
        yield network.read(state, setting)  # type: ignore[arg-type]
