"""The alerts that went out, to read."""

from __future__ import annotations

from django.contrib import admin

from chat.admin.lists import HistoryAdmin
from chat.models import Alert


@admin.register(Alert)
class AlertAdmin(HistoryAdmin):
    """What operators were told, and when by which way."""

    list_display = ["found", "kind", "title", "mailed_at", "posted_at", "tries"]
    list_select_related = list[str]()
    ordering = ["-created_at"]
    sortable_by = ["found"]
    list_filter = ["kind"]

    @admin.display(ordering="created_at", description="found (UTC)")
    def found(self, alert: Alert) -> str:
        """To the second, as the log has it."""
        return f"{alert.created_at:%Y-%m-%d %H:%M:%S}"
