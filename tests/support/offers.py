"""A model `m` whose routes a test names, and chats with it through each face."""

from __future__ import annotations

import json

HELLO = [{"role": "user", "content": "Hello!"}]
PATHS = {"chat": "/chat", "openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
THINKER = {"anthropic": "claude-haiku-5-5", "openai": "gpt-6-luna"}
SAMPLER = {"anthropic": "claude-haiku-4-5", "openai": "gpt-4.1-mini"}


def table(provider, model, **fields):
    pairs = [f"{name} = {json.dumps(value)}" for name, value in fields.items()]
    return "{" + ", ".join([f'provider = "{provider}"', f'model = "{model}"', *pairs]) + "}"


def ask(client, face="chat", **fields):
    limit = {} if face == "chat" else {"max_tokens": 64}
    return client.post(PATHS[face], {"model": "m", "messages": HELLO, **limit, **fields}, format="json")
