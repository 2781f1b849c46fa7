"""What the admin's lists have in common: filters and paging that stay quick over millions of rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from unfold.views import ChangeList

from chat.admin.downloads import DownloadAdmin
from chat.exceptions import ALL_PROVIDERS
from chat.routing import catalogue
from chat.types import SIMULATOR, Catalogue


class TypedFilter(admin.SimpleListFilter):
    """By a value that is typed in: to list all that there are would not scale."""

    template = "admin/chat/typed_filter.html"
    placeholder = ""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("", "All")]

    def choices(self, changelist: Any) -> Any:
        others = {name: value for name, value in changelist.params.items() if name != self.parameter_name}
        value = self.value() or ""
        yield {"name": self.parameter_name, "value": value, "others": others, "placeholder": self.placeholder}


class UsernameFilter(TypedFilter):
    title = parameter_name = "username"
    placeholder = "the whole name"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        # By the id: through a join the database would sort all of the user's rows for each page.
        user = get_user_model().objects.filter(username=self.value()).first()
        return queryset.filter(user=user.pk) if user else queryset.none()


class DayFilter(TypedFilter):
    """By a day in UTC. Django's own drill-down reads the whole table to offer the years that there are."""

    title = "day (UTC)"
    parameter_name = "day"
    placeholder = "2026-01-31"
    field = "created_at"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        typed = (self.value() or "").strip()
        if not typed:
            return queryset
        try:
            day = datetime.strptime(typed, "%Y-%m-%d").replace(tzinfo=UTC)
            end = day + timedelta(days=1)
        except (ValueError, OverflowError):
            messages.error(request, f"{typed!r} is not a day such as {self.placeholder}.")
            return queryset.none()
        return queryset.filter(**{f"{self.field}__gte": day, f"{self.field}__lt": end})


class StartFilter(DayFilter):
    field = "start"


class ModelFilter(admin.SimpleListFilter):
    """By the names in the catalogue: to ask the records which ones they hold would read the whole table."""

    title = parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in self.names(catalogue.current())]

    def names(self, current: Catalogue) -> list[str]:
        return sorted({*current.models, *current.embedders, *current.unavailable})

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{self.title: self.value()}) if self.value() else queryset


class ProviderFilter(ModelFilter):
    title = parameter_name = "provider"

    def names(self, current: Catalogue) -> list[str]:
        return [*sorted(current.providers), SIMULATOR, ALL_PROVIDERS]


class ShortChangeList(ChangeList):
    """Says once how many rows there are, below the list, where it may say "more than"."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.full_result_count = self.result_count


class LargeTableAdmin(DownloadAdmin):
    """A list that stays quick over a million rows."""

    list_fullwidth = True
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_select_related = ["user"]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return ShortChangeList


class ShortPaginator(Paginator):
    """Offers the first 10,000 rows, as many as anybody leafs through, and counts no further; `total` says which."""

    MOST = 10_000
    template_name = "admin/chat/short_pagination.html"

    @cached_property
    def found(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[: self.MOST + 1].count())

    @property
    def count(self) -> int:
        return min(self.found, self.MOST)

    @property
    def total(self) -> str:
        return f"more than {self.MOST:,}" if self.found > self.MOST else f"{self.found:,}"


class HistoryAdmin(LargeTableAdmin):
    """A list of millions. Nothing is added, changed or deleted here; but deleting a user deletes their budget
    periods, and takes the user off the records."""

    paginator = ShortPaginator

    def get_sortable_by(self, request: HttpRequest) -> Any:
        """Only by what there is an index for, until a user or a day leaves little to be sorted."""
        few = request.GET.get("username") or request.GET.get("day")
        return self.list_display if few else self.sortable_by

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        page = getattr(request.resolver_match, "url_name", "")
        here = page.startswith(f"{self.opts.app_label}_{self.opts.model_name}_")
        return not here and super().has_delete_permission(request, obj)
