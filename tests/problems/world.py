"""The world in which a row of the error table is produced."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.db import connection

from chat import exceptions as tree
from chat.api import endpoint as faces
from chat.billing import claims
from chat.models import TokenBudget
from tests.support.contract import ask, chat_body

BIG = b'{"model": "' + b"a" * 2_700_000 + b'"}'


class World:
    """What a row needs to be produced."""

    def __init__(self, client, settings, monkeypatch, user):
        self.client, self.settings, self.monkeypatch, self.user = client, settings, monkeypatch, user

    def crash(self, exc):
        def fail(chat):
            raise exc

        self.monkeypatch.setattr(faces, "complete_chat", fail)
        return ask(self.client)

    def budget(self, limit):
        TokenBudget.objects.create(user=self.user, limit=limit)
        return ask(self.client, max_tokens=100)

    def twice(self, *bodies):
        return [self.client.post("/chat", body, format="json", headers={"Idempotency-Key": "k"}) for body in bodies][-1]

    def running(self):
        body = chat_body()
        with claims.once(self.user, "k", ["chat", body], 60):
            return self.twice(body)

    def forbid(self, view, path):
        def deny(self, request):
            raise PermissionDenied

        self.monkeypatch.setattr(view, "get", deny)
        return self.client.get(path)

    def session(self):
        from rest_framework.test import APIClient

        browser = APIClient(enforce_csrf_checks=True)
        browser.force_login(self.user)
        browser.defaults.update(self.client.defaults)
        return ask(browser)

    def with_setting(self, name, value):
        setattr(self.settings, name, value)
        return [ask(self.client) for _ in range(2)][-1]

    def database(self, error):
        def away(execute, sql, *args):
            if "chat_budgetperiod" in sql:
                raise error("could not connect to server db.internal")
            return execute(sql, *args)

        with connection.execute_wrapper(away):
            return ask(self.client)


def anonymous(world, key=None):
    world.client.credentials(**({"HTTP_AUTHORIZATION": f"Token {key}"} if key else {}))
    return ask(world.client)


class Unforeseen(tree.GenAIException):
    pass
