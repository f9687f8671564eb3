"""How many threads torch works with is set inside and as found afterwards."""

import pytest
import torch

from trmfin.learn.threads import one_thread, threads


@pytest.mark.parametrize(("inside", "count"), [(one_thread, 1), (lambda: threads(2), 2)])
def test_threads_are_as_found_afterwards_even_after_an_error(inside: object, count: int) -> None:
    found = torch.get_num_threads()
    with pytest.raises(KeyError), inside():  # type: ignore[operator]
        assert torch.get_num_threads() == count
        raise KeyError
    assert torch.get_num_threads() == found
