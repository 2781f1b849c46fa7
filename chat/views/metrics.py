"""What Prometheus asks for: what was counted, and how things stand."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

from django.db import connection
from django.http import HttpResponse
from django.utils import timezone
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from rest_framework.exceptions import NotFound
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.permissions import SAFE_METHODS, BasePermission, IsAdminUser
from rest_framework.request import Request
from rest_framework.views import APIView

from chat.billing import ledger
from chat.conf import conf
from chat.observability.metrics import exposition
from chat.routing.states import provider_states
from chat.throttling import address_of


class OneFormat(BaseContentNegotiation):
    """Errors come as JSON, whatever a collector accepts."""

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


class FromConfiguredAddress(BasePermission):
    """For who asks from one of CHAT_METRICS_ADDRESSES."""

    def has_permission(self, request: Request, view: Any) -> bool:
        asked_from = ip_address(address_of(request))
        address = getattr(asked_from, "ipv4_mapped", None) or asked_from  # a socket for both kinds says ::ffff:10.0.0.7
        return request.method in SAFE_METHODS and any(
            address in ip_network(network) for network in conf.CHAT_METRICS_ADDRESSES
        )


class MetricsView(APIView):
    """Figures for Prometheus: for the session, or the key, of a user who is staff, and for CHAT_METRICS_ADDRESSES. 404
    unless CHAT_METRICS is set."""

    schema = None
    permission_classes = [FromConfiguredAddress | IsAdminUser]
    content_negotiation_class = OneFormat

    def get(self, request: Request) -> HttpResponse:
        if not conf.CHAT_METRICS:
            raise NotFound
        return HttpResponse(exposition(States()), content_type=CONTENT_TYPE_LATEST)


class States(Collector):
    """How things stand, by the books and the cache that all workers share."""

    def collect(self) -> Iterator[Metric]:
        """Yield each figure. Raises `django.db.Error`."""
        now = timezone.now()
        yield GaugeMetricFamily("chat_in_flight", "Chats whose tokens are reserved.", ledger.in_flight(now).count())
        yield GaugeMetricFamily(
            "chat_unsettled",
            "Chats that must be over and have no bill: a worker cannot write it, or was killed.",
            ledger.overdue(now).count(),
        )
        resting = GaugeMetricFamily("chat_route_resting", "1: no chat is sent there now.", labels=["provider", "model"])
        failures = GaugeMetricFamily("chat_route_failures", "Failures in a row.", labels=["provider", "model"])
        for provider, state in provider_states().items():
            for model, route in state.get("routes", {}).items():
                resting.add_metric([provider, model], route["state"] in ("resting", "not_offered"))
                failures.add_metric([provider, model], route["failures_in_a_row"])
        yield from (resting, failures)
        if connection.vendor == "postgresql":
            yield connections_in_use()


def connections_in_use() -> Metric:
    """Return the connections that this user has to the database, by what they do, of all hosts."""
    statement = (
        "SELECT COALESCE(state, 'unknown'), COUNT(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND usename = current_user GROUP BY 1"
    )
    found = GaugeMetricFamily("chat_database_connections", "Connections to PostgreSQL.", labels=["state"])
    with connection.cursor() as cursor:
        cursor.execute(statement)
        for state, count in cursor.fetchall():
            found.add_metric([state], count)
    return found
