import json

from django.db import migrations


def name_again(apps, schema_editor):
    """Write down what manifests that came earlier name: of indexes it was not, of images it was without media types."""
    manifests = apps.get_model("manifests", "Manifest").objects.only("repository_id", "digest", "content")
    namings = apps.get_model("layers", "Naming")
    for manifest in manifests.iterator(chunk_size=100):
        document = json.loads(bytes(manifest.content))
        described = [*(document.get("layers") or []), *(document.get("manifests") or [])]
        described += [document["config"]] if document.get("config") else []
        media_types = {each["digest"]: each["mediaType"] for each in described}
        namings.objects.bulk_create(
            [
                namings(
                    repository_id=manifest.repository_id, manifest=manifest.digest, digest=digest, media_type=media_type
                )
                for digest, media_type in sorted(media_types.items())
            ],
            update_conflicts=True,
            unique_fields=["repository", "digest", "manifest"],
            update_fields=["media_type"],
        )


class Migration(migrations.Migration):
    dependencies = [
        ("layers", "0002_contents_and_counts"),
        ("manifests", "0002_contents_and_counts"),
    ]

    operations = [
        migrations.RunPython(name_again, migrations.RunPython.noop, elidable=True),
    ]
