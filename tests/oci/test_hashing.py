"""Both engines, and the one form of state that both can put down and take up."""

import hashlib
import logging
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci import hashing, libcrypto
from oci.hash_state import COUNT_LIMIT, SHAPES, State, sealed
from oci.libcrypto import Libcrypto
from oci.rustcrypto import Rehashes

# A Python whose OpenSSL is out of reach still has to pass.
ENGINES: list[type[hashing.Engine]] = [Rehashes] + [Libcrypto] * (hashing.engine() is Libcrypto)
ALGORITHMS = list(SHAPES)
CONTENT = bytes(index * index % 251 for index in range(700))

every_engine = pytest.mark.parametrize("engine", ENGINES)
every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)


@pytest.fixture
def chosen_anew():
    hashing.engine.cache_clear()
    yield
    hashing.engine.cache_clear()


@every_engine
@pytest.mark.parametrize(
    ("algorithm", "content", "digest"),
    [
        ("sha256", b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("sha256", b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ("sha256", b"a" * 1_000_000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
        (
            "sha512",
            b"abc",
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
            "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ),
    ],
)
def test_the_known_answers_of_fips_180(engine, algorithm, content, digest):
    running = engine(algorithm)
    running.update(content)
    assert running.hexdigest() == digest


@every_algorithm
@pytest.mark.parametrize(("first", "second"), list(product(ENGINES, ENGINES)))
def test_a_hash_put_down_at_any_byte_is_taken_up_by_either_engine(algorithm, first, second):
    running, expected = first(algorithm), hashlib.new(algorithm, CONTENT).hexdigest()
    for index in range(len(CONTENT)):
        taken_up = second(algorithm, State.unpack(running.state.pack(), algorithm))
        taken_up.update(memoryview(CONTENT)[index:])
        assert taken_up.hexdigest() == expected, index
        running.update(CONTENT[index : index + 1])


@given(st.lists(st.tuples(st.binary(max_size=400), st.sampled_from(ENGINES))), st.sampled_from(ALGORITHMS))
def test_a_hash_passed_from_engine_to_engine_equals_hashlib(chunks, algorithm):
    state, reference = None, hashlib.new(algorithm)
    for chunk, engine in chunks:
        running = engine(algorithm, state)
        running.update(chunk)
        reference.update(chunk)
        state = State.unpack(running.state.pack(), algorithm)
        assert running.hexdigest() == reference.hexdigest()
    assert {engine(algorithm, state).hexdigest() for engine in ENGINES} == {reference.hexdigest()}


@given(st.binary(max_size=1000), st.sampled_from(ALGORITHMS))
def test_both_engines_write_the_same_state(content, algorithm):
    states = set()
    for engine in ENGINES:
        running = engine(algorithm)
        running.update(content)
        states.add(running.state.pack())
    assert len(states) == 1


@every_algorithm
@pytest.mark.parametrize("count", [1 << 29, (1 << 32) + 7, (1 << 61) - 1])
def test_a_count_beyond_32_bits_is_carried_over(algorithm, count):
    words = tuple(range(1, 9))
    tail = bytes(count % SHAPES[algorithm].block_size)
    put_down = State(algorithm, words, count, tail)
    taken_up = [engine(algorithm, put_down) for engine in ENGINES]
    assert [running.state for running in taken_up] == [put_down, put_down]
    assert len({running.hexdigest() for running in taken_up}) == 1


@every_engine
@every_algorithm
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda content: memoryview(bytearray(content))])
def test_every_kind_of_buffer_is_taken_also_in_slices(engine, algorithm, kind):
    running = engine(algorithm)
    buffer = kind(CONTENT)
    running.update(buffer)
    running.update(buffer[3:200])
    running.update(buffer[:0])
    assert running.hexdigest() == hashlib.new(algorithm, CONTENT + CONTENT[3:200]).hexdigest()


@every_engine
def test_a_buffer_is_free_again_after_the_update(engine):
    buffer = bytearray(CONTENT)
    running = engine("sha256")
    running.update(buffer)
    buffer.append(0)  # BufferError if anybody still held it
    view = memoryview(buffer)
    running.update(view)
    view.release()


@every_engine
def test_a_large_buffer_is_hashed_whole(engine):
    buffer = memoryview(bytearray(CONTENT * 5000))
    running = engine("sha256")
    running.update(buffer)
    assert running.hexdigest() == hashlib.sha256(buffer).hexdigest()


@every_engine
@pytest.mark.parametrize("value", ["text", 7, None, [1]])
def test_what_is_no_buffer_is_a_type_error_and_changes_nothing(engine, value):
    running = engine("sha256")
    with pytest.raises(TypeError):
        running.update(value)
    assert running.hexdigest() == hashlib.sha256().hexdigest()


@every_algorithm
def test_a_state_with_any_bit_flipped_or_any_length_changed_is_refused(algorithm):
    packed = state_after(CONTENT[:200], algorithm).pack()
    damaged = [packed[:length] for length in range(1, len(packed))] + [packed + b"\0", packed * 2]
    for bit in range(8 * len(packed)):
        flipped = bytearray(packed)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))
    for attempt in damaged:
        with pytest.raises(ValueError, match=algorithm):
            State.unpack(attempt, algorithm)


