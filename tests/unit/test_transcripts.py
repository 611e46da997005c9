"""Lines of a transcript say themselves who spoke on which day; other texts are taken for none."""

from __future__ import annotations

import pytest

from ctxqueue import VectorMemoryManager
from ctxqueue.memories.transcripts import Placed, placed
from ctxqueue.remembered import Said

LINES = {
    "8 May 2023 Caroline: Hi": ("8 may 2023", "Caroline"),
    "17 December 2022 Maria: Hi": ("17 december 2022", "Maria"),
    "3 June 2024 June: Hi": ("3 june 2024", "June"),
    "1:56 pm on 8 May, 2023 Caroline: Hi": ("8 may 2023", "Caroline"),
    "[2023-05-08 13:56] Ann Lee: Hi": ("2023-05-08", "Ann Lee"),
    "2023-05-08T13:56:12.000Z Bob: Hi": ("2023-05-08", "Bob"),
    "Mon 8th May Mr. Smith: Hi": ("mon 8th may", "Mr. Smith"),
    "8/5/23, 13:05 - Ann: Hi": ("8/5/23", "Ann"),
}
OTHERS = [
    *("Caroline: Hi", "Note: the server is down", "12:30 Bob: Hi", "May 8, 2023: it rained", ": 8 May 2023", ""),
    *("2 Things To Do: buy milk", "3 Musketeers: a book", "May the Force: be with you", "8 May 2023 Ann:"),
    *("8 May 2023 the sun: it shone", "8 May 2023\nAnn: Hi", "8 May 2023 The Very Long Title: of a book"),
    "8 May 2023 " + "A" * 80 + ": Hi",
]


@pytest.mark.parametrize(("content", "expected"), LINES.items(), ids=repr)
def test_a_line_says_its_day_and_who_speaks(content: str, expected: tuple[str, str]) -> None:
    assert placed(Said(content), 7) == Placed(expected[0], 7, expected[1])


@pytest.mark.parametrize("content", OTHERS, ids=repr)
def test_other_texts_are_no_lines(content: str) -> None:
    assert placed(Said(content), 7) == Placed(None, None, "")


def test_what_was_told_goes_before_what_the_text_says() -> None:
    told = Said("8 May 2023 Caroline: Hi", speaker="Melanie")
    assert placed(told, 7) == Placed(None, None, "Melanie")
    told = Said("8 May 2023 Caroline: Hi", session="s", sequence=0.5)
    assert placed(told, 7) == Placed("s", 0.5, "")


def test_an_answer_is_found_by_the_question_on_the_line_before_it() -> None:
    memory = VectorMemoryManager()
    lines = ["Ann: What did you do in Lisbon?", "Bob: I ate far too many tarts.", "Ann: My bicycle has a bell."]
    ids = memory.remember_many(f"8 May 2023 {line}" for line in lines)
    memory.remember("9 May 2023 Bob: The weather is dreadful here.")
    found = memory.recall("What did Bob do in Lisbon?", limit=2, explain=True)
    assert found[0].memory.id == ids[1]
    assert found[0].parts["speaker"] > 0
    assert found[0].parts["neighbours"] > 0
    assert (found[0].memory.speaker, found[0].memory.session) == ("", None)  # nothing is kept of it
    for memory_id in ids:
        memory.forget(memory_id)
    assert "neighbours" in memory.recall("weather", explain=True)[0].parts
