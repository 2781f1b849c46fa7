"""The admin's pages, read as an operator sees them."""

from __future__ import annotations

import re
from html import unescape

from django.utils import timezone

from chat.models import UsageRecord

BUDGETS = "/admin/chat/tokenbudget/"
PERIODS = "/admin/chat/budgetperiod/"
RECORDS = "/admin/chat/usagerecord/"


def page(client, url: str, **query: str) -> str:
    response = client.get(url, query)
    assert response.status_code == 200, response
    return unescape(response.content.decode())


def cells(html: str, field: str) -> list[str]:
    """The text of a list's column."""
    found = re.findall(rf'<t[dh] +class="field-{field}[^"]*"[^>]*>(.*?)</t[dh]>', html, re.DOTALL)
    return [re.sub(r"<[^>]*>", "", cell).strip() for cell in found]


def record(user, **fields) -> UsageRecord:
    now = timezone.now()
    needed = {"period": "month", "period_start": now, "reserved": 9, "created_at": now, "expires_at": now}
    return UsageRecord.objects.create(user=user, **{"model": "gpt-4", "request_id": "r-1"} | needed | fields)
