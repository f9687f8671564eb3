"""What every test shares: one thread, repeatable examples, and the folder of real data.

Real data are looked for in the folder that the variable TRMFIN_DATA names, by default `../shared/data` beside the checkout.
A test asks for them with the fixture `real_data`; it is the only test code that reads the variable.
"""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

for threads in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"):  # read when torch and polars are first imported
    os.environ.setdefault(threads, "1")

settings.register_profile("ci", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("dev", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The root of the checkout."""
    return CHECKOUT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data. Skips the test where there is none; `.ci/run` fails on a skip where there is one."""
    folder = Path(os.environ.get("TRMFIN_DATA") or CHECKOUT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"real data: no folder {folder}; set TRMFIN_DATA to where they lie")
    return folder
