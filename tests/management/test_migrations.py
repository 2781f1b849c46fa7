"""An upgrade of a database that is in use: what the release before has written, and goes on writing meanwhile."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from chat.billing.allowance import period_start
from chat.models import BudgetPeriod, TokenBudget, UsageRecord

pytestmark = pytest.mark.django_db(transaction=True)
BEFORE = ("chat", "0007_keys")


@pytest.fixture
def release_before():
    """The models of the release before, on its own tables."""
    executor = MigrationExecutor(connection)
    newest = executor.loader.graph.leaf_nodes("chat")
    yield executor.migrate([BEFORE]).apps.get_model
    MigrationExecutor(connection).migrate(newest)


def chat_of(model_of, user_id, **changes):
    """A chat that has been answered and charged, as the release before writes it."""
    now = timezone.now()
    start = period_start("month", now)
    facts = {"period": "month", "period_start": start, "request_id": "r", "model": "m", "state": "settled"}
    facts |= {"reserved": 30, "prompt_tokens": 5, "completion_tokens": 20, "tokens_used": 25, "finished_at": now}
    row, _ = model_of("chat", "BudgetPeriod").objects.get_or_create(user_id=user_id, period="month", start=start)
    row.used += 25
    row.save()
    return model_of("chat", "UsageRecord").objects.create(
        user_id=user_id, created_at=now, expires_at=now, **facts | changes
    )


def test_budgets_and_records_of_the_release_before_stay_true(release_before):
    user = get_user_model().objects.create(username="ada")
    release_before("chat", "TokenBudget").objects.create(user_id=user.pk, limit=500, period="month")
    chat_of(release_before, user.pk)

    call_command("migrate", verbosity=0)
    chat_of(release_before, user.pk)  # a server of the release before that is not stopped yet

    assert list(TokenBudget.objects.values_list("limit", "cost_limit")) == [(500, None)]
    (row,) = BudgetPeriod.objects.all()
    assert (row.used, row.reserved, row.cost_used, row.cost_reserved) == (50, 0, 0, 0)
    for record in UsageRecord.objects.all():
        assert (record.tokens_used, record.cost, record.cost_reserved, record.attempts) == (25, None, 0, None)
        assert (record.face, record.api_key, record.cached, record.duration_ms) == ("", None, False, None)
    call_command("audit_budgets")  # raises where they differ
