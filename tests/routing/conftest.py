"""Providers as strict as the real ones, and the catalogue of a file."""

from __future__ import annotations

import pytest

from chat.routing import catalogue
from tests.support.vendors import vendor


@pytest.fixture
def house(rig):
    """Anthropic as `first` and OpenAI as `second`, which refuse what the real ones refuse."""
    rig.first.always = rig.second.always = vendor

    def offer(*routes, model="", provider=""):
        rig.offer(
            f'[providers.anthropic]\nname = "Anthropic"\nprotocol = "anthropic"\nbase_url = "{rig.first.url}"\n'
            f'[providers.openai]\nname = "OpenAI"\nprotocol = "openai"\nbase_url = "{rig.second.openai_url}"\n'
            f'limit_field = "max_completion_tokens"\n{provider}\n'
            f"[models.m]\nroutes = [{', '.join(routes)}]\nmax_output_tokens = 4096\ndefault_output_tokens = 64\n{model}"
        )
        return rig

    rig.settings.CHAT_SIMULATOR = False
    return offer


@pytest.fixture
def load(tmp_path, settings):
    """`load(text)` is the catalogue of a file with that text."""
    path = tmp_path / "models.toml"
    settings.CHAT_MODELS_FILE = str(path)

    def load(text, simulate=False):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        settings.CHAT_SIMULATOR = simulate
        catalogue.load.cache_clear()
        return catalogue.current()

    return load
