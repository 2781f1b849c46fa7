from django.conf import settings
from django.db import migrations, models
from django.db.models.deletion import CASCADE, SET_NULL


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0005_key_details"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="idempotentrequest",
            name="conversation",
            field=models.ForeignKey(
                db_index=False,
                help_text="Named by the request.",
                null=True,
                on_delete=CASCADE,
                related_name="+",
                to="chat.conversation",
            ),
        ),
        migrations.AlterField(
            model_name="usagerecord",
            name="user",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=SET_NULL,
                related_name="usage_records",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddIndex(
            model_name="idempotentrequest",
            index=models.Index(
                condition=models.Q(("conversation__isnull", False)),
                fields=["conversation"],
                name="answers_by_conversation",
            ),
        ),
    ]
