import jaxtyping
import pytest


@pytest.fixture
def unchecked_types(monkeypatch):
    """Without the type checker, which in the tests stands before the library's own checks."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
