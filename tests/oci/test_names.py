import re
import time
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oci.digests import Digest
from oci.errors import DigestInvalid, ManifestUnknown, NameInvalid
from oci.names import is_tag, parse_name, parse_reference

COMPONENTS = st.from_regex(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*", fullmatch=True)


@pytest.mark.parametrize("name", ["a", "library/nginx", "a.b_c__d-e---f/0", "a/b/c/d/e", "a" * 255, "1.2.3"])
def test_a_name_of_the_specs_grammar_is_taken_as_it_is(name):
    assert parse_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "", "/", "a/", "/a", "a//b", "A", "a b", "a..b", "a___b", "a._b", "-a", "a-", ".a", "a.", "_a", "a_", "a:b",
        "..", "a/../b", "a\n", "a/b\n", "a\0", "ä", "٣", "a/²", "ﬁ", "\ud800", "a" * 256, "a/" * 127 + "aa", "%2e",
    ],
)  # fmt: skip
def test_any_other_name_is_refused(name):
    with pytest.raises(NameInvalid):
        parse_name(name)


@given(st.lists(COMPONENTS, min_size=1).map("/".join))
def test_components_joined_by_slashes_are_a_name_up_to_255_characters(name):
    if len(name) <= 255:
        assert parse_name(name) == name
    else:
        with pytest.raises(NameInvalid):
            parse_name(name)


@given(st.text())
def test_whatever_is_taken_for_a_name_or_tag_is_plain_ascii_without_surprises(text):
    with suppress(NameInvalid):
        assert re.fullmatch(r"[a-z0-9._/-]{1,255}", parse_name(text))
    if is_tag(text):
        assert re.fullmatch(r"\w[\w.-]{0,127}", text, re.ASCII)


@pytest.mark.parametrize(
    ("part", "times", "end"), [("a", 10**7, ""), ("a-", 127, "!"), ("a", 254, "!"), ("-", 255, "")]
)
def test_a_hostile_name_costs_no_time_and_is_not_repeated_in_full(part, times, end):
    hostile, started = part * times + end, time.process_time()
    with pytest.raises(NameInvalid) as refused:
        parse_name(hostile)
    assert len(refused.value.detail) <= 255
    assert not is_tag(hostile + "!")
    assert time.process_time() - started < 0.1


@pytest.mark.parametrize("tag", ["latest", "v1.0", "_", "A-b.C_d", "1", "a" * 128])
def test_a_tag_of_the_specs_grammar_is_one(tag):
    assert is_tag(tag)
    assert parse_reference(tag) == tag


@pytest.mark.parametrize("tag", ["", ".a", "-a", "a/b", "a b", "a\n", "\n", "é", "٣", "a" * 129, "\0", "a+b", "\ud800"])
def test_any_other_reference_without_a_colon_is_a_manifest_nobody_can_have_pushed(tag):
    assert not is_tag(tag)
    with pytest.raises(ManifestUnknown):
        parse_reference(tag)


@given(st.text())
@example("sha256:" + "0" * 63)
def test_a_reference_with_a_colon_is_a_digest_or_refused_as_one(text):
    with pytest.raises(DigestInvalid):
        parse_reference("x:" + text)


def test_a_digest_is_recognised_as_a_reference():
    digest = Digest.of(b"")
    assert parse_reference(str(digest)) == digest
