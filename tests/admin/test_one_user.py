"""One user's page in the admin: the figures of the books, and nobody's words."""

from __future__ import annotations

import json
import re

import pytest
import time_machine
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission

from chat.models import BudgetPeriod, Conversation, Message, TokenBudget
from tests.support.admin import page, record

NOW = "2027-03-15 10:30 +0000"


def url(user, name: str = "use") -> str:
    return f"/admin/auth/user/{user.pk}/{name}/"


@pytest.fixture
def conversation(user):
    made = Conversation.objects.create(user=user, title="a secret title")
    Message.objects.create(conversation=made, role="user", content="secret words")
    return made


@pytest.mark.usefixtures("token", "conversation")
@time_machine.travel(NOW, tick=False)
def test_the_page_has_the_figures_of_the_books(admin_client, admin_user, user):
    admin_client.force_login(admin_user)  # now
    TokenBudget.objects.create(user=user, limit=10_000)
    BudgetPeriod.objects.create(user=user, period="month", start="2027-03-01T00:00Z", used=8_000, reserved=200)
    for day, tokens in (("2027-03-15", 3_000), ("2027-03-15", 1_000), ("2027-03-14", 2_000), ("2027-01-01", 9_000)):
        record(user, state="settled", tokens_used=tokens, cost=10_000_000, created_at=f"{day}T01:00Z")
    record(admin_user, state="settled", tokens_used=7_777, created_at="2027-03-15T01:00Z")
    failed = record(user, state="released", error="ProviderTimeoutError", request_id="the-failed-one")
    refused = record(user, state="refused", error="TokenBudgetExceededError", request_id="the-refused-one")
    record(user, state="truncated", error="ClientLeft", request_id="the-one-that-was-left")

    html = page(admin_client, url(user))

    assert re.search(rf'href="/admin/auth/user/{user.pk}/change/"[^>]*>\s*Ada', html)
    days = re.search(r'<table id="days".*?</table>', html, re.DOTALL)
    cells = re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", days[0].partition("<tbody>")[2])
    assert cells == ["2027-03-14", "1", "2,000", "$0.0100", "2027-03-15", "3", "4,000", "$0.0200"]
    assert re.findall(r'y="(\d+)" width="16" height="(\d+)"', html)[-2:] == [("50", "50"), ("0", "100")]
    assert 'value="82"' in html
    assert "1,800 left until 2027-04-01 00:00:00 UTC." in re.sub(r"\s+", " ", html)
    assert f'href="/admin/chat/usagerecord/{failed.pk}/change/">the-failed-one' in html
    assert f'href="/admin/chat/usagerecord/{refused.pk}/change/">the-refused-one' in html
    assert "the-one-that-was-left" not in html
    assert "1 message<" in html
    assert "secret" not in html
    assert url(user) in page(admin_client, f"/admin/auth/user/{user.pk}/change/")


@pytest.mark.usefixtures("conversation")
def test_conversations_are_deleted_once_that_is_confirmed(admin_client, admin_user, user):
    Conversation.objects.create(user=admin_user)
    assert "This cannot be undone." in page(admin_client, url(user, "forget"))
    assert Conversation.objects.filter(user=user).count() == 1
    assert admin_client.post(url(user, "forget")).status_code == 302
    assert list(Conversation.objects.values_list("user", flat=True)) == [admin_user.pk]
    assert LogEntry.objects.get().change_message == "Deleted the user's conversations: 1."


@pytest.mark.usefixtures("conversation")
def test_an_export_is_a_superusers_and_stands_in_the_history(admin_client, user):
    assert admin_client.get(url(user, "export")).status_code == 403
    assert not LogEntry.objects.exists()
    response = admin_client.post(url(user, "export"))
    assert "attachment" in response["Content-Disposition"]
    assert json.loads(b"".join(response))["conversations"][0]["title"] == "a secret title"
    assert LogEntry.objects.get().change_message == "Exported all that is stored of the user."


@pytest.mark.usefixtures("conversation", "token")
def test_each_part_needs_its_permission(client, django_user_model, user):
    clerk = django_user_model.objects.create_user("clerk", is_staff=True)
    client.force_login(clerk)
    assert {client.get(url(user, name)).status_code for name in ("use", "export", "forget")} == {403}
    clerk.user_permissions.add(Permission.objects.get(codename="view_user"))
    html = page(client, url(user))
    assert not [part for part in ("Budget</h2>", 'id="keys"', 'id="conversations"', "Export as") if part in html]
    assert {client.post(url(user, name)).status_code for name in ("export", "forget")} == {403}
    assert Conversation.objects.count() == 1
    assert client.get("/admin/auth/user/999999/use/").status_code == 404
