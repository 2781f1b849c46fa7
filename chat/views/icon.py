"""The icon of a browser's tab."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

ICON = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">\
<path fill="#1a56c4" d="M6 3h20a4 4 0 0 1 4 4v13a4 4 0 0 1-4 4H15l-7 6v-6H6a4 4 0 0 1-4-4V7a4 4 0 0 1 4-4z"/>\
<path fill="#fff" d="M8 9h16v2.5H8zM8 14.5h10V17H8z"/></svg>"""
"""A speech bubble, with no style inline for a content security policy to refuse."""


@method_decorator(csrf_exempt, name="dispatch")  # there is nothing to forge
class IconView(View):
    """The icon, at the address where browsers look for it unasked, below JSON and the admin's pages, too."""

    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(ICON, content_type="image/svg+xml", headers={"Cache-Control": "public, max-age=86400"})
