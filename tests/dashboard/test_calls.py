"""The calls to providers in the operators' overview: each that failed counts, whoever answered in the end."""

from __future__ import annotations

import pytest

from tests.dashboard.test_overview import figures_of
from tests.support.loopback import status

pytestmark = pytest.mark.django_db


def test_a_provider_s_failures_are_told_though_another_answered(admin_client, rig):
    rig.first.always = "unavailable"
    for _ in range(3):
        assert rig.chat("pair").status_code == 200
    rig.second.always = status(400)
    assert rig.chat("pair").status_code == 400
    found = {row["key"]: row for row in figures_of(admin_client)["providers"]}
    calls = {key: (found[key]["calls"], found[key]["failed_calls"]) for key in ("first", "second")}
    assert calls == {"first": (rig.calls[0],) * 2, "second": (4, 0)}
    assert found["first"]["errors"] == 0
