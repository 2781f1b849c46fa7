"""Spans of a server's workers, also those that wait to be sent when it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.collector import collecting, facts


def test_each_worker_sends_its_spans_and_the_last_of_them_when_it_ends(
    fleet_over: Any, redis_url: str, tmp_path: Path
) -> None:
    fleet = fleet_over(f"sqlite:///{tmp_path}/db.sqlite3", redis_url)
    with collecting() as collector:
        fleet.environment |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_SERVICE_NAME": "planted-service",
            "OTEL_BSP_SCHEDULE_DELAY": "60000",  # nothing is sent before the end
        }
        key, url = fleet.new_user("ada"), fleet.serve()
        answers = fleet.at_once([url], key, 12, 3)
        assert {answer.status for answer in answers} == {200}
        assert collector.spans() == []
        fleet.servers[0].terminate()
        assert fleet.servers[0].wait(30) == 0
        chats = [facts(span) for span in collector.spans() if span.kind == 2]
        assert len({chat["chat.request_id"] for chat in chats}) == 36
        assert len(collector.spans()) == 72
        assert collector.services() == {"planted-service"}
    assert sum(chat["chat.tokens_used"] for chat in chats) == sum(fleet.records().values_list("tokens_used", flat=True))
