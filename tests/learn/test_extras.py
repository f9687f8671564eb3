import sys

import pytest

from trmfin.errors import MissingExtra
from trmfin.learn.extras import check_importable


@pytest.mark.parametrize(
    ("module", "models", "said"),
    [
        ("lightgbm", ["trm", "lightgbm"], "lightgbm: lightgbm cannot be imported"),
        ("sklearn.pipeline", ["logistic"], "logistic: scikit-learn cannot be imported"),
        ("matplotlib", [], "pictures: matplotlib cannot be imported"),
    ],
)
def test_a_missing_package_is_named_with_what_needs_it_and_how_to_install_it(
    module: str, models: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra) as refused:
        check_importable(models)
    assert str(refused.value).startswith(said) and str(refused.value).endswith('install it with: pip install "trmfin[bench]"')


def test_a_package_that_no_entry_needs_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    assert check_importable(["trm", "logistic", "gru"]) is None
