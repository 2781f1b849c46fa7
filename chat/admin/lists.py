"""What the admin's lists have in common: filters and paging that stay quick over millions of rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from unfold.views import ChangeList

from chat.admin.downloads import DownloadAdmin
from chat.models import KeyDetail
from chat.problems.table import BUG, CODES
from chat.routing import catalogue
from chat.types import ALL_PROVIDERS, SIMULATOR, Catalogue

TOLD_TO_NOBODY = {"", "AnsweredAgain", "ClientLeft", "WorkerLost", "SystemExit"}
"""Errors that no client heard of."""


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


class ErrorFilter(admin.SimpleListFilter):
    """By the code that the client was told, as the list has it. Requests with an error have an index of their own."""

    title = parameter_name = "error"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("any", "Any"), *((code, code) for code in sorted({*CODES.values()}))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        code = self.value()
        if not code:
            return queryset
        found = queryset.exclude(error="")
        if code == "any":
            return found
        told = found.filter(cached=False).exclude(error__in=TOLD_TO_NOBODY)
        if code == BUG:  # which any exception is that has no row
            return told.exclude(error__in=[name for name, known in CODES.items() if known != BUG])
        return told.filter(error__in=[name for name, known in CODES.items() if known == code])


class KeyFilter(TypedFilter):
    """By the id of a key, which the overview and the list of keys link to."""

    title = parameter_name = "key"
    placeholder = "the id of a key"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        typed = (self.value() or "").strip()
        if not typed:
            return queryset
        try:
            pk = UUID(typed)
        except ValueError:
            messages.error(request, f"{typed!r} is not the id of a key, such as GET /keys has it.")
            return queryset.none()
        detail = KeyDetail.objects.filter(pk=pk).select_related("key").first()
        if detail:  # the records of its user have an index
            return queryset.filter(user=detail.key.user_id, api_key=pk)
        if is_narrow(request):
            return queryset.filter(api_key=pk)
        messages.warning(request, "This key is revoked or has expired: give a day, or its user, as well.")
        return queryset.none()


def is_narrow(request: HttpRequest) -> bool:
    """Return whether the list is that of one user or one day, which leaves few rows to look through."""
    return any(request.GET.get(name, "").strip() for name in ("username", "day"))


def may_see(request: HttpRequest, model: Any) -> bool:
    """Return whether the operator may open the pages of a model."""
    return bool(admin.site.get_model_admin(model).has_view_permission(request))


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

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the fields of a row; for who may not see users, its user is a name, and no link to a refusal."""
        sets = super().get_fieldsets(request, obj)
        if obj is None or may_see(request, get_user_model()):
            return sets
        return [
            (title, {**facts, "fields": ["username" if name == "user" else name for name in facts["fields"]]})
            for title, facts in sets
        ]

    @admin.display(description="user")
    def username(self, row: Any) -> str:
        return str(row.user)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        if any("\0" in value for value in request.GET.values()):
            raise IncorrectLookupParameters  # PostgreSQL takes no text with one
        return super().get_changelist_instance(request)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Return what the address fills in, but for a user that cannot be: Django fails on one."""
        initial: dict[str, Any] = super().get_changeform_initial_data(request)
        try:
            get_user_model()._meta.pk.clean(initial.get("user"), None)
        except ValidationError:
            initial.pop("user", None)
        return initial


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
        return self.list_display if is_narrow(request) else self.sortable_by

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        page = getattr(request.resolver_match, "url_name", "")
        here = page.startswith(f"{self.opts.app_label}_{self.opts.model_name}_")
        return not here and super().has_delete_permission(request, obj)
