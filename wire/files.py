"""Answers that are parts of stored objects."""

from django.http import FileResponse


class ObjectResponse(FileResponse):
    """Sends a `storage.driver.Reader`, by sendfile where the server can; that is lost as soon as anybody touches
    `streaming_content`. Headers, the length too, are the view's."""

    block_size = 256 * 1024  # bytes, where the kernel cannot send the file itself

    def set_headers(self, filelike):
        """Django would guess them from a file name."""
