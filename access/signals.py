"""Which changes of a user, and of a repository, end what was issued, whichever page, command or code makes them.

Of users only `QuerySet.update` passes by: it sends no signal.
"""

from typing import Any

from django.db.models.signals import post_delete, pre_save
from django.dispatch import receiver

from access import services
from access.models import User
from repositories import deletion


@receiver(pre_save, sender=User)
def revoke_when_password_or_activity_ends(instance: User, update_fields: Any, **_: Any) -> None:
    written = {"password", "is_active"} if update_fields is None else {"password", "is_active"} & set(update_fields)
    if instance._state.adding or not written:
        return
    before = User.objects.filter(pk=instance.pk).values("password", "is_active").first()
    if before is None:
        return
    disabled = "is_active" in written and before["is_active"] and not instance.is_active
    changed = "password" in written and before["password"] != instance.password and not instance.rehashing
    if disabled or changed:
        services.revoke(instance.subject)


@receiver(post_delete, sender=User)
def revoke_when_deleted(instance: User, **_: Any) -> None:
    services.revoke(instance.subject)


@receiver(deletion.deleted)
def revoke_when_a_repository_is_deleted(name: str, **_: Any) -> None:
    services.revoke_repository(name)
