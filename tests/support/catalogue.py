"""The parts of a models.toml."""

from __future__ import annotations

PROVIDER = '[providers.a]\nprotocol = "openai"\nbase_url = "http://a/v1"\n'
MODEL = '[models.m]\nroutes = ["a:x"]\nmax_output_tokens = 20\ndefault_output_tokens = 10\n'


def model(**changes):
    fields = {"routes": '["a:x"]', "max_output_tokens": "20", "default_output_tokens": "10"} | changes
    return PROVIDER + "[models.m]\n" + "".join(f"{name} = {value}\n" for name, value in fields.items())


def route(**changes):
    fields = {"provider": '"a"', "model": '"x"'} | changes
    return model(routes="[{" + ", ".join(f"{name} = {value}" for name, value in fields.items()) + "}]")


def embedder(routes: str = '["a:x"]', more: str = "") -> str:
    return f'{PROVIDER}[models.e]\nkind = "embedding"\nroutes = {routes}\n{more}'
