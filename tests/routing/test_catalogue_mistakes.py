"""The line and the reason of every mistake in models.toml."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured

from chat.routing import catalogue
from tests.support.catalogue import MODEL, PROVIDER, embedder, model, route

# --- mistakes ---------------------------------------------------------------------------------------------------------
MISTAKES = {
    # what is wrong: the file, the line it is found on (None where TOML ends too early), a word of the reason
    "broken TOML": ("[providers.a]\nprotocol openai\n", 2, "Expected '='"),
    "same table twice": (PROVIDER + MODEL + "[models.m]\n", 8, "twice"),
    "same key twice": (PROVIDER + 'protocol = "openai"\n', 4, "overwrite"),
    "endless array": (PROVIDER + '[models.m]\nroutes = ["a:x"\n', None, "array"),
    "a huge number": (model(max_output_tokens="9" * 5000), None, "digits"),
    "empty": ("", 1, "[providers] at least one [providers.NAME] is needed"),
    "only comments": ("# [providers.a]\n", 1, "at least one [providers.NAME]"),
    "no models": (PROVIDER, 1, "[models] at least one [models.NAME]"),
    "models is a list": (PROVIDER + "[[models]]\n", 4, "at least one [models.NAME]"),
    "unknown section": (PROVIDER + "\n[server]\nport = 1\n" + MODEL, 5, "[server] unknown section"),
    "a value instead of a table": (PROVIDER + "[models]\nm = 3\n" + "", 5, "m must be a table"),
    "unknown provider": (model(routes='["a:x", "b:y"]'), 5, "there is no [providers.b]"),
    "a route without colon": (model(routes='["a"]'), 5, "a route reads"),
    "a route without a model": (model(routes='["a:"]'), 5, "a route reads"),
    "a route that is a number": (model(routes="[3]"), 5, "a route reads"),
    "no route": (model(routes="[]"), 5, "at least one"),
    "routes as a string": (model(routes='"a:x"'), 5, "routes has the wrong type (str)"),
    "a bool as a number": (model(max_output_tokens="true"), 6, "max_output_tokens has the wrong type (bool)"),
    "a float as a count": (model(max_output_tokens="20.0"), 6, "wrong type (float)"),
    "a count of zero": (model(default_output_tokens="0"), 7, "default_output_tokens must be from 1"),
    "too large a count": (model(max_output_tokens="10000001"), 6, "max_output_tokens must be from 1"),
    "default above the most": (model(default_output_tokens="21"), 7, "above max_output_tokens"),
    "unknown field": (model(top_p="1"), 8, "unknown field 'top_p'; known are kind, routes"),
    "a temperature out of range": (model(temperature="2.1"), 8, "temperature must be from 0 to 2"),
    "a temperature that is none": (model(temperature="true"), 8, "temperature has the wrong type (bool)"),
    "a route table without a model": (model(routes='[{provider = "a"}]'), 5, "routes: model is missing"),
    "a route table's unknown field": (
        model(routes='[{provider = "a", model = "x", sampel = true}]'),
        5,
        "routes: unknown field 'sampel'; known are provider, model",
    ),
    "an upstream model with a space": (model(routes='[{provider = "a", model = "x y"}]'), 5, "'x y' cannot name"),
    "a route table's unknown provider": (model(routes='[{provider = "b", model = "x"}]'), 5, "no [providers.b]"),
    "an unknown effort": (route(effort='"much"'), 5, 'effort must be "none" or "minimal"'),
    "an unknown limit field": (route(limit_field='"max"'), 5, 'limit_field must be "max_tokens" or'),
    "an unknown API": (route(api='"batch"'), 5, 'api must be "chat" or "responses"'),
    "no field to drop": (route(drop='["the temperature"]'), 5, "drop must be a list of fields' names"),
    "no list of fields to drop": (route(drop='"temperature"'), 5, "drop has the wrong type (str)"),
    "numbers to accept": (route(accepts="[1]"), 5, "accepts must be"),
    "what is stored, in a word": (route(allow_stored='"yes"'), 5, "allow_stored has the wrong type (str)"),
    "sampling that is neither": (route(sampling='"no"'), 5, "sampling has the wrong type (str)"),
    "a route's limit of zero": (route(max_output_tokens="0"), 5, "routes: max_output_tokens must be from 1"),
    "limits below the model's": (route(max_output_tokens="19"), 6, "above the limit of every route"),
    "a price without its half": (route(price="{input = 1}"), 5, "routes: output is missing"),
    "a price below nothing": (route(price="{input = -1, output = 1}"), 5, "routes: input must be from 0"),
    "a provider's unknown effort": (PROVIDER + 'effort = "much"\n' + MODEL, 4, "effort must be"),
    "a limit field of Anthropic's": (
        PROVIDER.replace('"openai"', '"anthropic"') + 'limit_field = "max_tokens"\n' + MODEL,
        6,
        "limit_field is for the protocol openai",
    ),
    "an API of Anthropic's": (
        PROVIDER.replace('"openai"', '"anthropic"') + 'api = "responses"\n' + MODEL,
        6,
        "api is for the protocol openai",
    ),
    "missing field": (PROVIDER + '[models.m]\nroutes = ["a:x"]\n', 4, "max_output_tokens is missing"),
    "a name with a slash first": (PROVIDER + MODEL.replace("models.m", 'models."/m"'), 4, "'/m' cannot name a model"),
    "too long a name": (PROVIDER + MODEL.replace("models.m", f"models.{'m' * 101}"), 4, "cannot name a model"),
    "a dot without quotes": (PROVIDER + MODEL.replace("models.m", "models.gpt-4.1"), 4, "needs quotes"),
    "a mistake under a quoted name": (
        PROVIDER + "# [models.a]\n[ models . 'a.b' ] # [x]\nroutes = [ # ]\n  'a:x'\n]\n\"max_output_tokens\" = 0\n"
        "default_output_tokens = 1\n",
        9,
        "[models.a.b] max_output_tokens must be",
    ),
    "a mistake in an inline table": (
        PROVIDER
        + '[models]\nn = {routes = ["a:x"], max_output_tokens = 2, default_output_tokens = 1}\nm = {routes=[]}',
        6,
        "[models.m] max_output_tokens is missing",
    ),
    "a mistake in a dotted key": (
        PROVIDER + MODEL + "[models]\n'n'.routes = 1\n",
        9,
        "[models.n] routes has the wrong",
    ),
    "unknown protocol": (PROVIDER.replace('"openai"', '"smtp"') + MODEL, 2, "protocol must be"),
    "no protocol": ('[providers.a]\nbase_url = "http://a"\n' + MODEL, 1, "protocol is missing"),
    "a key in the file": (PROVIDER + 'api_key = "sk-1"\n' + MODEL, 4, "unknown field 'api_key'"),
    "no URL at all": ('[providers.a]\nprotocol = "openai"\n' + MODEL, 1, "needs base_url or base_url_env"),
    "a URL that is none": (PROVIDER.replace("http:", "") + MODEL, 3, "base_url is '//a/v1'"),
    "a time of zero": (PROVIDER + "timeout = 0\n" + MODEL, 4, "timeout must be from 0.001"),
    "a time of nan": (PROVIDER + "connect_timeout = nan\n" + MODEL, 4, "connect_timeout must be from 0.001"),
    "a time of infinity": (PROVIDER + "timeout = inf\n" + MODEL, 4, "to 3600 seconds"),
    "a time in a string": (PROVIDER + 'timeout = "30"\n' + MODEL, 4, "timeout has the wrong type (str)"),
    "our own name": (PROVIDER.replace("providers.a", "providers.simulator") + MODEL, 1, "cannot name a provider"),
    "the name of all": (
        PROVIDER.replace("providers.a", "providers.all_providers") + MODEL,
        1,
        "cannot name a provider",
    ),
    "not UTF-8": (PROVIDER.encode() + b'name = "\xff"\n', None, "utf-8"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_with_its_line_and_reason(load, settings, mistake):
    text, line, reason = MISTAKES[mistake]
    with pytest.raises(ImproperlyConfigured) as caught:
        load(text)
    message = str(caught.value)
    assert message.startswith(settings.CHAT_MODELS_FILE)
    assert reason in message
    if line:
        assert f"line {line}:" in message or f"line {line}, column" in message
    assert [error.id for error in catalogue.check_models_file()] == ["chat.E010"]


@pytest.mark.parametrize("name", ["nothing.toml", ""])
def test_a_file_that_is_not_there_is_named(tmp_path, settings, name):
    settings.CHAT_MODELS_FILE = str(tmp_path / name)
    (error,) = catalogue.check_models_file()
    assert (error.id, error.msg.startswith(str(tmp_path / name))) == ("chat.E010", True)


@pytest.mark.parametrize("name", ["gpt-4.1", "meta/llama-3", "Qwen2.5_7B", "m" * 100])
def test_names_of_every_real_kind_are_taken(load, name):
    found = load(PROVIDER + MODEL.replace("models.m", f'models."{name}"'))
    assert found.get(name).name == name


def test_what_is_left_out_has_its_default(load):
    entry = load(PROVIDER + MODEL).providers["a"]
    assert (entry.name, entry.timeout, entry.connect_timeout, entry.status_page) == ("a", 30.0, 5.0, None)


# --- models that make vectors -----------------------------------------------------------------------------------------
ANTHROPIC = '[providers.b]\nprotocol = "anthropic"\nbase_url = "http://b"\n'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (embedder('["a:x", "a:y"]'), "the vectors of two models do not compare"),
        (embedder('["b:x"]', ANTHROPIC), "anthropic has none"),
        (embedder(more="max_output_tokens = 7"), "unknown field 'max_output_tokens'; known are kind, routes"),
        (embedder("[]"), "routes must name at least one"),
        (embedder().replace('"embedding"', '"image"'), 'kind must be "chat" or "embedding", not \'image\''),
    ],
    ids=lambda value: str(value)[-40:],
)
def test_a_mistake_in_one_stops_the_start(load, text, reason):
    with pytest.raises(ImproperlyConfigured) as caught:
        load(text)
    assert reason in str(caught.value)
