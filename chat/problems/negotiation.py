"""Which format a client gets: JSON, the browsable API's HTML, or RFC 9457's problem details for errors."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from rest_framework import renderers
from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import JSONRenderer

from chat.conf import is_vendors

PROBLEM_JSON = "application/problem+json"
EVENT_STREAM = "text/event-stream"


class BrowsableAPIRenderer(renderers.BrowsableAPIRenderer):
    """DRF's pages. A view may have its own text for the box, `shown`."""

    def get_raw_data_form(self, data: Any, view: Any, method: str, request: Any) -> Any:
        form = super().get_raw_data_form(data, view, method, request)
        if form is not None and hasattr(view, "shown"):
            form.fields["_content"].initial = view.shown(request)
        return form


class ContentNegotiation(DefaultContentNegotiation):
    """DRF's, which also serves a client that accepts nothing but `application/problem+json` or `text/event-stream`:
    errors or streams come as that, and everything else as JSON. Vendors' clients get JSON whatever they accept."""

    def select_renderer(self, request: Any, offered: Any, format_suffix: str | None = None) -> Any:
        if is_vendors(request.path_info):
            return next((r, r.media_type) for r in offered if isinstance(r, JSONRenderer))
        try:
            return super().select_renderer(request, offered, format_suffix)
        except NotAcceptable:
            if not wants_problem_json(request) and not wants_events(request):
                raise
            return next((r, r.media_type) for r in offered if isinstance(r, JSONRenderer))
        except ValueError:  # a parameter that cannot be decoded
            raise NotAcceptable from None


def wants_problem_json(request: HttpRequest) -> bool:
    """Return whether the client names RFC 9457's media type in its Accept header."""
    return _accepts(request, PROBLEM_JSON)


def wants_events(request: HttpRequest) -> bool:
    """Return whether the client names the media type of server-sent events; errors before the first come as JSON."""
    return _accepts(request, EVENT_STREAM)


def _accepts(request: HttpRequest, media_type: str) -> bool:
    try:
        accepted = request.accepted_types
    except ValueError:  # as above
        return False
    return any(f"{kind.main_type}/{kind.sub_type}" == media_type and kind.quality > 0 for kind in accepted)
