"""A project with a user model of its own, which has fields that a database stores in another type, and a parent."""

from __future__ import annotations

import os
import subprocess
import sys

from django.conf import settings

FILES = {
    "people/__init__.py": "",
    "people/models.py": """
from django.contrib.auth.models import AbstractUser, UserManager
from django.db import models

class Human(models.Model):
    nickname = models.CharField(max_length=20, default="Countess")

class Person(Human, AbstractUser):
    height = models.DecimalField(max_digits=4, decimal_places=2, default=1)
    likes = models.JSONField(default=list)
    objects = UserManager()
""",
    "people/admin.py": """
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from people.models import Person

admin.site.register(Person, UserAdmin)
""",
    "their_settings.py": """
from genai_site.settings.testing import *

INSTALLED_APPS = ["people", *INSTALLED_APPS]
AUTH_USER_MODEL = "people.Person"
""",
    "chat_once.py": """
import django

django.setup()
from django.contrib.auth import get_user_model
from django.core.management import call_command
from rest_framework.test import APIClient
from chat.accounts import keys
from chat.authentication import beginning_with

call_command("makemigrations", "people", verbosity=0)
call_command("migrate", verbosity=0)
user = get_user_model().objects.create_user("ada", height="1.60", likes=["engines"])
key = keys.issue(user, 1, by="a test")[1]
body = {"model": "llama-2", "messages": [{"role": "user", "content": "Hello!"}]}
answer = APIClient(headers={"authorization": f"Token {key}"}).post("/chat", body, format="json")
found = beginning_with(key[:15])[0].user
print(answer.status_code, found == user, found.nickname, found.height, found.likes)
""",
}


def test_a_user_model_of_ones_own_may_chat(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "chat_once.py"],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{settings.BASE_DIR}:{tmp_path}",
            "DJANGO_SETTINGS_MODULE": "their_settings",
            "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == ["200 True Countess 1.60 ['engines']"], done.stdout + done.stderr
