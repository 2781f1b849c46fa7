"""The pages for users in a real browser, on a desktop and on a phone: their figures are the books'."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import requests
from playwright.sync_api import Page, Route, expect

from chat.billing.allowance import period_start
from chat.models import BudgetPeriod, TokenBudget, UsageRecord
from chat.types.money import nano_dollars, shown
from tests.support.browser import DESKTOP, PHONE, log_in
from tests.support.contract import chat_body
from tests.support.rig import eventually

PASSWORD = "a password for tests"
SIZES = {"desktop": DESKTOP, "phone": PHONE}
HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"


@pytest.fixture
def books(user) -> None:
    """Thirty days of use."""
    TokenBudget.objects.create(user=user, limit=100_000, rate_limit="1000/m")
    now = datetime.now(UTC)
    records = []
    for ago, model, tokens in [(0, "gpt-4", 900), (0, "claude-3", 300), (4, "gpt-4", 1_800), (29, "llama-2", 450)]:
        at = now - timedelta(days=ago)
        facts = {"period": "month", "period_start": period_start("month", at), "created_at": at, "expires_at": at}
        facts |= {"tokens_used": tokens, "cost": tokens * 1_000}
        records.append(UsageRecord(user=user, model=model, reserved=0, state="settled", **facts))
    UsageRecord.objects.bulk_create(records)
    used = sum(record.tokens_used for record in records if record.period_start == period_start("month", now))
    BudgetPeriod.objects.create(user=user, period="month", start=period_start("month", now), used=used)


@pytest.fixture(params=SIZES)
def page(request, browser, live_server, books, token, settings) -> Iterator[Page]:
    settings.SIMULATOR_LATENCY = 0.5
    with browser.browsing(live_server.url, **SIZES[request.param]) as page:
        yield page
        assert page.title() != "taken"
        assert page.evaluate("document.documentElement.scrollWidth <= screen.width")


def told(live_server, token, path="/usage"):
    return requests.get(f"{live_server}{path}", headers={"Authorization": f"Token {token}"}, timeout=30).json()


def number(text: str) -> int:
    return int(re.sub(r"\D", "", text))


def dollars(day: dict[str, Any]) -> str:
    return shown(nano_dollars(Decimal(str(day["cost"]))))


def say(page: Page, text: str) -> None:
    expect(page.locator("#code")).not_to_be_empty()  # the script is at work
    page.get_by_label("Message").fill(text)
    page.get_by_label("Message").press("Enter")


# --- /usage -----------------------------------------------------------------------------------------------------------
def test_the_figures_of_usage_are_the_books(page, live_server, token):
    log_in(page, "/api-auth/login/?next=/usage", "ada", PASSWORD)
    body = told(live_server, token)
    expect(page.get_by_role("heading", level=2).first).to_have_text(f"{body['remaining']:,} tokens left")
    expect(page.locator("main")).to_contain_text(body["resets_at"][:10])
    assert page.get_by_role("meter").evaluate("meter => [meter.value, meter.max]") == [body["used"], body["limit"]]

    page.get_by_text("The numbers").press("Enter")
    cells = page.locator("details tbody tr").evaluate_all("rows => rows.map((row) => row.innerText.split('\\t'))")
    days = [(day.strip(), number(chats), number(tokens), cost.strip()) for day, chats, tokens, cost in cells]
    assert days == [(day["date"], day["requests"], day["tokens_used"], dollars(day)) for day in body["daily"]]

    models = (
        page.locator("section")
        .last.locator("tbody tr")
        .evaluate_all("rows => rows.map((row) => row.innerText.split('\\t'))")
    )
    sums = [(name.strip(), number(chats), number(tokens)) for name, chats, tokens, _ in models]
    assert [cost.strip() for *_, cost in models] == ["$0.0027", "$0.00045", "$0.0003"]
    assert sums == [("gpt-4", 2, 2_700), ("llama-2", 1, 450), ("claude-3", 1, 300)]

    drawn = page.locator(".plot g").evaluate_all(
        "days => days.map((day) => [...day.querySelectorAll('rect:not(.day)')].map((part) => {"
        "  const box = part.getBoundingClientRect(); return [box.height, box.bottom, getComputedStyle(part).fill]; }))"
    )
    full = page.locator(".plot .day").first.evaluate("day => day.getBoundingClientRect().height")
    assert len(drawn) == 30
    assert [round(sum(part[0] for part in day) / full, 2) for day in drawn if day] == [0.25, 1.0, 0.67]
    assert len({part[2] for day in drawn for part in day}) == 3
    colours = page.locator(".swatch").evaluate_all("all => all.map((one) => getComputedStyle(one).backgroundColor)")
    assert [part[2] for part in drawn[29]] == [colours[0], colours[2]]


# --- /playground ------------------------------------------------------------------------------------------------------
def test_a_chat_streams_and_its_tokens_are_the_books(page, live_server, token):
    log_in(page, "/api-auth/login/?next=/playground", "ada", PASSWORD)
    before = told(live_server, token)["used"]
    page.get_by_label("Model").select_option("gpt-4")
    page.evaluate("""() => {
      window.sizes = new Set();
      const note = () => sizes.add(transcript.innerText.length);
      new MutationObserver(note).observe(transcript, {childList: true, subtree: true});
    }""")
    say(page, "What is a budget?")
    facts = page.locator(".facts")
    expect(facts).to_contain_text("by simulator")
    assert len(page.evaluate("[...sizes]")) > 10  # it came bit by bit
    said = facts.inner_text()
    tokens, asked, answered = map(int, re.match(r"(\d+) tokens \((\d+) \+ (\d+)\)", said).groups())
    assert tokens == asked + answered == told(live_server, token)["used"] - before
    assert f" · ${told(live_server, token)['cost']['used']} · " in said
    expect(page.locator("article").last).to_contain_text("gpt-4")
    answer = page.locator("article .text").last.inner_text()
    body = chat_body("What is a budget?", model="gpt-4")
    whole = requests.post(f"{live_server}/chat", json=body, headers={"Authorization": f"Token {token}"}, timeout=30)
    assert answer == whole.json()["response"]

    say(page, "And what comes after it?")  # with all that was said
    expect(facts).to_have_count(2)
    assert int(re.search(r"\((\d+) \+", facts.last.inner_text())[1]) > asked + answered
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator("article")).to_have_count(0)


def test_a_chat_stops(page, live_server, token, settings):
    settings.SIMULATOR_LATENCY = 20.0
    log_in(page, "/api-auth/login/?next=/playground", "ada", PASSWORD)
    before = told(live_server, token)["used"]
    say(page, "Tell me everything")
    expect(page.locator(".theirs .text")).not_to_be_empty()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("article").last).to_contain_text("Stopped. What had arrived is charged.")
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    assert len(page.locator(".theirs .text").inner_text()) < 100
    eventually(lambda: told(live_server, token)["reserved"] == 0)
    assert 0 < told(live_server, token)["used"] - before < 50


def test_an_error_is_provoked_from_its_page_and_shows_its_facts(page, live_server):
    log_in(page, "/api-auth/login/?next=/errors", "ada", PASSWORD)
    page.get_by_role("link", name="provider_rate_limited", exact=True).click()
    page.get_by_role("link", name="Provoke it in the playground").click()
    expect(page.get_by_label("Message")).to_have_value("/fault rate_limit")
    expect(page.locator("article")).to_have_count(0)  # a link asks nothing by itself
    page.get_by_role("button", name="Send").click()
    box = page.get_by_role("alert")
    expect(box).to_contain_text("try again in 7 seconds")
    expect(box).to_contain_text("status 503; in the log it is request ")
    assert box.locator("dt").all_inner_texts() == ["retry_after", "provider"]
    assert box.locator("dd").all_inner_texts() == ["7", "simulator"]
    expect(page.get_by_label("Message")).to_have_value("/fault rate_limit")
    page.get_by_label("Message").fill("Something else")
    box.get_by_role("button", name="Send again").click()
    expect(page.get_by_role("alert")).to_have_count(2)
    expect(page.locator(".mine .text").last).to_have_text("/fault rate_limit")
    page.get_by_role("alert").last.get_by_role("link", name="provider_rate_limited").click()
    expect(page.get_by_role("heading", name="Provider rate limited")).to_be_visible()


def test_a_stream_that_breaks_off_shows_the_error_below_what_came(page):
    log_in(page, "/api-auth/login/?next=/playground?message=%2Ffault+truncated", "ada", PASSWORD)
    expect(page.get_by_label("Message")).to_have_value("/fault truncated")  # once the script is at work
    say(page, "/fault truncated")
    expect(page.get_by_role("alert")).to_contain_text("The answer broke off; what had arrived is charged")
    expect(page.get_by_role("alert")).to_contain_text("status 502")
    expect(page.locator("article .text").last).not_to_be_empty()


def test_a_key_is_enough_and_is_kept_only_where_that_is_asked(page, token):
    page.goto("/playground")
    say(page, "Hello!")
    expect(page.get_by_role("alert")).to_contain_text("not_authenticated")
    expect(page.get_by_role("alert").get_by_role("link", name="Log in")).to_be_visible()
    page.get_by_label("Key").fill("wrong")
    say(page, "Hello!")
    expect(page.get_by_role("alert").last).to_contain_text("This key is not known.")
    page.get_by_label("Key", exact=True).fill(token)
    say(page, "Hello!")
    expect(page.locator(".facts")).to_have_count(1)
    kept = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href, history.state])"
    assert token not in page.evaluate(kept)
    assert token not in page.locator("#code").inner_text()
    page.reload()
    expect(page.get_by_label("Key", exact=True)).to_have_value("")

    page.get_by_label("Key", exact=True).fill(token)
    page.get_by_label("Keep it").check()
    page.reload()
    expect(page.get_by_label("Key", exact=True)).to_have_value(token)
    assert token not in page.evaluate("JSON.stringify({...localStorage})")
    page.get_by_label("Keep it").uncheck()
    assert token not in page.evaluate(kept)


def test_what_anybody_wrote_is_text(page, token):
    def answer(route: Route) -> None:
        sent.append(route.request.post_data_json)
        if len(sent) == 1:
            usage = {"prompt_tokens": 1, "completion_tokens": 2}
            done = {"tokens_used": 3, "usage": usage, "finish_reason": "stop", "provider": HOSTILE, "cost": HOSTILE}
            done |= {"model": "m", "upstream_model": HOSTILE, "request_id": HOSTILE, "message": HOSTILE}
            events = [("delta", {"text": HOSTILE}), ("done", done)]
            stream = "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events)
            route.fulfill(body=f": keep-alive\n\n{stream}", content_type="text/event-stream")
        else:
            facts = {"status_page": "javascript:document.title='taken'", "more": [HOSTILE], HOSTILE: HOSTILE}
            route.fulfill(status=503, json={"error": HOSTILE, "message": HOSTILE, "request_id": HOSTILE} | facts)

    sent: list[Any] = []
    page.route("**/chat", answer)
    page.goto("/playground?" + "&".join(f"{name}={HOSTILE}" for name in ("message", "model", "system", "temperature")))
    page.get_by_label("Key", exact=True).fill(HOSTILE.encode().hex())
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".facts")).to_contain_text(HOSTILE)
    expect(page.locator("article .text").last).to_have_text(HOSTILE)
    page.get_by_label("Message").fill(HOSTILE)
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert")).to_contain_text(HOSTILE)
    assert sent[0]["model"] == sent[0]["temperature"] == HOSTILE
    assert page.locator("#transcript img, #transcript script, #code img, a[href^='javascript']").count() == 0


# --- every page -------------------------------------------------------------------------------------------------------
OURS = ["/", "/usage", "/errors", "/errors/token_budget_exceeded", "/playground", "/nowhere"]
THEIRS = ["/models", "/chat"]
NAMELESS = """() => [...document.querySelectorAll("a, button, input:not([type=hidden]), select, textarea")]
  .filter((one) => !one.labels?.length && !one.innerText?.trim() && !one.ariaLabel && !one.hidden)
  .map((one) => one.outerHTML)"""


def test_the_pages_fit_the_screen_and_the_keyboard_goes_first_to_their_content(page):
    log_in(page, "/api-auth/login/", "ada", PASSWORD)
    for path in OURS + THEIRS:
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth <= screen.width"), path
        if path in OURS:
            page.keyboard.press("Tab")
            skip = page.get_by_role("link", name="Skip to the content")
            expect(skip).to_be_focused()
            skip.press("Enter")
            assert page.url.endswith("#main")
            assert page.evaluate(NAMELESS) == []
