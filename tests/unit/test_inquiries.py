"""A question to a store that stands still: nobody waits longer than they mean to, and it is asked once."""

from __future__ import annotations

import threading

import pytest

from ctxqueue import StoreUnavailable
from ctxqueue.observability.inquiries import Inquiry
from tests.waiting import SECONDS, wait_until


def test_who_asks_waits_so_long_and_the_answer_of_later_is_not_for_the_next_who_asks() -> None:
    go_on, asked = threading.Event(), list[int]()

    def question() -> int:
        asked.append(len(asked))
        assert go_on.wait(SECONDS)
        return asked[-1]

    inquiry = Inquiry(question, 0.01)
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match=r"not answered within 0\.01 s"):
            inquiry.answer()
    assert asked == [0]
    go_on.set()
    patient = Inquiry(question, SECONDS)
    assert patient.answer() == 1
    wait_until(lambda: "ctxqueue-inquiry" not in {thread.name for thread in threading.enumerate()}, "both have ended")
    inquiry = Inquiry(question, SECONDS)
    assert (inquiry.answer(), inquiry.answer()) == (2, 3)


def test_what_the_question_raises_is_raised() -> None:
    def late() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        Inquiry(late, SECONDS).answer()
