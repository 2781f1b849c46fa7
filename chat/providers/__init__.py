"""Clients of LLM providers. They know no Django: a request goes in, a reply comes out, or a `ProviderError`."""
