"""What operators did in the admin, to read."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin.models import LogEntry

from chat.admin.lists import DayFilter, HistoryAdmin, UsernameFilter


class ActedFilter(DayFilter):
    field = "action_time"


@admin.register(LogEntry)
class LogEntryAdmin(HistoryAdmin):
    """Who added, changed or deleted which row, and who took out what is stored of a user."""

    list_display = ["acted", "user", "content_type", "object_repr", "did"]
    list_select_related = ["user", "content_type"]
    list_filter = [UsernameFilter, ActedFilter]
    ordering = ["-id"]
    sortable_by = list[str]()

    @admin.display(description="at (UTC)")
    def acted(self, entry: LogEntry) -> str:
        return f"{entry.action_time:%Y-%m-%d %H:%M:%S}"

    @admin.display(description="did")
    def did(self, entry: LogEntry) -> str:
        return entry.get_change_message() or entry.get_action_flag_display()
