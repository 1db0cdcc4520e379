from __future__ import annotations

import pytest

from tests.algorithms.small import start_ray


@pytest.fixture(scope="session")
def shared_ray() -> None:
    """Ray with few workers, started once and left running for the whole test session."""
    start_ray()
