import gzip
from itertools import pairwise

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from oci.blocks import Blocks
from oci.errors import DigestInvalid
from oci.tar import entries
from oci.tarsum import TarSum, is_tarsum
from tests.oci.tars import BY_DOCKER, COMPRESSIONS, ODD, entry, look, tar

HEX = "6d88cecbc1ec7d62db7188130540385868265c71b09e75c7731472837ccd38e8"


@pytest.mark.parametrize("label", ["tarsum", "tarsum.v1"])
def test_a_tarsum_is_read_and_written_the_same(label):
    assert str(TarSum.parse(f"{label}+sha256:{HEX}")) == f"{label}+sha256:{HEX}"


def test_a_tarsum_knows_its_version():
    assert TarSum.parse(f"tarsum+sha256:{HEX}") == TarSum(0, HEX)
    assert TarSum.parse(f"tarsum.v1+sha256:{HEX}") == TarSum(1, HEX)


@pytest.mark.parametrize(
    "text",
    ["", "tarsum", "tarsum.v1", f"tarsum.v1+sha256:{HEX.upper()}", f"tarsum.v1+sha256:{HEX}0", f"tarsum.v1:{HEX}",
     f"tarsum.v1+sha256:{HEX}\n", f"tarsum.v2+sha256:{HEX}", f"tarsum.dev+sha256:{HEX}", f"tarsum.v1+sha512:{HEX}",
     f"tarsumXv1+sha256:{HEX}", f"sha256:{HEX}", f"tarsum.v1+sha256:{HEX[1:]}٣", f" tarsum+sha256:{HEX}"],
)  # fmt: skip
def test_what_is_no_tarsum_is_refused(text):
    with pytest.raises(DigestInvalid):
        TarSum.parse(text)


def test_what_means_to_be_a_tarsum_is_told_from_digests():
    assert is_tarsum(f"tarsum.v1+sha256:{HEX}")
    assert is_tarsum("tarsum.v9+md5:")
    assert not is_tarsum(f"sha256:{HEX}")
    assert not is_tarsum("")


@pytest.mark.parametrize("by", COMPRESSIONS)
@pytest.mark.parametrize(("content", "tarsum"), [pytest.param(*rest, id=name) for name, *rest in BY_DOCKER])
def test_the_tarsum_is_the_one_that_docker_computes(content, tarsum, by):
    assert look(COMPRESSIONS[by](content)).tarsum == tarsum


def count(content: bytes) -> int:
    number = 0
    for found, pieces in entries(Blocks(iter([content]))):
        for _ in pieces:
            pass
        number += not found.is_global
    return number


@pytest.mark.parametrize("number", range(len(ODD)))
def test_an_odd_tar_is_read_as_docker_reads_it(number):
    content, tarsum, version_0, number_of_entries = ODD[number]
    found, found_0 = look(content), look(content, 0)
    assert (found.tarsum, found_0.tarsum) == (tarsum, version_0)
    if tarsum:
        assert count(content) == number_of_entries


def test_in_version_0_times_count_and_attributes_do_not():
    attributes = {"SCHILY.xattr.user.a": "b"}
    plain, dated = tar(entry("a", mtime=1)), tar(entry("a", mtime=2))
    with_attributes = tar(entry("a", mtime=1, pax_headers=attributes))
    assert look(plain).tarsum == look(dated).tarsum != look(with_attributes).tarsum
    assert look(plain, 0).tarsum == look(with_attributes, 0).tarsum != look(dated, 0).tarsum


FILES = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=4), st.binary(max_size=2000), min_size=1, max_size=8
).map(lambda files: [entry(name, content) for name, content in files.items()])


@given(
    FILES.flatmap(lambda files: st.tuples(st.just(files), st.permutations(files))),
    st.sampled_from(sorted(COMPRESSIONS)),
)
def test_the_order_of_paths_and_the_compression_do_not_change_it(orders, by):
    """The sums of the entries are sorted, so an entry may be anywhere; what is in an entry keeps its order."""
    one, other = (tar(*order) for order in orders)
    assert look(one).tarsum == look(COMPRESSIONS[by](other)).tarsum


@given(FILES, st.lists(st.integers(1, 5000), max_size=5), st.sampled_from([gzip.compress, zstandard.compress]))
def test_where_the_writer_began_another_member_or_frame_does_not_change_it(files, cuts, compress):
    content = tar(*files)
    borders = sorted({0, *(cut for cut in cuts if cut < len(content)), len(content)})
    pieces = [content[start:stop] for start, stop in pairwise(borders)]
    assert look(b"".join(map(compress, pieces))) == look(compress(content))


def test_of_a_path_that_comes_twice_the_order_counts():
    """When all is unpacked the last is what is there."""
    one, other = entry("a", b"1"), entry("./a", b"2")
    assert look(tar(one, other)).tarsum != look(tar(other, one)).tarsum
