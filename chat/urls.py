"""The API's addresses. Each also answers with a trailing slash, but no redirect: a redirected POST loses its body."""

from __future__ import annotations

from django.urls import re_path

from chat.api.chat import ChatView
from chat.api.vendors import (
    ChatCompletionsView,
    CountTokensView,
    EmbeddingsView,
    MessagesView,
    ResponsesView,
    VendorModelsView,
    VendorModelView,
)
from chat.dashboard.errors import ErrorsView, ErrorView
from chat.dashboard.overview import OverviewView
from chat.dashboard.playground import PlaygroundView
from chat.dashboard.root import RootView
from chat.dashboard.usage import UsageView
from chat.views import account, docs, health, icon, metrics, models
from chat.views.conversations import ConversationsView, ConversationView

urlpatterns = [
    re_path(r"^$", RootView.as_view(), name="root"),
    re_path(r"^chat/?$", ChatView.as_view(), name="chat"),
    re_path(r"^models/?$", models.ModelsView.as_view(), name="models"),
    re_path(r"^models/(?P<name>(?s:.+?))/?$", models.ModelView.as_view(), name="model"),
    re_path(r"^v1/chat/completions/?$", ChatCompletionsView.as_view(), name="openai-chat"),
    re_path(r"^v1/responses/?$", ResponsesView.as_view(), name="openai-responses"),
    re_path(r"^v1/embeddings/?$", EmbeddingsView.as_view(), name="openai-embeddings"),
    re_path(r"^v1/messages/count_tokens/?$", CountTokensView.as_view(), name="anthropic-count"),
    re_path(r"^v1/messages/?$", MessagesView.as_view(), name="anthropic-messages"),
    re_path(r"^v1/models/?$", VendorModelsView.as_view(), name="vendor-models"),
    re_path(r"^v1/models/(?P<name>(?s:.+?))/?$", VendorModelView.as_view(), name="vendor-model"),
    re_path(r"^conversations/?$", ConversationsView.as_view(), name="conversations"),
    re_path(r"^conversations/(?P<conversation_id>[^/]+)/?$", ConversationView.as_view(), name="conversation"),
    re_path(r"^usage/?$", UsageView.as_view(), name="usage"),
    re_path(r"^keys/?$", account.KeysView.as_view(), name="keys"),
    re_path(r"^keys/(?P<key_id>[^/]+)/?$", account.KeyView.as_view(), name="key"),
    re_path(r"^errors/?$", ErrorsView.as_view(), name="errors"),
    re_path(r"^errors/(?P<code>[^/]+)/?$", ErrorView.as_view(), name="error"),
    re_path(r"^health/?$", health.HealthView.as_view(), name="health"),
    re_path(r"^health/ready/?$", health.ReadyView.as_view(), name="ready"),
    re_path(r"^metrics/?$", metrics.MetricsView.as_view(), name="metrics"),
    re_path(r"^schema/?$", docs.SchemaView.as_view(), name="schema"),
    re_path(r"^docs/?$", docs.DocsView.as_view(), name="docs"),
    re_path(r"^overview/?$", OverviewView.as_view(), name="overview"),
    re_path(r"^favicon\.ico$", icon.IconView.as_view(), name="icon"),
    re_path(r"^playground/?$", PlaygroundView.as_view(), name="playground"),
]
