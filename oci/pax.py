"""Extended headers (POSIX, "pax Header Block"): records of the form `length key=value\n`."""

from oci.numbers import Malformed, decimal

SPARSE_00 = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")  # many of each, in turn: the map, before it had one key


def parse_records(content: bytes) -> dict[bytes, bytes]:
    """The last record of each key. Raises Malformed."""
    records = {}
    sparse_map: list[bytes] = []
    start = 0
    while start < len(content):
        space = content.find(b" ", start, start + 20)
        length = decimal(content[start:space]) if space > 0 else 0
        key, equals, value = content[space + 1 : start + length - 1].partition(b"=")
        start += length
        whole = length >= 5 and start <= len(content) and content[start - 1 : start] == b"\n"
        nul = b"\0" in (value if key in (b"path", b"linkpath", b"uname", b"gname") else key)
        if not (whole and key and equals) or nul:
            raise Malformed("an extended header that is none")
        if key in SPARSE_00:
            if key != SPARSE_00[len(sparse_map) % 2] or b"," in value:
                raise Malformed("a sparse file's map out of order")
            sparse_map.append(value)
        else:
            records[key] = value
    if sparse_map:
        records[b"GNU.sparse.map"] = b",".join(sparse_map)
    return records


def attributes(records: dict[bytes, bytes]) -> dict[bytes, bytes]:
    known = b"SCHILY.xattr."
    return {key[len(known) :]: value for key, value in records.items() if key.startswith(known)}
