"""The admin, the browsable API and the docs in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests
from django.conf import settings
from playwright.sync_api import Page, expect

from chat.billing.allowance import period_start
from chat.models import BudgetPeriod, TokenBudget
from tests.support.browser import PHONE, log_in
from tests.support.contract import chat_body


@pytest.fixture
def page(browser, live_server, user, token, admin_user) -> Iterator[Page]:
    with browser.browsing(live_server.url) as page:
        yield page


@pytest.fixture
def spent_budget(user) -> None:
    TokenBudget.objects.create(user=user, limit=500)
    BudgetPeriod.objects.create(user=user, period="month", start=period_start("month", datetime.now(UTC)), used=500)


@pytest.mark.usefixtures("spent_budget")
def test_a_refused_chat_succeeds_once_its_budget_is_raised_in_the_admin(page, live_server, token):
    def chat() -> requests.Response:
        headers = {"Authorization": f"Token {token}"}
        return requests.post(f"{live_server}/chat", json=chat_body(), headers=headers, timeout=30)

    refused = chat()
    assert (refused.status_code, refused.json()["error"]) == (429, "token_budget_exceeded")

    log_in(page, "/admin/", "admin", "password")
    page.get_by_role("link", name="Token budgets").first.click()
    row = page.locator("#result_list tbody tr", has_text="ada")
    expect(row.locator(".field-remaining")).to_have_text("0")
    expect(row.get_by_role("meter", name="Used or reserved by ada")).to_be_visible()
    expect(row.locator(".field-share")).to_contain_text("100 %")
    row.locator("[name$=limit]").first.fill("5000")
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_contain_text("1 token budget was changed successfully.")
    expect(page.locator(".field-remaining")).to_have_text("4,500")

    answered = chat()
    assert answered.status_code == 200, answered.text
    page.goto("/admin/chat/usagerecord/")
    expect(page.locator("#result_list")).to_contain_text(answered.json()["upstream_model"])


def test_a_chat_is_sent_from_the_browsable_api_and_its_errors_read_well(page):
    page.goto("/chat")
    page.get_by_role("alert").get_by_role("link", name="log in").click()
    log_in(page, page.url, "ada", "a password for tests")
    expect(page.get_by_text("press POST")).to_be_visible()

    page.get_by_role("button", name="POST").click()
    expect(page.locator(".response-info")).to_contain_text("HTTP 200 OK")
    expect(page.locator(".response-info")).to_contain_text('"response": "')
    expect(page.get_by_role("alert")).to_have_count(0)

    box = page.locator("textarea")
    box.fill(box.input_value().replace("claude-3", "unknown-model"))
    page.get_by_role("button", name="POST").click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("No model of this name is on offer.")
    expect(alert).to_contain_text("in the log it is request ")
    expect(page.locator(".response-info")).to_contain_text('"available_models"')
    alert.get_by_role("link", name="model_not_found").click()
    expect(page.get_by_role("heading", name="Model not found")).to_be_visible()
    page.go_back()
    page.get_by_text("ada", exact=True).click()
    page.get_by_role("link", name="Log out").click()
    expect(page.get_by_role("link", name="Log in").first).to_be_visible()


def test_the_docs_show_every_operation_and_send_a_chat(page, token):
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.goto("/docs")
    expect(page.locator(".opblock")).to_have_count(23)

    page.get_by_role("button", name="Authorize").click()
    page.locator("#auth-bearer-value").fill(token)
    page.locator(".auth-container", has=page.locator("#auth-bearer-value")).locator("button.authorize").click()
    page.locator(".btn-done").first.click()

    chat = page.locator("#operations-chat-post_chat")
    chat.locator(".opblock-summary-control").click()
    expect(chat).to_contain_text("token_budget_exceeded")
    chat.get_by_role("button", name="Try it out").click()
    chat.get_by_role("button", name="Execute").click()
    expect(chat.locator(".live-responses-table")).to_contain_text('"finish_reason": "stop"')
    assert said == []


def test_the_docs_are_light_or_dark_as_the_browser_is_fit_a_phone_and_lead_back(browser, live_server):
    dark, light = "rgb(28, 32, 34)", "rgb(255, 255, 255)"
    with browser.browsing(live_server.url, **PHONE) as page:
        page.goto("/docs")
        page.locator("#operations-chat-post_chat .opblock-summary-control").click()
        expect(page.get_by_text("token_budget_exceeded").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["viewport"]["width"]
        expect(page.locator("#swagger-ui .swagger-ui")).to_have_css("background-color", dark)
        page.emulate_media(color_scheme="light")
        expect(page.locator("body")).to_have_css("background-color", light)
        expect(page.locator("#swagger-ui .swagger-ui")).not_to_have_css("background-color", dark)
        page.get_by_role("link", name="Playground").click()
        expect(page.get_by_role("heading", name="Playground")).to_be_visible()


def test_the_readmes_stream_with_fetch(page, live_server, token):
    (script,) = re.findall(r"```js\n(.*?)```", (Path(settings.BASE_DIR) / "README.md").read_text(), re.DOTALL)
    script = script.replace("http://127.0.0.1:8000", live_server.url).replace("<key>", token)
    page.goto("/models")
    answer, whole = page.evaluate(f"async () => {{ {script}; return [answer, whole]; }}")
    assert answer.startswith("Good question about hello.")
    assert whole["finish_reason"] == "stop"
    broken = script.replace("Hello!", "/fault truncated")
    told = page.evaluate(f"async () => {{ try {{ {broken} }} catch (error) {{ return error; }} }}")
    assert told["error"] == "invalid_provider_response"
