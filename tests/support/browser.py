"""A real browser, in which a page must load everything from its own server and run without an error."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, Page, Playwright, expect, sync_playwright

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
PATIENCE = 40_000
"""Milliseconds until an act or a wish of a test has failed, for a machine that has ten other things to do."""
expect.set_options(timeout=PATIENCE)
POLICY = "Content Security Policy"
"""In whatever the browser says of what it may not load."""
SMALL = {"width": 360, "height": 740}
PHONE: dict[str, Any] = {"viewport": SMALL, "is_mobile": True, "has_touch": True, "color_scheme": "dark"}


def chromium(bundled: str) -> str:
    """The path of a Chromium: the system's, else Playwright's own."""
    paths = [path for path in map(shutil.which, NAMES) if path] + [bundled] * Path(bundled).exists()
    return (
        paths[0] if paths else unavailable("There is no Chromium: install one, or run `playwright install chromium`.")
    )


class SharedBrowser:
    """One Chromium for all tests of a process, since it takes longer to start than most of them. Each test has a
    context, which is a profile, of its own."""

    def __init__(self) -> None:
        self.playwright: Playwright | None = None

    def start(self) -> None:
        self.playwright = sync_playwright().start()
        self.loop = asyncio.get_running_loop()
        path = chromium(self.playwright.chromium.executable_path)
        self.browser = self.playwright.chromium.launch(executable_path=path, args=ARGUMENTS)

    def stop(self) -> None:
        if self.playwright:
            with self.at_work():
                self.playwright.stop()
            self.playwright = None

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Show Playwright's event loop while it is needed: next to one Django refuses to touch the database."""
        asyncio._set_running_loop(self.loop)
        try:
            yield
        finally:
            asyncio._set_running_loop(None)

    @contextmanager
    def context(self, **options: Any) -> Iterator[BrowserContext]:
        if not self.playwright:
            self.start()
        with self.at_work():
            context = self.browser.new_context(**options)
            yield context
            context.close()

    @contextmanager
    def browsing(self, url: str, **options: Any) -> Iterator[Page]:
        """Give a page of the server at `url`; `options` are of its context, `PHONE` for example.

        What a test needs of the database in there is made by fixtures that come before this.
        """
        errors: list[str] = []
        refused: list[str] = []
        visited: set[str] = set()
        try:
            with self.context(base_url=url, **options) as context:
                page = context.new_page()
                page.set_default_timeout(PATIENCE)
                page.on("request", lambda request: visited.add(urlsplit(request.url).netloc))
                page.on("pageerror", lambda error: errors.append(str(error)))
                page.on("console", lambda told: refused.append(told.text) if POLICY in told.text else None)
                yield page
        except BaseException:
            self.stop()  # whatever state it is in
            raise
        assert (errors, refused) == ([], [])
        assert visited - {""} == {urlsplit(url).netloc}


def log_in(page: Page, path: str, username: str, password: str) -> None:
    page.goto(path)
    page.fill("[name=username]", username)
    page.fill("[name=password]", password)
    page.locator("[type=submit], main button").first.click()
    expect(page.locator("body")).to_contain_text(username, ignore_case=True)
