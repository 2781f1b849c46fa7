"""What Prometheus is told, read by its own parser."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from django.conf import settings
from prometheus_client.parser import text_string_to_metric_families
from rest_framework.test import APIClient

from chat.models import UsageRecord
from chat.observability.metrics import own
from chat.views.metrics import States
from tests.routing.test_hedging import held
from tests.support.asking import OPENAI, post
from tests.support.rig import eventually

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _on(settings):
    settings.CHAT_METRICS = True


@pytest.fixture
def scraped(rig, user):
    """Returns what changed of the samples since the last time it was called."""
    user.is_staff = True
    user.save()
    collector, before = APIClient(headers={"Authorization": f"Bearer {rig.token}"}), {}

    def read():
        text = collector.get("/metrics").content.decode()
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        now = {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in samples}
        changed = {key: value - before.get(key, 0) for key, value in now.items() if value != before.get(key, 0)}
        before.update(now)
        return changed

    read()
    return read


def of(changed, name):
    """The samples of a name, by their labels."""
    return {tuple(value for _, value in labels): value for (found, labels), value in changed.items() if found == name}


def test_a_chat_is_counted_with_its_tokens_and_its_calls(rig, scraped):
    rig.first.then("unavailable")
    assert rig.chat("pair").status_code == 200
    record, found = rig.record(), scraped()
    assert of(found, "chat_requests_total") == {("", "chat", "pair", "settled", record.provider): 1}
    tokens = {labels[0]: value for labels, value in of(found, "chat_tokens_total").items()}
    assert tokens == {"prompt": record.prompt_tokens, "completion": record.completion_tokens}
    assert of(found, "chat_duration_seconds_count") == {("pair", "settled"): 1}
    assert sum(of(found, "chat_duration_seconds_sum").values()) == pytest.approx(record.duration_ms / 1000)
    calls = {(labels[1], labels[0]): value for labels, value in of(found, "chat_provider_call_seconds_count").items()}
    assert calls == {(attempt["provider"], attempt.get("reason", "answered")): 1 for attempt in record.attempts}
    assert of(found, "chat_first_token_seconds_count") == {}


def test_a_stream_says_when_its_first_piece_came(rig, scraped):
    b"".join(post(rig, OPENAI, stream=True).streaming_content)
    assert of(scraped(), "chat_first_token_seconds_count") == {("alone",): 1}


@pytest.mark.django_db(transaction=True)
def test_tokens_of_a_call_that_was_abandoned_are_counted_when_they_come_in(rig, scraped, settings):
    settings.CHAT_HEDGE_AFTER = 0.1
    with held("ok") as rig.first.always:
        assert rig.chat("pair").json()["provider"] == "second"
        assert ("uncharged", "pair", "first") not in of(scraped(), "chat_tokens_total")
    eventually(lambda: rig.record().uncharged_tokens == 21)
    assert of(scraped(), "chat_tokens_total") == {("uncharged", "pair", "first"): 21}


def test_money_is_counted_to_the_nano_dollar(rig, scraped):
    rig.offer(
        f'[providers.first]\nprotocol = "openai"\nbase_url = "{rig.first.openai_url}"\n'
        '[models.alone]\nroutes = [{ provider = "first", model = "m", price = { input = 0.1, output = 0.5 } }]\n'
        "max_output_tokens = 4096\ndefault_output_tokens = 64"
    )
    assert rig.chat("alone").status_code == 200
    assert of(scraped(), "chat_cost_nanodollars_total") == {("alone", "first"): rig.record().cost}


def test_failures_and_refusals_are_counted_by_their_exceptions(rig, scraped):
    rig.first.always = "html"
    assert rig.chat("alone").status_code == 502
    assert rig.chat("none").status_code == 404
    found = scraped()
    assert list(of(found, "chat_requests_total")) == [
        ("InvalidProviderResponseError", "chat", "alone", "released", "first")
    ]
    assert of(found, "chat_refusals_total") == {("ModelNotFoundError", "chat"): 1}


def test_a_client_names_no_label(rig, scraped):
    rig.chat("x" * 90)
    rig.chat("alone", headers={"X-Request-ID": "mine"})
    assert not [key for key in scraped() if "xxx" in str(key) or "mine" in str(key)]


def test_how_things_stand(rig, user, scraped, time_machine):
    time_machine.move_to("2027-03-10T12:00:00Z", tick=False)
    rig.first.always = "bad_key"
    rig.chat("alone")
    now = UsageRecord.objects.get().created_at
    facts = {"user": user, "period": "month", "period_start": now, "model": "m", "reserved": 10, "created_at": now}
    UsageRecord.objects.create(request_id="r", expires_at=now, **facts)
    found = scraped()
    assert of(found, "chat_in_flight") == {(): 1}
    assert of(found, "chat_route_resting") == {("m", "first"): 1}
    time_machine.shift(61)
    found = scraped()
    assert (of(found, "chat_in_flight"), of(found, "chat_unsettled")) == ({(): -1}, {(): 1})


def test_a_flood_of_scrapes_costs_few_statements(rig, admin_client, django_assert_max_num_queries):
    with django_assert_max_num_queries(6):  # the session and its user, and the figures
        assert admin_client.get("/metrics").status_code == 200


def test_it_is_for_staff_alone(client, rig, user, settings):
    assert client.get("/metrics").status_code == 401
    keyed = APIClient(headers={"Authorization": f"Bearer {rig.token}", "Accept": "application/openmetrics-text"})
    refused = keyed.get("/metrics")
    assert (refused.status_code, refused.json()["error"]) == (403, "permission_denied")
    user.is_staff = True
    user.save()
    answer = keyed.get("/metrics")
    assert (answer.status_code, answer["Content-Type"].partition(";")[0]) == (200, "text/plain")
    settings.CHAT_METRICS = False
    assert keyed.get("/metrics").status_code == 404


@pytest.mark.parametrize(
    ("hops", "peer", "forwarded", "status"),
    [
        (0, "10.1.2.3", "", 200),
        (0, "::ffff:10.1.2.3", "", 200),
        (0, "10.2.2.3", "", 401),
        (0, "10.2.2.3", "10.1.2.3", 401),
        (1, "127.0.0.1", "10.1.2.3", 200),
        (1, "127.0.0.1", "10.1.2.3, 10.2.2.3", 401),
        (0, "fd00::7", "", 200),
        (0, "", "", 401),
    ],
)
def test_configured_addresses_need_no_key(client, settings, hops, peer, forwarded, status):
    settings.CHAT_METRICS_ADDRESSES, settings.TRUSTED_PROXY_HOPS = ["10.1.0.0/16", "fd00::7"], hops
    asked = {"REMOTE_ADDR": peer} | ({"HTTP_X_FORWARDED_FOR": forwarded} if forwarded else {})
    assert client.get("/metrics", **asked).status_code == status
    assert client.get("/usage", headers={"accept": "application/json"}, **asked).status_code == 401


def test_nothing_is_counted_where_nobody_asks(rig, scraped, settings):
    settings.CHAT_METRICS = False
    rig.chat("alone")
    rig.chat("none")
    settings.CHAT_METRICS = True
    assert not of(scraped(), "chat_requests_total")


# --- the dashboard ----------------------------------------------------------------------------------------------------
def test_each_figure_of_the_dashboard_and_of_the_manuals_rules_exists():
    docs = Path(settings.BASE_DIR) / "genai_site" / "docs"
    dashboard = json.loads((docs / "grafana.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = re.findall(r"expr: (.+)", (docs / "operate.md").read_text())
    assert len(rules) == 4
    expressions += rules
    asked = {name for expression in expressions for name in re.findall(r"\bchat_\w+", expression)}
    counted = {family.name for family in own.collect()}
    states = {family.name for family in States().collect()} | {"chat_database_connections"}
    suffixed = {f"{name}{suffix}" for name in counted for suffix in ("_total", "_bucket", "_count")}
    gauges = {family.name for family in own.collect() if family.type == "gauge"}
    assert asked <= suffixed | gauges | states
    assert {name for name in counted | states if not any(found.startswith(name) for found in asked)} == set()
