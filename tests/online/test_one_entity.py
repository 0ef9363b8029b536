"""One entity alone is answered as it is among others: read.py has a shorter way for one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from millwright.online.read import Column, _columns
from tests.budget import examples

NOW = 10_000
VALUES = [Value(double_val=1.5), Value(string_val="x"), Value(int64_val=-3), Value(bool_val=False), Value()]
fields = st.none() | st.sampled_from([value.SerializeToString() for value in VALUES])
stamps = st.none() | st.sampled_from([0, 5_000, 9_999, NOW, 20_000]).map(
    lambda s: Timestamp(seconds=s, nanos=5000).SerializeToString()
)
ttls = st.none() | st.sampled_from([timedelta(0), timedelta(hours=1), timedelta(seconds=5_000)])


@pytest.mark.property
@settings(max_examples=examples(50), deadline=None)
@given(stamp=stamps, row=st.lists(fields, min_size=1, max_size=5), ttl=ttls, keep_old=st.booleans())
def test_alone_or_among_others(stamp: Any, row: list[Any], ttl: timedelta | None, keep_old: bool) -> None:
    reply = [stamp, *row]
    alone = _columns([reply], len(row), None, ttl, NOW * 1_000_000, keep_old)
    among = _columns([reply, reply], len(row), None, ttl, NOW * 1_000_000, keep_old)
    assert alone == [Column(each.values[:1], each.statuses[:1], each.events[:1]) for each in among]
