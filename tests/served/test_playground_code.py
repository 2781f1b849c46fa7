"""The playground's request in code, in a real browser: what is copied asks the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.support.browser import DESKTOP
from tests.support.contract import chat_body


@pytest.fixture
def desktop(browser, live_server, token) -> Iterator[Page]:
    with browser.browsing(live_server.url, **DESKTOP) as page:
        yield page


NASTY = 'It\'s "quoted" \\ $HOME `id` %s {x}\n\tand a second line: é 😀 \u2028.'


def test_the_same_in_code_asks_the_same(desktop, live_server, token, settings):
    settings.SIMULATOR_LATENCY = 0.0
    desktop.goto("/playground")
    desktop.get_by_label("System prompt").fill("Be 'brief'.")
    desktop.get_by_label("Max tokens").fill("30")
    desktop.get_by_label("Message").fill(NASTY)
    messages = [{"role": "system", "content": "Be 'brief'."}, {"role": "user", "content": NASTY}]
    body = chat_body(model=desktop.get_by_label("Model").input_value(), max_tokens=30) | {"messages": messages}
    headers = {"Authorization": f"Token {token}"}
    whole = requests.post(f"{live_server}/chat", json=body, headers=headers, timeout=30).json()["response"]

    def code(language: str) -> str:
        desktop.get_by_label(language, exact=True).check()
        shown = str(desktop.locator("#code").evaluate("code => code.textContent"))
        assert shown.count("<key>") == 1
        return shown.replace("<key>", token)

    def output(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    events = output("bash", "-c", code("curl"))
    assert "".join(json.loads(data)["text"] for data in re.findall(r"event: delta\ndata: (.*)", events)) == whole
    assert desktop.evaluate(f"async () => {{ {code('fetch')}\nreturn answer.response; }}") == whole
    assert output(sys.executable, "-c", code("openai")) == f"{whole}\n"
    assert output(sys.executable, "-c", code("anthropic")) == f"{whole}\n"


def test_the_code_is_copied(desktop):
    desktop.context.grant_permissions(["clipboard-read", "clipboard-write"])
    desktop.goto("/playground?message=Hi")
    desktop.get_by_label("openai", exact=True).check()
    desktop.get_by_role("button", name="Copy").click()
    expect(desktop.get_by_role("button", name="Copied")).to_be_visible()
    shown = desktop.locator("#code").evaluate("code => code.textContent")
    assert desktop.evaluate("navigator.clipboard.readText()") == shown
