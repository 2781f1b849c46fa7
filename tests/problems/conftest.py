"""A world for each row of the table."""

from __future__ import annotations

import pytest

from tests.problems.world import World


@pytest.fixture
def world(auth_client, settings, monkeypatch, user):
    return World(auth_client, settings, monkeypatch, user)
