"""models.toml: what it offers, and the line and the reason of every mistake in it."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured

from chat.exceptions import ModelNotFoundError
from chat.routing import catalogue

PROVIDER = '[providers.a]\nprotocol = "openai"\nbase_url = "http://a/v1"\n'
MODEL = '[models.m]\nroutes = ["a:x"]\nmax_output_tokens = 20\ndefault_output_tokens = 10\n'
KEYED = PROVIDER + 'base_url_env = "A_URL"\napi_key_env = "A_KEY"\n' + MODEL


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


def shipped(settings, monkeypatch, simulate, **environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings.CHAT_SIMULATOR = simulate
    found = catalogue.current()
    routes = {
        name: [f"{route.provider.key}:{route.upstream_model}" for route in model.routes]
        for name, model in found.models.items()
    }
    return found, routes


# --- the shipped file -------------------------------------------------------------------------------------------------
def test_with_all_keys_every_shipped_model_has_its_routes_in_order(settings, monkeypatch):
    keys = {"ANTHROPIC_API_KEY": "k", "OPENAI_API_KEY": "k", "LLAMA_BASE_URL": "http://127.0.0.1:1/v1/"}
    found, routes = shipped(settings, monkeypatch, False, **keys)
    assert [[route.partition(":")[0] for route in of_model] for of_model in routes.values()] == [
        ["anthropic", "openai", "openai"],
        ["openai", "anthropic"],
        ["llama"],
        ["anthropic"],
        ["anthropic"],
        ["openai", "openai"],
        ["openai", "openai"],
    ]
    by_responses = [route for model in found.models.values() for route in model.routes if route.upstream.api]
    assert [route.upstream_model for route in by_responses] == ["gpt-6-luna", "gpt-6-luna", "gpt-6.1-terra"]
    real = ["claude-haiku-5-5", "claude-sonnet-5-5", "gpt-6-luna", "gpt-6.1-terra"]
    assert (list(routes), found.unavailable) == (["claude-3", "gpt-4", "llama-2", *real], {})
    assert all(routes[name][0].endswith(f":{name}") for name in real)
    assert [found.providers[key].base_url for key in found.providers] == [
        "https://api.anthropic.com",
        "https://api.openai.com/v1",
        "http://127.0.0.1:1/v1",
    ]
    assert catalogue.check_models_file() == []
    assert "'k'" not in repr(found)


def test_without_any_key_the_simulator_serves_and_says_so(settings, monkeypatch):
    found, routes = shipped(settings, monkeypatch, True)
    assert {route.partition(":")[0] for of_model in routes.values() for route in of_model} == {"simulator"}
    assert [len(of_model) for of_model in routes.values()] == [3, 2, 1, 1, 1, 2, 2]
    (notice,) = catalogue.check_models_file()
    assert notice.id == "chat.I011"
    assert all(name in notice.msg for name in routes)
    assert all(name in notice.hint for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "LLAMA_BASE_URL"))


def test_in_production_a_model_without_a_live_route_is_not_offered_and_a_check_says_why(settings, monkeypatch):
    found, routes = shipped(settings, monkeypatch, False, OPENAI_API_KEY="k")
    assert {name: {route.partition(":")[0] for route in of} for name, of in routes.items()} == {
        "claude-3": {"openai"},
        "gpt-4": {"openai"},
        "gpt-6-luna": {"openai"},
        "gpt-6.1-terra": {"openai"},
    }
    warning, *others = catalogue.check_models_file()
    assert {(found.id, found.is_serious()) for found in (warning, *others)} == {("chat.W010", False)}
    assert ["claude-haiku-5-5" in others[0].msg, "claude-sonnet-5-5" in others[1].msg, len(others)] == [True, True, 2]
    assert "llama-2" in warning.msg
    assert "LLAMA_BASE_URL is not set" in warning.msg
    with pytest.raises(ModelNotFoundError) as caught:
        found.get("llama-2")
    assert caught.value.available_models == ["claude-3", "gpt-4", "gpt-6-luna", "gpt-6.1-terra"]


def test_a_missing_key_of_one_route_only_skips_that_route_even_where_simulating(settings, monkeypatch):
    _, routes = shipped(settings, monkeypatch, True, ANTHROPIC_API_KEY="k")
    assert [of[0].partition(":")[0] for of in routes.values()][:3] == ["anthropic", "anthropic", "simulator"]
    assert [len(of) for of in routes.values()] == [1, 1, 1, 1, 1, 2, 2]


def test_a_route_says_how_it_is_asked(load):
    drop, accepts = '["reasoning_effort", "seed"]', '["web_search", "stop_sequences"]'
    text = route(api='"responses"', drop=drop, accepts=accepts, allow_stored="true")
    (asked,) = load(text).models["m"].routes
    assert (asked.protocol, str(asked), asked.label) == ("responses", "a:x", "a:x (responses)")
    assert asked.upstream.drop == {"effort", "seed"}
    assert asked.upstream.takes == {"web_search": True, "stop": True}
    assert asked.upstream.allow_stored


def test_what_an_entry_says_holds_for_its_routes_unless_they_say_otherwise(load):
    entry = PROVIDER + 'api = "responses"\nallow_stored = true\n'
    routes = '["a:x", {provider = "a", model = "y", api = "chat", allow_stored = false}]'
    first, second = load(model(routes=routes).replace(PROVIDER, entry)).models["m"].routes
    assert [(route.protocol, route.upstream.allow_stored) for route in (first, second)] == [
        ("responses", True),
        ("openai", False),
    ]


# --- the environment --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("environment", "base_url", "api_key"),
    [
        ({}, "http://a/v1", ""),
        ({"A_URL": "https://b:8443/v2//", "A_KEY": "sk-1"}, "https://b:8443/v2", "sk-1"),
        ({"A_URL": " http://b \n", "A_KEY": "  sk-1\r\n"}, "http://b", "sk-1"),
        ({"A_URL": "  ", "A_KEY": " \n"}, "http://a/v1", ""),
    ],
)
def test_the_environment_wins_and_stray_spaces_do_not_matter(load, monkeypatch, environment, base_url, api_key):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = load(KEYED)
    entry = found.providers["a"]
    assert (entry.base_url, entry.api_key, entry.missing) == (base_url, api_key, "" if api_key else "A_KEY is not set")
    assert ("m" in found.models) == bool(api_key)
    assert "sk-1" not in repr(found)


@pytest.mark.parametrize("key", ["sk-1\nX-Evil: 1", "sk-1\x00", "schlüssel", "ключ", "Bearer sk-1", "sk-\x7f"])
def test_a_key_that_no_header_can_carry_stops_the_start_and_is_not_printed(load, monkeypatch, key):
    monkeypatch.setattr("os.environ", {"A_KEY": key})
    with pytest.raises(ImproperlyConfigured) as caught:
        load(KEYED)
    assert "models.toml, line 5: [providers.a] A_KEY holds" in str(caught.value)
    assert key not in str(caught.value)


@pytest.mark.parametrize("url", ["a.example", "ftp://a", "http://", "http://a b", "http://a/v1?x=1", "http://a\n/v1"])
def test_a_base_url_that_is_none_stops_the_start(load, monkeypatch, url):
    monkeypatch.setenv("A_URL", url)
    with pytest.raises(ImproperlyConfigured, match=r"line 4: \[providers.a\] A_URL is "):
        load(KEYED)


# --- mistakes ---------------------------------------------------------------------------------------------------------
def model(**changes):
    fields = {"routes": '["a:x"]', "max_output_tokens": "20", "default_output_tokens": "10"} | changes
    return PROVIDER + "[models.m]\n" + "".join(f"{name} = {value}\n" for name, value in fields.items())


def route(**changes):
    fields = {"provider": '"a"', "model": '"x"'} | changes
    return model(routes="[{" + ", ".join(f"{name} = {value}" for name, value in fields.items()) + "}]")


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
def embedder(routes: str = '["a:x"]', more: str = "") -> str:
    return f'{PROVIDER}[models.e]\nkind = "embedding"\nroutes = {routes}\n{more}'


def test_a_model_that_makes_vectors(load):
    entry = 'api = "responses"\nprotocol'
    found = load(
        embedder('["a:x", {provider = "a", model = "x", price = {input = 0.02, output = 0}}]').replace(
            "protocol", entry, 1
        )
    )
    (first, second) = found.embedders["e"].routes
    assert (found.models, first.protocol, second.protocol) == ({}, "embeddings", "embeddings")
    assert [model.name for model in found.all_models] == ["e"]
    with pytest.raises(ModelNotFoundError):
        found.get("e")
    assert found.get("e", "embedding").max_output_tokens == 0


ANTHROPIC = '[providers.b]\nprotocol = "anthropic"\nbase_url = "http://b"\n'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (embedder('["a:x", "a:y"]'), "the vectors of two models do not compare"),
        (embedder('["b:x"]', ANTHROPIC), "Anthropic has none"),
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
