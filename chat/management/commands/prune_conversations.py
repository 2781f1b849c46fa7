"""`manage.py prune_conversations --older-than 400d`"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from chat.accounts import deletion
from chat.management import age, counted, progress
from chat.models import Conversation


class Command(BaseCommand):
    help = (
        "Delete conversations in which nothing was written for so long, with all that is kept of them. Chats go on "
        "meanwhile; stop it at any time and start it again. Usage records stay: they hold no words."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--older-than", required=True, help="Days, such as 400d.")

    def handle(self, *, older_than: str, **options: Any) -> None:
        before, deleted = timezone.now() - age(older_than, 1), 0
        with progress(Conversation.objects.filter(created_at__lt=before).count(), "conversations") as bar:
            for gone, seen in deletion.prune_conversations(before):
                deleted += gone
                bar.update(seen)
        self.stdout.write(f"Deleted, not used since {before:%Y-%m-%d %H:%M} UTC: {counted(deleted, 'conversation')}.")
