"""A real browser, in which a page must load everything from its own server and run without an error."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Page, expect, sync_playwright

from tests.conftest import unavailable

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Nothing that the browser would fetch on its own account, and no sandbox, which root may not have.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}}
SMALL = {"width": 360, "height": 740}
PHONE: dict[str, Any] = {"viewport": SMALL, "is_mobile": True, "has_touch": True, "color_scheme": "dark"}


def chromium(bundled: str) -> str:
    """The path of a Chromium: the system's, else Playwright's own."""
    paths = [path for path in map(shutil.which, NAMES) if path] + [bundled] * Path(bundled).exists()
    return (
        paths[0] if paths else unavailable("There is no Chromium: install one, or run `playwright install chromium`.")
    )


@contextmanager
def browsing(url: str, **options: Any) -> Iterator[Page]:
    """Give a page of the server at `url`; `options` are of its context, `PHONE` for example.

    Playwright keeps an event loop in this thread, next to which Django refuses to touch the database: what a test needs
    in there is made by fixtures that come before this.
    """
    errors: list[str] = []
    refused: list[str] = []
    visited: set[str] = set()
    with sync_playwright() as playwright:
        path = chromium(playwright.chromium.executable_path)
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        page = browser.new_page(base_url=url, **options)
        page.set_default_timeout(15_000)
        page.on("request", lambda request: visited.add(urlsplit(request.url).netloc))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: refused.append(said.text) if "Content Security Policy" in said.text else None)
        yield page
        browser.close()
    assert (errors, refused) == ([], [])
    assert visited - {""} == {urlsplit(url).netloc}


def log_in(page: Page, path: str, username: str, password: str) -> None:
    page.goto(path)
    page.fill("[name=username]", username)
    page.fill("[name=password]", password)
    page.locator("[type=submit], main button").first.click()
    expect(page.locator("body")).to_contain_text(username, ignore_case=True)