@given(st.binary(max_size=250), st.sampled_from(ALGORITHMS))
def test_bytes_that_are_no_state_are_refused_even_with_the_right_checksum(junk, algorithm):
    for attempt in (junk, sealed(junk)):
        with pytest.raises(ValueError, match=algorithm):
            State.unpack(attempt, algorithm)


@every_algorithm
def test_a_well_sealed_state_that_cannot_be_is_refused(algorithm):
    state = state_after(CONTENT[:200], algorithm)
    body = state.pack()[:-4]
    head = SHAPES[algorithm].head
    for impossible in (
        body + b"\0",
        b"\x02" + body[1:],
        head.pack(1, SHAPES[algorithm].number, *state.words, COUNT_LIMIT),
        head.pack(1, 3 - SHAPES[algorithm].number, *state.words, 0),
        head.pack(1, SHAPES[algorithm].number, *state.words, 1),
    ):
        with pytest.raises(ValueError, match=algorithm):
            State.unpack(sealed(impossible), algorithm)


@every_engine
def test_every_engine_passes_the_examination(engine):
    hashing.examine(engine)


def test_an_engine_whose_states_are_not_the_known_ones_is_refused():
    class Shuffled(Rehashes):
        @property
        def state(self):
            state = super().state
            return State(state.algorithm, state.words[::-1], state.count, state.tail)

    with pytest.raises(ValueError, match="not as documented"):
        hashing.examine(Shuffled)


def test_an_engine_that_cannot_take_up_a_state_is_refused():
    class Forgetful(Rehashes):
        def __init__(self, algorithm, state=None):
            super().__init__(algorithm)

    with pytest.raises(ValueError, match="not as documented"):
        hashing.examine(Forgetful)


@pytest.mark.usefixtures("chosen_anew")
@pytest.mark.parametrize("problem", [ImportError, OSError, AttributeError, RuntimeError])
def test_without_a_usable_libcrypto_the_other_engine_hashes_and_the_log_says_so(monkeypatch, caplog, problem):
    def unusable(algorithm):
        raise problem("no SHA256_Init here")

    monkeypatch.setattr(libcrypto, "functions", unusable)
    with caplog.at_level(logging.WARNING):
        assert hashing.engine() is Rehashes
    assert "no SHA256_Init here" in caplog.text


@pytest.mark.usefixtures("chosen_anew")
def test_without_any_engine_nothing_is_hashed(monkeypatch):
    monkeypatch.setattr(hashing, "ENGINES", ("oci.libcrypto.Missing", "no_such_package.Engine"))
    with pytest.raises(RuntimeError, match="no way to hash"):
        hashing.engine()


def state_after(content, algorithm):
    running = Rehashes(algorithm)
    running.update(content)
    return running.state
