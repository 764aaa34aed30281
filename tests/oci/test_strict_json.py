import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci import strict_json

MIB = 1 << 20
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
)


@given(VALUES, st.booleans())
def test_ordinary_json_is_read_as_the_standard_library_reads_it(value, ensure_ascii):
    assert strict_json.load(json.dumps(value, ensure_ascii=ensure_ascii).encode()) == value


@given(st.binary())
def test_arbitrary_bytes_raise_nothing_but_value_error(content):
    for attempt in (content, b'{"' + content + b'":[' + content + b"]}"):
        try:
            strict_json.load(attempt)
        except ValueError as refused:
            assert str(refused)  # noqa: PT017 - it may also be JSON


@pytest.mark.parametrize(
    "content",
    [
        b"", b" ", b"{", b"}", b"[1,]", b"{'a':1}", b"{}{}", b"nul", b"// \n{}", b"01", b"+1", b"1.", b'"\n"', b'"\t"',
        b"\0", b"{}\0", b"\xff", b'"\xed\xa0\x80"', b'"\xc0\x80"', b"\xef\xbb\xbf{}", "{}".encode("utf-16"),
        "{}".encode("utf-32"),
    ],
)  # fmt: skip
def test_what_is_no_utf8_json_is_refused(content):
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own words
        strict_json.load(content)


@pytest.mark.parametrize(
    "content", [b'{"a":1,"a":1}', b'[[{"b":{"a":1,"\\u0061":2}}]]', b'{"":0,"":0}', b'{"a":{},"b":1,"a":{}}']
)
def test_a_name_that_occurs_twice_is_refused_wherever_it_is(content):
    with pytest.raises(ValueError, match="twice"):
        strict_json.load(content)


def test_the_same_name_in_different_objects_is_fine():
    assert strict_json.load(b'[{"a":{"a":1}},{"a":2}]') == [{"a": {"a": 1}}, {"a": 2}]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_json_does_not_know_is_refused(number):
    with pytest.raises(ValueError, match="not a JSON number"):
        strict_json.load(f'{{"a":[{number}]}}'.encode())


@pytest.mark.parametrize(
    ("start", "digit"), [("", "1"), ("-", "1"), ("0.", "1"), ("1e", "9"), ("1e-", "9"), ("", "9"), ("1", "0")]
)
@pytest.mark.parametrize("length", [400, 5_000, 4 * MIB])
def test_an_endless_number_is_refused_at_once(start, digit, length):
    started = time.process_time()
    with pytest.raises(ValueError, match=r"digits|out of range"):
        strict_json.load((start + digit * length).encode())
    assert time.process_time() - started < 0.2


def test_a_number_beyond_what_a_float_holds_is_refused():
    with pytest.raises(ValueError, match="out of range"):
        strict_json.load(b"[-1e400]")


def test_the_largest_integers_of_64_bits_are_read():
    assert strict_json.load(b"[9223372036854775807, -9223372036854775808]") == [2**63 - 1, -(2**63)]


@pytest.mark.parametrize("text", ['"\\ud800"', '"\\udc00\\ud800"', '{"\\uDFFF":1}', '[["x\\ud83d"]]'])
def test_half_of_a_surrogate_pair_is_refused(text):
    with pytest.raises(ValueError, match="surrogate"):
        strict_json.load(text.encode())


def test_halves_of_a_pair_in_two_strings_do_not_make_a_whole():
    with pytest.raises(ValueError, match="surrogate"):
        strict_json.load(b'["\\ud83d","\\ude00"]')


def test_a_whole_surrogate_pair_is_one_character():
    assert strict_json.load(b'"\\ud83d\\ude00"') == "😀"


@pytest.mark.parametrize("text", ['"\\u0000"', '{"a\\u0000":1}', '[{"a":"\\u0000"}]', '[["", "b\\u0000"]]'])
def test_a_nul_in_a_string_is_refused(text):
    with pytest.raises(ValueError, match="NUL"):
        strict_json.load(text.encode())


def test_a_backslash_before_u0000_is_not_a_nul():
    assert strict_json.load(b'"\\\\u0000"') == "\\u0000"


@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a":', "}")])
def test_nesting_is_accepted_up_to_the_limit_and_no_further(opened, closed):
    def nested(depth):
        return (opened * depth + "1" + closed * depth).encode()

    strict_json.load(nested(strict_json.DEPTH))
    with pytest.raises(ValueError, match="deeper"):
        strict_json.load(nested(strict_json.DEPTH + 1))


def test_an_empty_array_counts_as_a_level():
    deepest = "[" * strict_json.DEPTH + "]" * strict_json.DEPTH
    strict_json.load(deepest.encode())
    with pytest.raises(ValueError, match="deeper"):
        strict_json.load(f"[{deepest}]".encode())


@pytest.mark.parametrize("depth", [33, 900, 990, 1_000, 5_000, 90_000])
@pytest.mark.parametrize("closed", [True, False])
def test_deep_nesting_is_refused_at_every_depth(depth, closed):
    for opened, end in (("[", "]"), ('{"a":', "}")):
        with pytest.raises(ValueError):  # noqa: PT011 - deep, or never closed
            strict_json.load((opened * depth + "1" + end * depth * closed).encode())


@pytest.mark.parametrize(
    ("start", "part", "end"),
    [
        ("", "[", ""), ("", '{"a":', ""), ("", '[{"":', ""), ("[", "[],", "1]"), ("[", "{},", "1]"),
        ("[", "1,", "1]"), ("[", "1.5,", "1]"), ('["', "\\u0041", '"]'), ('["', "\\", '"]'), ('["', "a", ""),
        ("[", '"",', '""]'), ("", " ", ""), ("", "-", ""), ("{", '"a":0,', '"a":0}'), ("[" * 31, "[],", "]" * 31),
        ("[", "1" * 4300 + ",", "1]"), ("", "\n", "x"),
    ],
)  # fmt: skip
def test_four_mebibytes_of_anything_take_bounded_time(start, part, end):
    content = (start + part * (4 * MIB // len(part)) + end).encode()
    started = time.process_time()
    try:
        strict_json.load(content)
    except ValueError as refused:
        assert len(str(refused)) < 200  # noqa: PT017 - some of these are JSON
    assert time.process_time() - started < 3
