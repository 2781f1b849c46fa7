"""Chats against a provider that fails in every way we know, and the table of what came of them."""

from __future__ import annotations

import math
import random
import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import Sum
from knox.models import get_token_model
from rest_framework.test import APIClient

from chat.models import UsageRecord

FAULTS = re.findall(
    r"\w+",
    """
    ok slow usage_missing refusal hang hang_after_headers drip_headers drip_body endless_header endless_headers
    endless_continue reset close close_half_way chunk_half_way bad_status_line redirect huge gzip_bomb bad_gzip html
    broken_json empty_body error_in_200 no_choices empty_content rate_limit terminal_429 bad_key unavailable overloaded
    """,
)
TIMEOUT = 1.0
"""Seconds for one attempt."""
PAIRED = "-then-healthy"


class Chat(NamedTuple):
    """One chat's outcome; `answer` is its status, with the error's code."""

    model: str
    answer: str
    milliseconds: float


def models_file(url: str, protocol: str) -> str:
    """A provider for each fault, so that one's rest is not another's; each alone, and before a healthy one."""
    suffix = "/v1" if protocol == "openai" else ""
    limits = "max_output_tokens = 256\ndefault_output_tokens = 64\n"
    sections = []
    for fault in [*FAULTS, "healthy"]:
        base_url = f"{url}/{fault}{suffix}"
        sections.append(f'[providers.{fault}]\nprotocol = "{protocol}"\nbase_url = "{base_url}"\ntimeout = {TIMEOUT}\n')
    for fault in FAULTS:
        sections.append(f'[models.{fault}]\nroutes = ["{fault}:m"]\n{limits}')
        sections.append(f'[models.{fault}{PAIRED}]\nroutes = ["{fault}:m", "healthy:m"]\n{limits}')
    return "\n".join(sections)


def fault_of(request: Any) -> str:
    """The provider that a request was meant for, which is the fault that it shows."""
    return str(request.path.split("/")[1])


def run(number: int, concurrency: int) -> list[Chat]:
    """`number` chats, dealt evenly to all models, in random order."""
    user = get_user_model().objects.create_user("chaos")
    key = get_token_model().objects.create(user=user)[1]
    models = [fault + kind for kind in ("", PAIRED) for fault in FAULTS]
    dealt = [models[index % len(models)] for index in range(number)]
    random.shuffle(dealt)

    def chat(index: int) -> Chat:
        client, model = APIClient(raise_request_exception=False), dealt[index]
        body = {"model": model, "messages": [{"role": "user", "content": f"This is chat {index}."}]}
        started = time.monotonic()
        try:
            response: Any = client.post("/chat", body, format="json", headers={"Authorization": f"Token {key}"})
        finally:
            connection.close()
        answer = str(response.status_code)
        if response.status_code != 200:
            answer += f" {response.json()['error']}"
        return Chat(model, answer, (time.monotonic() - started) * 1000)

    with ThreadPoolExecutor(concurrency) as pool:
        return list(pool.map(chat, range(number)))


def table(chats: list[Chat], calls: Counter[str]) -> str:
    """One line a fault, as Markdown."""
    charged = dict(UsageRecord.objects.values_list("model").annotate(Sum("tokens_used")))
    rows: list[tuple[str, ...]] = [
        ("fault", "alone", "with a healthy second", "calls", "p50 ms", "p99 ms", "tokens charged")
    ]
    for fault in FAULTS:
        names = (fault, fault + PAIRED)
        took = sorted(chat.milliseconds for chat in chats if chat.model in names)
        answers = [Counter(chat.answer for chat in chats if chat.model == name) for name in names]
        if took:
            told = [", ".join(f"{n} x {answer}" for answer, n in counts.most_common()) or "-" for counts in answers]
            p50, p99 = (f"{took[math.ceil(len(took) * share) - 1]:.0f}" for share in (0.5, 0.99))
            tokens = sum(charged.get(name, 0) for name in names)
            rows.append((fault, *told, str(calls[fault]), p50, p99, str(tokens)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])
