"""What operators did in the admin, to read."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest

from chat.admin.lists import DayFilter, HistoryAdmin, UsernameFilter, may_see


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

    def get_queryset(self, request: HttpRequest) -> Any:
        """Return the entries but for those of rows that the operator may not see: an entry has the row's words."""
        known = filter(admin.site.is_registered, apps.get_models())
        unseen = ContentType.objects.get_for_models(*(model for model in known if not may_see(request, model)))
        return super().get_queryset(request).exclude(content_type__in=unseen.values())

    @admin.display(description="at (UTC)")
    def acted(self, entry: LogEntry) -> str:
        return f"{entry.action_time:%Y-%m-%d %H:%M:%S}"

    @admin.display(description="did")
    def did(self, entry: LogEntry) -> str:
        return entry.get_change_message() or entry.get_action_flag_display()
