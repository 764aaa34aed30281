"""Who may write to an upload: the newest request takes it, and waits at the fence for the one before."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils.timezone import now

from layers import services as layers
from oci.errors import BlobUploadUnknown, UploadBusy, UploadSuperseded
from repositories.connections import let_go_of_connection
from storage.driver import ObjectBusy, ObjectMissing, Writer, blobs
from uploads.models import State, Upload


def key_of(upload_id: uuid.UUID) -> str:
    return f"{upload_id.hex[:2]}/{upload_id.hex}"


def belonging(name: str, upload_id: str, opener: str) -> QuerySet[Upload]:
    """The upload of this id, to whoever opened it, under its repository's name; to anybody else: nothing."""
    try:
        parsed = uuid.UUID(upload_id)
    except ValueError:
        return Upload.objects.none()
    return Upload.objects.filter(pk=parsed, repository__name=name, opener=opener)


@contextmanager
def writing(name: str, upload_id: str, opener: str) -> Iterator[tuple[Upload, Writer]]:
    """Take an open upload, from whoever writes to it now. Raises BlobUploadUnknown, UploadBusy, UploadSuperseded."""
    generation, moment = uuid.uuid4(), now()
    taken = belonging(name, upload_id, opener).filter(state=State.OPEN)
    if not taken.update(generation=generation, active_at=moment, due_at=moment + settings.REGISTRY_UPLOAD_EXPIRY):
        raise BlobUploadUnknown(upload_id)
    with fenced(uuid.UUID(upload_id), generation) as held:
        yield held


@contextmanager
def fenced(upload_id: uuid.UUID, generation: uuid.UUID) -> Iterator[tuple[Upload, Writer]]:
    """Wait for the fence, and read behind it what is true: a request that was itself superseded touches nothing."""
    let_go_of_connection()
    try:
        with blobs().writer(key_of(upload_id)) as writer:
            upload = Upload.objects.select_related("repository").filter(pk=upload_id).first()
            if upload is None or upload.state != State.OPEN:
                raise BlobUploadUnknown(str(upload_id))
            if upload.generation != generation:
                raise UploadSuperseded(str(upload_id))
            yield upload, writer
    except ObjectBusy:
        raise UploadBusy(str(upload_id)) from None
    except ObjectMissing:
        raise BlobUploadUnknown(str(upload_id)) from None


def drop(upload: Upload) -> None:
    """The upload is over without a blob."""
    with transaction.atomic():
        if not upload.mine().delete()[0]:
            raise UploadSuperseded(str(upload.pk))
        layers.discard(upload.key)
