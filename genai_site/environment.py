"""The environment, read strictly."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

from chat.conf import Setting

TRUE, FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


def is_command() -> bool:
    """Return whether this process is a command of manage.py, and no server. It has one thread, so it needs no pool of
    connections, and tells itself why it cannot connect."""
    return [Path(word).name for word in sys.argv[:1]] == ["manage.py"] and sys.argv[1:2] != ["runserver"]


def read_bool(text: str) -> bool:
    if text.lower() not in TRUE | FALSE:
        raise ValueError
    return text.lower() in TRUE


def read_list(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


READERS: dict[Any, tuple[Callable[[str], Any], str]] = {
    str: (str, "text"),
    int: (int, "a whole number"),
    float: (float, "a number"),
    bool: (read_bool, "true or false"),
    list: (read_list, "a list with commas"),
}


class Environment(environ.Env):  # type: ignore[misc]  # published without types
    """django-environ, but an empty variable counts as unset, a value that cannot be read is an error that names the
    variable (its own reader takes 1e3 for 13 and "maybe" for False), and a leading $ is a dollar."""

    def get_value(self, var: Any, cast: Any = None, default: Any = None, parse_default: Any = False) -> Any:
        text = self.ENVIRON.get(var, "").strip()
        if not text:
            return default
        read, kind = READERS[cast]
        try:
            return read(text)
        except ValueError:
            raise ImproperlyConfigured(f"The environment variable {var} is {text!r}; it must be {kind}.") from None

    def values(self, declared: Mapping[str, Setting[Any]]) -> dict[str, Any]:
        """Return the value of each setting, by name. Raises `ImproperlyConfigured`, naming the first that is wrong."""
        values: dict[str, Any] = {}
        for name, setting in declared.items():
            values[name] = self.get_value(name, setting.kind, setting.default_after(values))
        return values
