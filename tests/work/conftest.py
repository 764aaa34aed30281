import pytest

from work import loop


@pytest.fixture
def duties(monkeypatch) -> dict:
    """No duty but those that a test registers."""
    monkeypatch.setattr(loop, "_duties", {})
    return loop._duties
