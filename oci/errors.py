"""The refusals the distribution spec has a word for, and our own faults: one class each, one line each."""


class RegistryError(Exception):
    """Raised anywhere below a view; the wire turns it into a response.

    `code` is the spec's word and `status` the HTTP status. `detail` is anything that JSON can hold; `message` is one
    line for the person who reads the client's output and may be made more exact than the class's.
    `retry_after` is in seconds, None where trying again later is no remedy.
    """

    code: str
    status: int
    message: str
    retry_after: int | None = None

    def __init__(self, detail: object = None, message: str | None = None, *, retry_after: int | None = None) -> None:
        self.detail = detail
        if message is not None:
            self.message = message
        if retry_after is not None:
            self.retry_after = retry_after
        super().__init__(self.message)


class BlobUnknown(RegistryError):
    code, status, message = "BLOB_UNKNOWN", 404, "blob unknown to registry"


class BlobUploadInvalid(RegistryError):
    code, status, message = "BLOB_UPLOAD_INVALID", 400, "blob upload invalid"


class ChunkOutOfOrder(BlobUploadInvalid):
    status, message = 416, "the chunk does not start where the upload ends"


class UploadBusy(BlobUploadInvalid):
    status, message = 409, "another request is writing to this upload"


class UploadSuperseded(BlobUploadInvalid):
    status, message = 409, "a newer request has taken over this upload"


class BlobUploadUnknown(RegistryError):
    code, status, message = "BLOB_UPLOAD_UNKNOWN", 404, "blob upload unknown to registry"


class DigestInvalid(RegistryError):
    code, status, message = "DIGEST_INVALID", 400, "provided digest did not match uploaded content"


class ManifestBlobUnknown(RegistryError):
    code, status, message = "MANIFEST_BLOB_UNKNOWN", 404, "manifest references a manifest or blob unknown to registry"


class ManifestInvalid(RegistryError):
    code, status, message = "MANIFEST_INVALID", 400, "manifest invalid"


class ManifestTooLarge(ManifestInvalid):
    status, message = 413, "manifest is larger than this registry accepts"


class TooManyTags(ManifestInvalid):
    status, message = 414, "more tags in one request than this registry accepts"


class ManifestUnknown(RegistryError):
    code, status, message = "MANIFEST_UNKNOWN", 404, "manifest unknown to registry"


class NameInvalid(RegistryError):
    code, status, message = "NAME_INVALID", 400, "invalid repository name"


class NameUnknown(RegistryError):
    code, status, message = "NAME_UNKNOWN", 404, "repository name not known to registry"


class RouteUnknown(NameUnknown):
    message = "no such route"


class SizeInvalid(RegistryError):
    code, status, message = "SIZE_INVALID", 400, "provided length did not match content length"


class RangeUnsatisfiable(SizeInvalid):
    status, message = 416, "the blob has no such range"


class BodyTooLarge(SizeInvalid):
    status, message = 413, "the body is larger than this registry accepts"


class Unauthorized(RegistryError):
    code, status, message = "UNAUTHORIZED", 401, "authentication required"


class Denied(RegistryError):
    code, status, message = "DENIED", 403, "requested access to the resource is denied"


class InsufficientScope(Denied):
    status = 401  # clients fetch a token with a wider scope only on 401


class Unsupported(RegistryError):
    code, status, message = "UNSUPPORTED", 405, "the operation is unsupported"


class RequestInvalid(Unsupported):
    status, message = 400, "the request is malformed"


class TooManyRequests(RegistryError):
    code, status, message, retry_after = "TOOMANYREQUESTS", 429, "too many requests", 1


class Fault(RegistryError):
    code, status, message = "UNKNOWN", 500, "the registry failed; its log says why"


class Unavailable(RegistryError):
    code, status, message, retry_after = "UNAVAILABLE", 503, "the registry is busy; try again", 2


class StorageFull(Unavailable):
    status, message, retry_after = 507, "the registry's storage is full", 10
