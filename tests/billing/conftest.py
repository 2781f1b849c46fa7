"""Settlements that are not waited for."""

from __future__ import annotations

import pytest

from chat.billing import outbox


@pytest.fixture
def no_pauses(monkeypatch):
    monkeypatch.setattr(outbox, "PAUSES", ())
    monkeypatch.setattr(outbox, "REST", 0)
