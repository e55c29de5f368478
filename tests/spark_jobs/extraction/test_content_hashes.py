from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fruit_features.extraction.content_hashes import (
    common_hashes,
    hash_content,
    hash_contents,
    is_whole,
    to_bytes,
    union,
)

CONTENTS = st.lists(st.tuples(st.text(max_size=8), st.integers(0, 1000)), max_size=30)


@given(stored=CONTENTS, wanted=CONTENTS)
def test_finds_exactly_what_both_have(stored: list, wanted: list) -> None:
    found = common_hashes(to_bytes(hash_contents(stored)), hash_contents(wanted))
    assert set(found.tolist()) == {hash_content(*content) for content in set(stored) & set(wanted)}


def test_an_index_that_was_cut_off_within_an_entry_holds_nothing() -> None:
    whole, wanted = to_bytes(hash_contents([("a", 1), ("b", 1)])), hash_contents([("a", 1)])
    assert [is_whole(whole), is_whole(whole[:-3])] == [True, False]
    assert common_hashes(whole[:-3], wanted).tolist() == []
    assert union(whole[:-3], wanted).tolist() == wanted.tolist()


def test_a_content_is_its_etag_and_its_size() -> None:
    assert len({hash_content("a", 1), hash_content("a", 2), hash_content("b", 1), hash_content("a1", 1)}) == 4


def test_an_index_costs_eight_bytes_an_image() -> None:
    assert len(to_bytes(hash_contents((str(number), 1) for number in range(1000)))) == 8000
    assert hash_contents([("a", 1), ("a", 1)]).dtype == np.uint64
    assert len(hash_contents([("a", 1), ("a", 1)])) == 1
