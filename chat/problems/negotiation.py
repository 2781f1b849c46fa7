"""Which format a client gets: JSON, a page, the browsable API's HTML, or RFC 9457's problem details for errors."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpRequest
from django.template.loader import render_to_string
from rest_framework import renderers
from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import JSONRenderer

from chat.conf import is_vendors

PROBLEM_JSON = "application/problem+json"
EVENT_STREAM = "text/event-stream"
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
"""What a page's own forms are sent as."""


class BrowsableAPIRenderer(renderers.BrowsableAPIRenderer):
    """DRF's pages. A view may have its own text for the box, `shown`."""

    def get_raw_data_form(self, data: Any, view: Any, method: str, request: Any) -> Any:
        form = super().get_raw_data_form(data, view, method, request)
        if form is not None and hasattr(view, "shown"):
            form.fields["_content"].initial = view.shown(request)
        return form


class PageRenderer(renderers.BrowsableAPIRenderer):
    """Pages of our own: a view's `template` with the `data` that a program gets as JSON and with what the view's
    `page` adds, or the page about an error."""

    format = "page"

    def render(self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None) -> str:
        view, request, response = (renderer_context[name] for name in ("view", "request", "response"))
        if response.exception:
            return problem_page(data, response.status_code, request)
        # Django's request: REST framework's would ask once more who it is that asks.
        context = {"name": view.get_view_name(), "data": data, **view.page(request, data)}
        return render_to_string(view.template, context, request._request)


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


def wants_page(request: HttpRequest) -> bool:
    """Return whether a browser asks, for an address or with a form, and would rather have HTML than JSON."""
    if is_vendors(request.path_info) or not (request.method in ("GET", "HEAD") or request.content_type in FORMS):
        return False
    try:
        return request.get_preferred_type(["application/json", PROBLEM_JSON, "text/html"]) == "text/html"
    except ValueError:  # as above
        return False


def problem_page(body: dict[str, Any], status: int, request: Any) -> str:
    """Return the page about an error. It asks nobody who is there: what failed may be the place where that is known."""
    known = {name: value for name, value in body.items() if value is not None}
    facts = {name: known[name] for name in known if name not in ("error", "message", "request_id")}
    shown = {name: value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()}
    address = request.get_full_path() if request.content_type in FORMS else ""
    context = {"problem": body, "facts": shown, "status": status, "address": address, "here": request.path}
    return render_to_string("dashboard/problem.html", context)


def _accepts(request: HttpRequest, media_type: str) -> bool:
    try:
        accepted = request.accepted_types
    except ValueError:  # as above
        return False
    return any(f"{kind.main_type}/{kind.sub_type}" == media_type and kind.quality > 0 for kind in accepted)
