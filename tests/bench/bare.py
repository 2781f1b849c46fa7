"""The yardstick: one DRF view that calls the provider with `requests`, and nothing else. No key, no budget, no log."""

from __future__ import annotations

import os
from typing import Any

import requests
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.urls import path

settings.configure(
    SECRET_KEY="only for the bench",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["rest_framework"],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_PERMISSION_CLASSES": [],
        "UNAUTHENTICATED_USER": None,
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    },
)
application = get_wsgi_application()

from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402

session = requests.Session()
session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=2000))
url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"


class BareView(APIView):
    def post(self, request: Request) -> Response:
        data: Any = request.data
        body = {"model": "bench", "messages": data["messages"]}
        answer = session.post(url, json=body, headers={"Authorization": "Bearer x"}, timeout=30).json()
        return Response({"response": answer["choices"][0]["message"]["content"]})


urlpatterns = [path("chat", BareView.as_view())]
