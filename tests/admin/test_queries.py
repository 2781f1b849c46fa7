"""A list of the admin asks the database no more often the longer it is, on the page and as a file."""

from __future__ import annotations

from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from knox.models import AuthToken

from chat.models import Alert, BudgetPeriod, TokenBudget
from tests.support.admin import record

FEW, MANY = 20, 200
LISTS = ["chat/tokenbudget", "chat/budgetperiod", "chat/usagerecord", "chat/alert", "chat/key"]
LISTS += ["auth/user", "auth/group", "admin/logentry"]


def fill(first: int, last: int) -> None:
    """Give each list a row for each number, each of a user of its own."""
    now, kind = timezone.now(), ContentType.objects.get_for_model(Group)
    for number in range(first, last):
        user = get_user_model().objects.create(username=f"user{number}")
        Group.objects.create(name=f"group{number}")
        TokenBudget.objects.create(user=user, limit=1, period="day")
        BudgetPeriod.objects.create(user=user, period="day", start=now)
        AuthToken.objects.create(user)
        record(user, error="ProviderTimeoutError", state="released")
        Alert.objects.create(name=f"alert{number}", kind="budget", facts={}, created_at=now, taken_until=now)
        LogEntry.objects.create(user=user, content_type=kind, object_id="1", object_repr="r", action_flag=2)


def asked(client, path: str) -> tuple[int, int]:
    """Return the number of rows of an answer, and of the statements that it took."""
    with CaptureQueriesContext(connection) as queries:
        response = client.get(path)
        assert response.status_code == 200
        text = (b"".join(response) if response.streaming else response.content).decode()
    return text.count("data-row") or len(text.splitlines()) - 1, len(queries)


def test_a_long_list_takes_as_many_statements_as_a_short_one(admin_client):
    paths = [f"/admin/{name}/{rest}" for name in LISTS for rest in ("?all=", "csv/")]
    paths.remove("/admin/auth/group/csv/")  # the one list that is no file
    fill(0, FEW)
    few = {path: asked(admin_client, path) for path in paths}
    fill(FEW, MANY - 1)  # the operator is a user, too
    many = {path: asked(admin_client, path) for path in paths}
    assert {path: statements for path, (_, statements) in many.items()} == {path: few[path][1] for path in paths}
    assert {rows for rows, _ in few.values()} <= {FEW, FEW + 1}
    assert {rows for rows, _ in many.values()} <= {MANY - 1, MANY}
    assert max(statements for _, statements in many.values()) < 15
