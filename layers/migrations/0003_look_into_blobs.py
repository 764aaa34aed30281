from django.db import migrations
from django.utils.timezone import now


def have_blobs_looked_into(apps, schema_editor):
    """Those that came before anybody looked into blobs, and those whose last link was removed before anybody
    collected them: to the duty of blobs both are the same."""
    apps.get_model("layers", "Blob").objects.filter(finalized_at=None).update(due_at=now())


class Migration(migrations.Migration):
    dependencies = [
        ("layers", "0002_contents_and_counts"),
    ]

    operations = [
        migrations.RunPython(have_blobs_looked_into, migrations.RunPython.noop, elidable=True),
    ]
