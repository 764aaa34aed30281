import gzip
import hashlib
import io
import json
import struct
import tarfile

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from oci.contents import STORED, Inside, TooMuch, inside
from tests.oci.tars import COMPRESSIONS, entry, look, tar

FILES = tar(entry("etc", type=tarfile.DIRTYPE), entry("etc/motd", b"hello\n"), entry("big", bytes(3000)))
DOCUMENT = json.dumps({"architecture": "amd64", "rootfs": {"type": "layers"}}).encode() * 20
SKIPPED = b"\x50\x2a\x4d\x18" + struct.pack("<I", 5) + b"skip!"


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.mark.parametrize("by", COMPRESSIONS)
def test_of_a_tar_everything_is_known(by):
    found = look(COMPRESSIONS[by](FILES))
    assert (found.contents, found.remark, found.compression) == ("tar", "", by)
    assert (found.files, found.uncompressed_size, found.diff_id) == (2, len(FILES), sha256(FILES))
    assert found.tarsum.startswith("tarsum.v1+sha256:")


def test_a_header_for_all_that_follow_is_no_file():
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", pax_headers={"comment": "by git"}) as archive:
        archive.addfile(tarfile.TarInfo("a"))
    assert look(content.getvalue()).files == 1


def test_regular_files_are_counted_and_a_hard_link_is_another_name_of_one():
    directories = [entry("etc", type=tarfile.DIRTYPE), entry("V7/", type=tarfile.AREGTYPE)]
    links = [entry("again", type=tarfile.LNKTYPE, linkname="file"), entry("to", type=tarfile.SYMTYPE, linkname="file")]
    devices = [entry(f"dev{kind}", type=kind) for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)]
    files = [entry("file", b"hello"), entry("old", b"old", type=tarfile.AREGTYPE), entry("7", type=tarfile.CONTTYPE)]
    assert look(tar(*directories, *files, *links, *devices)).files == 3


class Counted(io.BytesIO):
    def read(self, size: int = -1, /) -> bytes:
        assert size <= STORED
        return super().read(size)


def test_what_is_neither_compressed_nor_a_tar_is_not_read_to_its_end():
    stream = Counted(DOCUMENT * 1000)
    assert inside(stream) == Inside("other", compression="none")
    assert stream.tell() == STORED


@pytest.mark.parametrize("by", ["gzip", "zstd"])
def test_of_something_else_that_is_compressed_the_uncompressed_bytes_are_known(by):
    assert look(COMPRESSIONS[by](DOCUMENT)) == Inside(
        "other", compression=by, diff_id=sha256(DOCUMENT), uncompressed_size=len(DOCUMENT)
    )


def test_a_disk_image_that_begins_with_zeros_is_no_empty_tar():
    image = bytes(32768) + b"\x01CD001" + bytes(100000)
    assert look(image) == Inside("other", compression="none")
    assert look(gzip.compress(image)).diff_id == sha256(image)


def test_nothing_at_all_is_an_empty_tar_as_it_is_for_docker():
    assert (look(b"").contents, look(b"").files, look(b"").diff_id) == ("tar", 0, sha256(b""))


def test_a_tar_may_end_without_its_last_blocks_and_that_is_said():
    found = look(FILES[: 512 * 3])
    assert (found.contents, found.files) == ("tar", 1)
    assert "zeros" in found.remark


def test_what_follows_the_end_of_a_tar_counts_for_the_diff_id_alone():
    longer = FILES + b"anything" * 1000
    assert look(longer).tarsum == look(FILES).tarsum
    assert look(longer).diff_id == sha256(longer)


# --- gzip and zstd ----------------------------------------------------------------------------------------------------


def test_a_gzip_may_have_several_members_and_zeros_after_them():
    content = gzip.compress(FILES[:700]) + gzip.compress(b"") + gzip.compress(FILES[700:]) + bytes(1000)
    assert look(content) == look(gzip.compress(FILES))


def test_a_zstd_may_have_several_frames_and_some_that_are_skipped():
    content = SKIPPED + zstandard.compress(FILES[:700]) + SKIPPED + zstandard.compress(FILES[700:]) + SKIPPED
    assert look(content) == look(zstandard.compress(FILES))


@pytest.mark.parametrize("by", ["gzip", "zstd"])
def test_garbage_after_the_compressed_bytes_makes_it_broken(by):
    found = look(COMPRESSIONS[by](FILES) + b"garbage")
    assert found.contents == "broken"
    assert by in found.remark
    assert f"after 3 entries; of {len(COMPRESSIONS[by](FILES)) + 7:,} bytes that were read" in found.remark


@pytest.mark.parametrize("by", ["gzip", "zstd"])
def test_a_bit_that_flipped_makes_it_broken(by):
    content = bytearray(gzip.compress(FILES) if by == "gzip" else checked(FILES))
    content[-2] ^= 1  # in the checksum
    assert look(bytes(content)).contents == "broken"


def checked(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(content)


def test_a_zstd_frame_that_wants_too_much_memory_is_not_looked_into():
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=28)
    writer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    found = look(writer.compress(FILES) + writer.flush())
    assert (found.contents, found.compression) == ("too much", "zstd")
    assert "memory" in found.remark


