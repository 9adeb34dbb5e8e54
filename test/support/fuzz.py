# Copyright 2026 The kgnpro_ros Authors
# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies for what strangers send, and the rule that every case has to keep.

A case is either taken or refused by an error of the package with a reason; anything else, a bare
KeyError for example, is a defect.
"""

import copy
import json

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from kgnpro_ros.exceptions import KGNProError


class Fuzz:
    """Runs a check on generated cases and counts them.

    Args:
        markers: Marker expression of the run: more cases are tried where slow tests run.
    """

    def __init__(self, markers: str = "not slow") -> None:
        self.many = "not slow" not in markers
        self.tried = self.refused = 0

    def __call__(self, strategy, check, *, quick: int = 40, many: int = 1000) -> None:
        def one(case):
            self.tried += 1
            reason = None
            try:
                check(case)
            except KGNProError as error:
                self.refused += 1
                reason = str(error)
            assert reason is None or len(reason) > 10, f"refused with {reason!r}: no reason"

        run = settings(
            max_examples=many if self.many else quick, deadline=None, database=None,
            derandomize=True, phases=(Phase.explicit, Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck), print_blob=False,
        )(given(strategy)(one))  # fmt: skip
        run()


#: Values where something else is expected.
ODD_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3),
    st.sampled_from([
        2**31, 2**63, -(2**63), 2**64, 10**30, 10**400, 1e308, -1e308, 1e-320, -0.0,
        float("nan"), float("inf"), float("-inf"), "", "nan", "1e999", "0x10", "\x00", "../../x",
        "/etc/passwd", "~nobody/x", "\u202e", "ä" * 300, "a" * 5000, [], {}, [[]], [None], [{}],
        {"": None}, {"a": {"b": []}}, [[1, 2], [3]], [1] * 1000,
    ]),
    st.floats(), st.text(max_size=8), st.lists(st.floats(), max_size=4),
)  # fmt: skip

#: A copy each time: an edit of one case must not show in the next.
JUNK = ODD_VALUES.map(copy.deepcopy)


def paths(document, prefix=()):
    """Every place in a document of dictionaries and lists."""
    yield prefix
    if isinstance(document, dict):
        for key, value in document.items():
            yield from paths(value, (*prefix, key))
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from paths(value, (*prefix, index))


@st.composite
def altered(draw, document, edits: int = 3):
    """A valid document with some values replaced, removed, added or repeated."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(0, edits))):
        places = list(paths(document))
        place = draw(st.sampled_from(places))
        if not place:
            if draw(st.integers(0, 9)) == 0:
                document = draw(JUNK)
            continue
        owner = document
        for key in place[:-1]:
            owner = owner[key]
        edit = draw(st.sampled_from(["replace", "replace", "remove", "add", "repeat"]))
        if edit == "replace":
            owner[place[-1]] = draw(JUNK)
        elif edit == "remove":
            del owner[place[-1]]
        elif isinstance(owner, list):
            owner.insert(place[-1], draw(JUNK) if edit == "add" else owner[place[-1]])
        else:
            owner[draw(st.text(max_size=5))] = draw(JUNK)
    return document


def as_json(document) -> bytes:
    """JSON text; NaN and infinities as Python writes them."""
    return json.dumps(document).encode()


@st.composite
def damaged(draw, content: bytes, edits: int = 4):
    """Bytes of a valid file that were flipped, cut, repeated or replaced."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, edits))):
        position = draw(st.integers(0, max(0, len(data) - 1)))
        edit = draw(st.sampled_from(["flip", "flip", "cut", "insert", "repeat", "zero"]))
        if edit == "flip" and data:
            data[position] ^= 1 << draw(st.integers(0, 7))
        elif edit == "cut":
            del data[position:]
        elif edit == "insert":
            data[position:position] = draw(st.binary(max_size=12))
        elif edit == "repeat":
            data[position:position] = data[position : position + draw(st.integers(1, 64))]
        else:
            count = draw(st.integers(1, 16))
            data[position : position + count] = bytes(len(data[position : position + count]))
    return bytes(data)


#: Text files whose parser is the target.
NASTY_TEXT = st.sampled_from([
    b"", b"\x00", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000, b"null", b"[]", b"1", b'"x"',
    b"{" * 9999, b"- " * 20_000, b"a: &a [*a, *a]", b"a: &a [1]\nb: [*a, *a]", b"!!python/name:os",
    b"!!python/object/apply:os.system ['true']", b"!!bool maybe", b"!!timestamp x", b"!!int x",
    b"!!float x", b"!!binary x", b"!!set {a, b}", b"!!omap [a]", b"? [a]\n: b", b"? {a: b}\n: c",
    b"2020-99-99", b"<<: 3", b"<<: [a]", b"%YAML 9.9\n---\na", b"---\n---\n", b"a\tb:\t- c", b"=",
    b"9" * 5000, b"-0b1", b"0o", b"1e5", b".inf", b"\xef\xbb\xbf{}", b'{"a": 1, "a": 2}',
    b'{"\\ud800": 1}', b'"\\ud800": 1', b"\xed\xa0\x80",
])  # fmt: skip
