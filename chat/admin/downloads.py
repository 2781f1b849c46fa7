"""A list of the admin as CSV: the rows of the filter that is set, in the columns that are listed."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import label_for_field, lookup_field
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.urls import path, reverse
from django.utils.html import strip_tags
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from unfold.admin import ModelAdmin

from chat.accounts import trail

MOST_ROWS = 100_000
"""Rows of one file; the last line of a file that is cut off there says so."""
CHUNK = 2_000
"""Rows that are read at once."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A text that begins so is a formula to a spreadsheet, and runs."""
OF_A_PAGE = ("p", "all", "e")


class Line:
    """A file for `csv.writer`: returns the line instead of keeping it."""

    def write(self, line: str) -> str:
        return line


class DownloadAdmin(ModelAdmin):
    """A list with a link to itself as CSV. `raw` names the fields, or makes the values, that a column has in
    place of its words."""

    raw: Mapping[str, str | Callable[[Any], Any]] = {}

    @property
    def csv_name(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_csv"

    def get_urls(self) -> Any:
        return [path("csv/", self.admin_site.admin_view(self.csv_view), name=self.csv_name), *super().get_urls()]

    def csv_view(self, request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
        """Stream the rows of the filter in the request, as they are read, at most `MOST_ROWS`."""
        if request.method != "GET" or not self.has_view_permission(request):
            raise PermissionDenied
        query = request.GET.copy()
        for name in OF_A_PAGE:
            query.pop(name, None)
        request.GET = query  # type: ignore[assignment]
        try:
            rows = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters:
            return HttpResponseRedirect(reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"))
        columns = [name for name in self.get_list_display(request) if name != "action_checkbox"]
        response = StreamingHttpResponse(self.csv_lines(request, rows, columns), content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = f'attachment; filename="{self.opts.model_name}.csv"'
        return response

    def csv_lines(self, request: HttpRequest, rows: Any, columns: list[str]) -> Iterator[str]:
        """Yield the lines, and log at their end, or when the client leaves, who took how many rows of which list."""
        writer, taken = csv.writer(Line()), 0
        try:
            yield writer.writerow([capfirst(str(label_for_field(name, self.model, self))) for name in columns])
            for row in rows[: MOST_ROWS + 1].iterator(CHUNK):
                if taken == MOST_ROWS:
                    yield writer.writerow([f"Only the first {MOST_ROWS:,} rows: narrow the list down by its filters."])
                    break
                yield writer.writerow([self.csv_cell(name, row) for name in columns])
                taken += 1
        finally:
            name = str(self.opts.verbose_name_plural)
            trail.list_downloaded(request.user.get_username(), name, request.GET.urlencode(), taken)

    def csv_cell(self, name: str, row: Any) -> Any:
        try:
            value = lookup_field(self.raw.get(name, name), row, self)[2]
        except ObjectDoesNotExist:
            return ""
        return plain(value)


def plain(value: Any) -> Any:
    """Return a value as a program reads it: times in UTC by ISO 8601, numbers without separators or signs of money,
    nothing for what is empty, texts without markup and never as a formula."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if value is None or value == "-":
        return ""
    if isinstance(value, (bool, int)):
        return value
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    text = strip_tags(value).strip() if isinstance(value, SafeString) else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text
