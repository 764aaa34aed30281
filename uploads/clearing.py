"""The uploads of a deleted repository."""

import uuid

from oci.errors import BlobUploadUnknown, UploadBusy, UploadSuperseded
from repositories.deletion import BATCH, clears
from repositories.models import Repository
from uploads import taking
from uploads.models import State, Upload


@clears
def clear(repository: Repository) -> None:
    """Each that can go now, whichever cannot. Raises UploadBusy, UploadSuperseded."""
    problem, after = None, uuid.UUID(int=0)
    while batch := list(repository.uploads.filter(pk__gt=after).order_by("pk")[:BATCH]):
        for upload in batch:
            after = upload.pk
            try:
                end(upload)
            except (UploadBusy, UploadSuperseded) as left:
                problem = left
    if problem:
        raise problem


def end(upload: Upload) -> None:
    """Whatever its writer is at: who is superseded lets go within seconds. Raises UploadBusy where that takes longer,
    and where there is no file: its process may be about to make it, and else the row expires."""
    if upload.state == State.FINISHED:
        upload.delete()
        return
    generation = uuid.uuid4()
    row = Upload.objects.filter(pk=upload.pk)
    row.update(generation=generation)
    try:
        with taking.fenced(upload.pk, generation) as (ended, _):
            taking.drop(ended)
    except BlobUploadUnknown:
        if row.exists():
            raise UploadBusy(str(upload.pk), "it is being opened, or nobody will ever write to it") from None
