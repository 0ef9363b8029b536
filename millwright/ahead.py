"""Takes the next item of an iterator in a thread while the caller works on the last one.

Belongs here: the thread, its errors and its end. Does not: what the items are.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """The items in order, one read ahead; an error is raised where the item would have come. No thread is left behind."""
    end = object()
    try:
        with ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:
            pending = thread.submit(next, items, end)
            while (item := pending.result()) is not end:
                pending = thread.submit(next, items, end)
                yield item  # type: ignore[misc]
    finally:
        if isinstance(items, Generator):
            items.close()
