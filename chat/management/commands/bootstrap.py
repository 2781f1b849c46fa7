"""`manage.py bootstrap`"""

from __future__ import annotations

import json
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.utils.crypto import get_random_string

from chat.accounts import keys
from chat.billing import allowance
from chat.conf import conf
from chat.routing import catalogue

URL = "http://127.0.0.1:8000"


class Command(BaseCommand):
    help = (
        "Make a development machine ready: the database, the users demo and admin, a key, and a curl line to try. "
        "Safe to repeat: nothing is lost, passwords stay, and there is a new key each time."
    )
    requires_system_checks: list[str] = []

    def handle(self, *, verbosity: int, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError(
                "bootstrap makes users with well-known names, so it only runs where DEBUG is on. On a real server use "
                "migrate, createsuperuser, and issue_key USERNAME --create."
            )
        call_command("migrate", interactive=False, verbosity=verbosity - 1)
        demo, demo_password = self.user("demo")
        _, admin_password = self.user("admin", is_staff=True, is_superuser=True)
        budget = allowance.allowance(demo)
        if not budget.pk:
            budget.save()
        key = keys.issue(demo, conf.KEY_TTL_DAYS, by="manage.py bootstrap")[1]
        self.stdout.write(
            f"Ready. With the server running (python manage.py runserver), ask it something from another terminal:\n\n"
            f"{self.curl(key)}\n\n"
            f"The key is shown this once; a new one: python manage.py issue_key demo\n\n"
            f"In a browser\n"
            f"    {URL}/playground   to chat      demo    {demo_password}\n"
            f"    {URL}/admin/       the admin    admin   {admin_password}\n"
            f"    Forgotten a password: python manage.py changepassword demo\n\n"
            f"Models\n{self.models()}"
        )

    def user(self, username: str, **flags: bool) -> tuple[Any, str]:
        """Return the user, created if need be, and what to say of the password."""
        user, created = get_user_model().objects.get_or_create(username=username, defaults=flags)
        if not created:
            return user, "(password as before)"
        password = get_random_string(16)
        user.set_password(password)
        user.save()
        return user, password

    def curl(self, key: str) -> str:
        """Return a command for the shells of Linux, macOS and WSL."""
        names = catalogue.current().models
        body = {
            "model": "claude-3" if "claude-3" in names else min(names, default="claude-3"),
            "messages": [{"role": "user", "content": "How do I write a good error message?"}],
        }
        headers = f'-H "Authorization: Token {key}" -H "Content-Type: application/json"'
        return f"    curl {URL}/chat {headers} \\\n      -d '{json.dumps(body)}'"

    def models(self) -> str:
        """Write one line a model: which providers answer for it, or what is missing for that."""
        missing = catalogue.load(conf.CHAT_MODELS_FILE, False).unavailable
        lines = []
        for model in catalogue.current().all_models:
            name = model.name
            providers = ", then ".join(dict.fromkeys(route.provider.name for route in model.routes))
            lines.append(f"    {name}: {f'simulated ({missing[name]})' if name in missing else providers}")
        return "\n".join(lines)
