import pytest

from oci import errors

SPEC_CODES = {
    "BLOB_UNKNOWN", "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID", "MANIFEST_UNKNOWN", "NAME_INVALID", "NAME_UNKNOWN", "SIZE_INVALID",
    "UNAUTHORIZED", "DENIED", "UNSUPPORTED", "TOOMANYREQUESTS",
}  # fmt: skip
FAULT_CODES = {"UNKNOWN", "UNAVAILABLE"}
REFUSALS = [value for value in vars(errors).values() if isinstance(value, type) and value.__mro__[1:2] != (Exception,)]

STATUSES = {
    "BlobUnknown": 404, "BlobUploadInvalid": 400, "ChunkOutOfOrder": 416, "UploadBusy": 409, "UploadSuperseded": 409,
    "BlobUploadUnknown": 404, "DigestInvalid": 400, "ManifestBlobUnknown": 404, "ManifestInvalid": 400,
    "ManifestTooLarge": 413, "TooManyTags": 414, "ManifestUnknown": 404, "NameInvalid": 400, "NameUnknown": 404,
    "RouteUnknown": 404, "SizeInvalid": 400, "RangeUnsatisfiable": 416, "BodyTooLarge": 413, "Unauthorized": 401,
    "Denied": 403, "InsufficientScope": 401, "Unsupported": 405, "RequestInvalid": 400, "TooManyRequests": 429,
    "Fault": 500, "Unavailable": 503, "StorageFull": 507,
}  # fmt: skip


def test_every_code_is_one_of_the_spec_or_a_fault_of_ours_and_none_is_missing():
    assert {refusal.code for refusal in REFUSALS} == SPEC_CODES | FAULT_CODES


def test_every_refusal_has_its_status():
    assert {refusal.__name__: refusal.status for refusal in REFUSALS} == STATUSES


def test_faults_of_ours_and_only_they_have_codes_the_spec_has_no_word_for():
    assert {refusal.code for refusal in REFUSALS if refusal.status >= 500} == FAULT_CODES
    assert {refusal.code for refusal in REFUSALS if refusal.status < 500} == SPEC_CODES


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refusal_says_what_it_is_without_being_told(refusal):
    assert refusal().message
    assert str(refusal()) == refusal.message
    assert refusal().detail is None


def test_a_refusal_can_be_made_more_exact_without_changing_its_class():
    refused = errors.ManifestInvalid({"field": "config"}, "config must be an object")
    assert (refused.detail, refused.message) == ({"field": "config"}, "config must be an object")
    assert str(refused) == "config must be an object"
    assert errors.ManifestInvalid().message == "manifest invalid"


def test_what_passes_says_when_to_try_again():
    assert errors.Unavailable().retry_after == 2
    assert errors.StorageFull().retry_after == 10
    assert errors.TooManyRequests(retry_after=30).retry_after == 30
    assert errors.TooManyRequests().retry_after
    assert errors.BlobUnknown().retry_after is None
