"""The frames of a chunked body (RFC 9112, 7.1), taken out where they lie. No input or output here.

Whatever a proxy in front might read in another way is refused, also where the RFC would let it pass: no whitespace in a
frame, CRLF as the only end of a line, 15 digits for a size at most, no folded trailers. What has no bound there has one
here.
"""

import re
from typing import NamedTuple

LINE = 1024  # bytes of a frame, or of a line of the trailers
TRAILERS = 8 * 1024  # bytes of all of them
SHOWN = 40  # bytes of a refused line

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+"'
SIZE = rb"([0-9A-Fa-f]{1,15}+)(?:;%b(?:=(?:%b|%b))?+)*+\r\n" % (TOKEN, TOKEN, QUOTED)
NEVER_LAST = rb"(?i:authorization|content-length|host|te|trailer|transfer-encoding):"  # RFC 9110, 6.5.1
FIELD = rb"(?:(?!%b)%b:[\t -~\x80-\xff]*+)?+\r\n" % (NEVER_LAST, TOKEN)  # or the empty line after the last one


class Frame(NamedTuple):
    """What stands between two pieces of payload: all of it, and any beginning of it that more could make whole."""

    whole: re.Pattern[bytes]
    begun: re.Pattern[bytes]


FIRST = Frame(re.compile(SIZE), re.compile(rb"[^\n]*+"))
NEXT = Frame(re.compile(rb"\r\n" + SIZE), re.compile(rb"(?:\r(?:\n[^\n]*+)?+)?+"))
TRAILER = Frame(re.compile(FIELD), re.compile(rb"[^\n]*+"))


class Chunks:
    """How far a chunked body has been understood. `ended`: to its end. `malformed`: why it cannot be."""

    def __init__(self) -> None:
        self.ended = False
        self.malformed = ""
        self._left = 0  # bytes of payload before the next frame
        self._frame = FIRST
        self._trailers = 0  # bytes

    def close_up(self, view: memoryview, start: int, end: int) -> tuple[int, int]:
        """Move the payload among the bytes that came, `view[start:end]`, together.

        Returns where it ends now, and where what comes behind it ends: a frame that is not whole yet, to be handed in
        again with more of it; or, after the end of the body, what belongs to the next request.
        """
        at = to = start
        while at < end and not (self.ended or self.malformed):
            if self._left:
                size = min(self._left, end - at)
                if to != at:
                    view[to : to + size] = view[at : at + size]
                at, to, self._left = at + size, to + size, self._left - size
            elif frame := self._frame.whole.match(view, at, min(end, at + LINE)):
                at = frame.end()
                self._take(frame)
            else:
                self._examine(view[at:end])
                break
        rest = end - at
        view[to : to + rest] = view[at:end]
        return to, to + rest

    def _take(self, frame: re.Match[bytes]) -> None:
        if self._frame is not TRAILER:
            self._left = int(frame[1], 16)
            self._frame = NEXT if self._left else TRAILER
        elif frame[0] == b"\r\n":
            self.ended = True
        else:
            self._trailers += len(frame[0])
            if self._trailers > TRAILERS:
                self.malformed = f"trailers of more than {TRAILERS} bytes"

    def _examine(self, rest: memoryview) -> None:
        """What is no whole frame: more may make it one, or nothing can."""
        if len(rest) >= LINE or not self._frame.begun.fullmatch(rest):
            kind = "trailer" if self._frame is TRAILER else "chunk"
            self.malformed = f"malformed {kind}: {bytes(rest[:SHOWN])!r}"
