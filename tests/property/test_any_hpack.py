"""Header blocks with their strings written out mean what hpack reads in them as they came, or fail as it does."""

from __future__ import annotations

from hpack import Decoder, Encoder
from hpack.exceptions import HPACKError
from hpack.huffman_table import decode_huffman
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.http.huffman import PlainDecoder, decoded, plain

FIELDS = st.lists(
    st.tuples(
        st.sampled_from([b":path", b"authorization", b"x-own", b"accept", b""]) | st.binary(max_size=20),
        st.sampled_from([b"*/*", b"/", b""]) | st.binary(max_size=300),
        st.booleans(),
    ),
    max_size=8,
)


def read(decoder: Decoder, blocks: list[bytes]) -> list[object]:
    """What each block says to a decoder that had those before it, until one fails."""
    found: list[object] = []
    for block in blocks:
        try:
            found.append([(*map(bytes, each), each.indexable) for each in decoder.decode(block, raw=True)])
        except (HPACKError, IndexError) as error:
            found.append(type(error).__name__)
            break
    return found


def written(lists: list[list[tuple[bytes, bytes, bool]]], *, huffman: bool) -> list[bytes]:
    encoder = Encoder()
    return [encoder.encode(each, huffman=huffman) for each in lists]


@settings(max_examples=400, deadline=None)
@given(st.lists(FIELDS, max_size=4), st.booleans(), st.data())
def test_both_read_the_same(lists: list[list[tuple[bytes, bytes, bool]]], huffman: bool, data: st.DataObject) -> None:
    """Whole, and with octets changed or cut off."""
    blocks = [bytearray(each) for each in written(lists, huffman=huffman)]
    for block in blocks:
        for _ in range(data.draw(st.integers(0, 2)) if block else 0):
            block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
        del block[data.draw(st.integers(0, len(block))) if data.draw(st.booleans()) else len(block) :]
    whole = [bytes(each) for each in blocks]
    assert read(PlainDecoder(), whole) == read(Decoder(), whole)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=200))
def test_garbage_is_read_alike(block: bytes) -> None:
    assert read(PlainDecoder(), [block]) == read(Decoder(), [block])


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=60))
def test_any_octets_as_a_coded_string(coded: bytes) -> None:
    try:
        wanted = decode_huffman(coded)
    except HPACKError:
        wanted = None
    assert decoded(coded) == wanted


def test_nothing_is_coded_any_more() -> None:
    fields = [[(b"authorization", b"Bearer " + b"x" * 9000, False), (b"x" * 200, b"y", True)]]
    (block,), (wanted,) = written(fields, huffman=True), written(fields, huffman=False)
    assert plain(block) == wanted
    assert len(block) < len(wanted)
