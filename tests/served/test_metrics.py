"""The figures of several workers are one sum, and a worker that is killed takes none with it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import requests
from django.contrib.auth.models import User
from prometheus_client.parser import text_string_to_metric_families

from tests.support.databases import ALIAS
from tests.support.machine import children
from tests.support.rig import eventually


def test_workers_count_together_and_a_killed_one_takes_nothing_with_it(
    fleet_over: Any, redis_url: str, tmp_path: Path
) -> None:
    fleet = fleet_over(f"sqlite:///{tmp_path}/db.sqlite3", redis_url)
    fleet.environment |= {"CHAT_METRICS": "true", "TMPDIR": str(tmp_path)}
    key, url = fleet.new_user("ada"), fleet.serve()
    User.objects.using(ALIAS).update(is_staff=True)

    def counted() -> float:
        text = requests.get(f"{url}/metrics", headers={"Authorization": f"Bearer {key}"}, timeout=30).text
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        return sum(sample.value for sample in samples if sample.name == "chat_requests_total")

    assert all(answer.status == 200 for answer in fleet.at_once([url], key, 12, 3))
    assert counted() == 36
    before = children(fleet.servers[0].pid)
    assert len(before) == 2
    for worker in before:
        os.kill(worker, signal.SIGKILL)
    eventually(lambda: len(set(children(fleet.servers[0].pid)) - set(before)) == 2, 20)
    eventually(lambda: counted() == 36, 20)
    assert fleet.chat(url, key).status == 200
    assert counted() == 37
    (directory,) = tmp_path.glob("chat-metrics-*")
    fleet.servers[0].terminate()
    assert fleet.servers[0].wait(30) == 0
    assert not directory.exists()


def test_the_pools_of_the_workers_are_added_up_and_a_killed_ones_is_gone(
    fleet_over: Any, postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    fleet = fleet_over(postgres_url, redis_url)
    fleet.environment |= {"CHAT_METRICS": "true", "TMPDIR": str(tmp_path), "DATABASE_POOL": "1"}
    key, url = fleet.new_user("ada"), fleet.serve()
    User.objects.using(ALIAS).update(is_staff=True)

    def told() -> dict[str, float]:
        text = requests.get(f"{url}/metrics", headers={"Authorization": f"Bearer {key}"}, timeout=30).text
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        pool = (sample for sample in samples if sample.name.startswith("chat_pool"))
        return {sample.labels.get("state", sample.name): sample.value for sample in pool}

    assert all(answer.status == 200 for answer in fleet.at_once([url], key, 20, 4))
    busy = told()
    assert 1 <= busy["open"] <= 2  # one of each worker
    assert 0 <= busy["idle"] <= busy["open"]
    assert busy["chat_pool_waits_total"] > 0
    assert busy["chat_pool_wait_seconds_total"] > 0
    assert busy["chat_pool_failures_total"] == 0
    before = children(fleet.servers[0].pid)
    for worker in before:
        os.kill(worker, signal.SIGKILL)
    eventually(lambda: len(set(children(fleet.servers[0].pid)) - set(before)) == 2, 20)
    after = eventually(lambda: (found := told()).get("open", 0) == 0 and found, 20)
    assert after["chat_pool_waits_total"] == busy["chat_pool_waits_total"]