# --- Ends that come early ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["gzip", "zstd"])
def test_compressed_bytes_that_end_early_are_broken_wherever_they_end(by):
    content = COMPRESSIONS[by](FILES)
    for stop in range(4, len(content)):
        found = look(content[:stop])
        assert (found.contents, found.compression) == ("broken", by), stop
        assert f"ends within a {by} " in found.remark


def test_a_tar_that_ends_within_an_entry_is_broken_and_what_came_before_is_said():
    headers, end_of_motd = 512 * 3, 512 * 2 + 6
    for stop in [*range(512 * 2 + 1, end_of_motd), 513, 512 * 4 + 1, 512 * 4 + 2999, headers + 1, headers + 511]:
        found = look(FILES[:stop])
        assert found.contents == "broken", stop
        assert f"of {stop:,} bytes that were read {stop:,} came out" in found.remark


def test_no_boundary_of_a_tar_is_a_trap():
    for stop in range(len(FILES)):
        found = look(FILES[:stop])
        assert found.contents in (("tar", "other") if stop < 512 else ("tar", "broken")), stop
        assert (found.tarsum != "") == (found.contents == "tar")


# --- Hostile bytes ----------------------------------------------------------------------------------------------------


@given(st.binary(max_size=3000), st.sampled_from(["none", "gzip", "zstd"]), st.booleans())
def test_no_bytes_raise(junk, by, behind_a_tar):
    found = look(COMPRESSIONS[by]((FILES[:2048] if behind_a_tar else b"") + junk))
    assert found.contents in ("tar", "other", "broken")
    assert len(found.remark) <= 500


@given(st.lists(st.tuples(st.integers(0, len(FILES) - 1), st.integers(0, 255)), max_size=4))
def test_no_changed_byte_raises(changes):
    content = bytearray(FILES)
    for place, value in changes:
        content[place] = value
    assert look(bytes(content)).contents in ("tar", "other", "broken")


def special(kind: bytes, content: bytes) -> bytes:
    member, _ = entry("special", content, type=kind)
    return member.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512)


def test_an_extended_header_of_more_than_a_mebibyte_is_not_kept():
    found = look(special(b"x", bytes((1 << 20) + 1)) + FILES)
    assert found.contents == "broken"
    assert "an extended header of 1048577 bytes" in found.remark


@pytest.mark.parametrize("kind", [b"x", b"L", b"K"])
def test_extended_headers_that_describe_nothing_are_read_one_at_a_time(kind):
    record = b"65520 path=" + b"n" * (65520 - 12) + b"\n"
    found = look(gzip.compress(special(kind, record) * 200))
    assert (found.contents, found.files) == ("tar", 0)


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_names_of_64_kib_count(format):
    names = [f"{letter}/" + "n" * 65534 for letter in "ab"]
    found = look(tar(*(entry(name) for name in names), format=format))
    assert (found.contents, found.files) == ("tar", 2)
    assert found.tarsum != look(tar(entry(names[0]), entry(names[0]), format=format)).tarsum


MALFORMED = [
    b"6 a=b", b"99 a=b\n", b"0 a=b\n", b"-6 a=b\n", b"6 =bc\n", b"a=b\n", b" a=b\n", b"5 ab\n", b"6 a=bc",
    b"9" * 5000 + b" a=b\n", b"17 path=/etc\0evil\n",
]  # fmt: skip


@pytest.mark.parametrize("records", MALFORMED)
def test_a_malformed_extended_header_is_broken(records):
    found = look(special(b"x", records) + FILES)
    assert (found.contents, found.tarsum) == ("broken", "")
    assert "after 0 entries" in found.remark


def test_a_number_of_5000_digits_is_broken():
    digits = b"9" * 5000
    record = b"%d uid=%s\n" % (5010, digits)
    assert len(record) == 5010
    assert look(special(b"x", record) + FILES).contents == "broken"


def test_patience_that_ends_is_too_much_and_says_what_was_seen():
    stream = io.BytesIO(FILES + bytes(STORED * 2))

    def patience() -> None:
        if stream.tell() > STORED:
            raise TooMuch("more than a moment")

    found = inside(stream, patience=patience)
    assert found.contents == "too much"
    assert found.remark.startswith("more than a moment, after 3 entries; of ")


def test_a_hole_of_8_eib_is_too_much_for_patience():
    moments = iter(range(100))

    def patience() -> None:
        if next(moments, None) is None:
            raise TooMuch("more than a moment")

    hole = [("major", "0"), ("minor", "1"), ("numblocks", "0"), ("size", str(2**63 - 1))]
    content = tar(entry("hole", pax_headers={f"GNU.sparse.{key}": value for key, value in hole}))
    assert inside(io.BytesIO(content), patience=patience).contents == "too much"


def test_memory_that_ends_is_too_much():
    def patience() -> None:
        raise MemoryError

    assert inside(io.BytesIO(FILES), patience=patience).contents == "too much"
