from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0003_truncated_records"),
    ]

    operations = [
        migrations.AddField(
            model_name="usagerecord",
            name="upstream_model",
            field=models.CharField(blank=True, db_default="", default="", max_length=200),
        ),
    ]
