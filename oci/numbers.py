"""The texts and numbers of tar headers. Raise Malformed for what `archive/tar` does not take either."""

LONGEST = 1 << 20  # bytes of an extended header, a long name, a map
INT64 = range(-(1 << 63), 1 << 63)


class Malformed(Exception):
    """No tar, or not from here on. The argument says in a few words what is wrong."""


def text(field_: bytes) -> bytes:
    return field_.partition(b"\0")[0]


def number(field_: bytes) -> int:
    """Octal digits, or the number itself, big-endian, after a bit that is set. Raises Malformed beyond 64 bits."""
    if field_[0] < 128:
        return octal(field_)
    bits = 8 * len(field_) - 1
    value = int.from_bytes(field_) & ((1 << bits) - 1)
    if value >> (bits - 1):  # negative
        value -= 1 << bits
    if value not in INT64:
        raise Malformed("a number beyond 64 bits")
    return value


def octal(field_: bytes) -> int:
    digits = text(field_.strip(b" \0"))
    if not digits:
        return 0
    if not digits.isdigit():
        raise Malformed("a number that is none")
    try:
        return int(digits, 8)
    except ValueError:
        raise Malformed("a number that is none") from None


def decimal(digits: bytes) -> int:
    unsigned = digits[1:] if digits[:1] in (b"+", b"-") else digits
    if unsigned.isdigit() and len(unsigned) < 4000 and (value := int(digits)) in INT64:
        return value
    raise Malformed("a number that is none")


def seconds(value: bytes) -> int:
    """Whole seconds, rounded down, of a decimal number."""
    whole, _, fraction = value.partition(b".")
    if fraction and not fraction.isdigit():
        raise Malformed("a time that is none")
    behind = whole.startswith(b"-") and fraction[:9].strip(b"0") != b""
    return decimal(whole) - behind
