"""The pages for people, as a browser's request gets them; tests/served/test_pages.py looks at them in one."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import parse_qsl
from xml.etree import ElementTree

import pytest
from django.db import OperationalError, connection
from django.urls import reverse

from chat.dashboard.root import ENDPOINTS, FOR_PROGRAMS_ALONE
from tests.support.contract import TABLE, check_error, check_page

pytestmark = pytest.mark.django_db
HTML = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
PAGES = ["/", "/playground", "/errors", "/errors/invalid_json", "/usage", "/api-auth/login/"]


def page_of(client, path, status=200):
    response = client.get(path, headers=HTML)
    assert (response.status_code, response["Content-Type"]) == (status, "text/html; charset=utf-8")
    return response.content.decode()


@pytest.fixture
def browser(client, user):
    client.force_login(user)
    client.raise_request_exception = False
    return client


@pytest.mark.parametrize("path", [*PAGES, "/nowhere"])
def test_a_page_runs_nothing_but_its_own_files_and_asks_no_other_host(browser, path):
    response = browser.get(path, headers=HTML)
    page, policy = response.content.decode(), response["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "require-trusted-types-for 'script'" in policy
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! defer src=)|//", page.partition("<pre")[0]), page
    assert 'name="viewport"' in page
    assert page.count("<h1>") == 1


@pytest.mark.parametrize("path", PAGES[:-1])
def test_a_page_shows_who_is_logged_in(browser, client, path):
    assert "Log out" in page_of(browser, path)
    browser.logout()
    page = page_of(client, path, 401 if path == "/usage" else 200)
    assert "Log out" not in page
    assert "/api-auth/login/" in page


def test_the_root_leads_to_everything(browser):
    page = page_of(browser, "/")
    links = set(re.findall(r'href="(/[^"]*)"', page))
    assert {reverse(name) for name in {*ENDPOINTS, "docs", "playground"} - FOR_PROGRAMS_ALONE} <= links
    assert all(f"<code>{reverse(name)}</code>" in page for name in FOR_PROGRAMS_ALONE)
    refused = {link for link in links if "/static/" not in link and browser.get(link).status_code != 200}
    assert refused == {"/chat"}
    assert "fill in the box below" in browser.get("/chat", headers=HTML).content.decode()
    assert reverse("admin:index") not in links


def test_the_staffs_pages_lead_to_the_admin(client, admin_user):
    client.force_login(admin_user)
    assert 'href="/admin/"' in page_of(client, "/")


def test_open_pages_are_there_while_the_database_is_away(browser):
    def away(*args):
        raise OperationalError("the database is away")

    with connection.execute_wrapper(away):
        for path in ("/", "/playground", "/errors", "/errors/not_found"):
            assert "Log in" in page_of(browser, path)
        page = check_page(browser.get("/usage", headers=HTML), "service_temporarily_unavailable")
    assert "Nothing was charged" in page


# --- errors -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", ["/nowhere", "/errors/a/b", "/<script>?a=<script>"])
def test_an_unknown_address_is_a_page_in_a_browser_and_json_for_programs(browser, path):
    page = check_page(browser.get(path, headers=HTML), "not_found")
    assert "There is nothing at this address" in page
    assert "<script>" not in page
    assert 'href="/"' in page
    check_error(browser.get(path), "not_found")
    check_error(browser.post(path, {}, content_type="application/json", headers=HTML), "not_found")


def test_an_unknown_address_of_the_vendors_apis_is_json_whatever_is_accepted(browser):
    response = browser.get("/v1/nothing", headers=HTML)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


def test_a_page_about_an_error_comes_where_static_files_have_not_been_collected(browser, settings, tmp_path):
    whitenoise = {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"}
    settings.STORAGES, settings.STATIC_ROOT = settings.STORAGES | {"staticfiles": whitenoise}, str(tmp_path)
    check_page(browser.get("/nowhere", headers=HTML), "not_found")
    assert "/static/dashboard/page.css" in page_of(browser, "/")
    check_page(browser.get("/playground", headers=HTML), "internal_error")  # it cannot do without its script


def test_a_page_about_an_error_has_its_facts(browser, settings):
    settings.BAD_KEY_RATE_LIMIT = "1/h"
    headers = HTML | {"Authorization": "Token wrong"}
    page = check_page(browser.get("/usage", headers=headers), "authentication_failed")
    assert 'next=%2Fusage"' in page
    response = browser.get("/usage", headers=headers)
    page = check_page(response, "rate_limit_exceeded")
    for name, value in (("limit", 1), ("retry_after", response["Retry-After"]), ("reset_in", response["Retry-After"])):
        assert f"<dt>{name}</dt><dd>{value}</dd>" in page


def test_a_browser_that_also_takes_problem_details_has_the_page(browser):
    for path in ("/nowhere", "/errors/nothing", "/models/nothing"):
        response = browser.get(path, headers={"Accept": "text/html, application/problem+json"})
        assert (response.status_code, response["Content-Type"]) == (404, "text/html; charset=utf-8")
        assert "not_found" in response.content.decode()


def test_the_catalogue_has_each_error_and_a_page_for_it(client):
    page = page_of(client, "/errors")
    for code, row in TABLE.items():
        assert f'href="/errors/{code}"' in page
        alone = page_of(client, f"/errors/{code}")
        assert f"<dd>{row.status}</dd>" in alone
        assert f'"error": "{code}"' in unescape(alone)
        assert ("may succeed after" in alone) == row.should_retry


def provocations(client):
    links = re.findall(r'href="/playground\?([^"]*)"[^>]*aria-label="Provoke (\w+)', page_of(client, "/errors"))
    return {code: dict(parse_qsl(unescape(query), keep_blank_values=True)) for query, code in links}


def test_what_is_to_provoke_an_error_does(auth_client, client):
    wishes = provocations(client)
    assert {"provider_timeout", "provider_rate_limited", "internal_error", "model_not_found"} < wishes.keys()
    for code, wish in wishes.items():
        options = {"temperature": float(wish["temperature"])} if "temperature" in wish else {}
        body = {"model": wish.get("model", "claude-3"), "messages": [{"role": "user", "content": wish["message"]}]}
        response = auth_client.post("/chat", body | options, format="json")
        assert (response.status_code, response.json()["error"]) == (TABLE[code].status, code)
        assert "Provoke it in the playground" in page_of(client, f"/errors/{code}")


@pytest.mark.usefixtures("upstream")
def test_where_nothing_is_simulated_there_is_nothing_to_provoke(client):
    assert provocations(client).keys() == {"invalid_message_format", "invalid_request", "model_not_found"}
    page = page_of(client, "/errors/provider_timeout")
    assert "Provoke it" not in page
    assert "The simulator could provoke it" in page


def test_each_link_of_the_root_leads_a_stranger_to_a_page_that_helps(client, db):
    page = page_of(client, "/")
    for link in re.findall(r'href="(/[^"]*)"', page.partition("<main")[2]):
        response = client.get(link, headers=HTML)
        helps = response.status_code < 400 or "/api-auth/login/" in response.content.decode()
        assert helps or response.status_code == 503, link  # /health/ready says what is down
    assert "<code>/v1/models</code></th><td>GET with a key:" in page


@pytest.mark.parametrize("path", ["/usage", "/overview", "/keys", "/chat"])
def test_a_stranger_is_offered_the_log_in_and_the_playground(client, path):
    page = page_of(client, path, 401)
    assert "You are not logged in." in page
    assert re.search(rf'href="/api-auth/login/\?next=(/|%2F){path[1:]}"', page)
    assert re.search(r'paste a key in the <a[^>]* href="/playground"', page)
    assert "Send your key in the header" in client.get(path).json()["message"]


# --- the rest ---------------------------------------------------------------------------------------------------------
def test_the_playground_offers_the_models(client, upstream):
    page = page_of(client, "/playground")
    assert re.findall(r'<option value="(\w+)" data-default="(\d+)">', page) == [
        (name, "1024") for name in ("both", "claude", "gpt")
    ]
    assert "simulat" not in page
    check_error(client.get("/playground", headers={"Accept": "application/json"}), "not_acceptable")


def test_a_log_in_leads_back_and_a_wrong_one_says_so(client, user):
    page = page_of(client, "/playground?message=Hi&model=x")
    (address,) = set(re.findall(r'href="(/api-auth/login/\?next=[^"]*)"', page))
    form = {"username": "ada", "password": "wrong", "next": "/playground?message=Hi&model=x"}
    assert f'value="{form["next"]}"' in unescape(page_of(client, unescape(address)))
    refused = client.post("/api-auth/login/", form, headers=HTML)
    assert "Please enter a correct username" in refused.content.decode()
    accepted = client.post("/api-auth/login/", form | {"password": "a password for tests"}, headers=HTML)
    assert (accepted.status_code, accepted["Location"]) == (302, form["next"])
    assert client.post("/api-auth/logout/", {"next": "/"})["Location"] == "/"


@pytest.mark.parametrize("path", ["/", "/usage", "/nowhere", "/models"])
def test_a_page_has_the_icon_and_browsers_find_it_unasked(browser, path):
    response = browser.get("/favicon.ico")
    assert (response.status_code, response["Content-Type"]) == (200, "image/svg+xml")
    assert response["Cache-Control"] == "public, max-age=86400"
    assert ElementTree.fromstring(response.content).tag == "{http://www.w3.org/2000/svg}svg"
    assert not re.search(rb"style|script", response.content)
    page = browser.get(path, headers=HTML).content.decode()
    assert '<link rel="icon" href="/favicon.ico" type="image/svg+xml">' in page


def test_what_the_docs_say_of_an_endpoint_is_for_its_users(client):
    operations = [one for methods in client.get("/schema").json()["paths"].values() for one in methods.values()]
    summaries = [operation["summary"] for operation in operations]
    assert "A chat, as OpenAI's clients send it." in summaries
    assert not [words for words in summaries if re.match("Return|See|Raise", words) or "`" in words or "\n" in words]


def test_the_browsable_api_fits_a_phone_and_links_its_errors(browser):
    page = page_of(browser, "/models/nothing", 404)
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert 'href="/errors/model_not_found"' in page
