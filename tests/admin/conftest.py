"""What the admin's lists are filtered for."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.support.admin import record


@pytest.fixture
def records(user, admin_user):
    """One record that each filter finds, among others."""
    record(
        user,
        request_id="the-one",
        model="llama-2",
        provider="openai",
        state="released",
        error="ProviderTimeoutError",
        tokens_used=41,
        overrun=3,
        uncharged_tokens=17,
        created_at=timezone.now() - timedelta(days=400),
    )
    for number in range(3):
        record(admin_user, request_id=f"the-one-{number}", provider="anthropic", state="settled")
