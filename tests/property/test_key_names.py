"""The parts of a key's name cannot be taken for one another, and are those that earlier versions wrote."""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from ctxqueue.stores.redis.keys import WorkflowKeys

NAMES = st.text(st.characters(codec="utf-8"), min_size=1)


@given(NAMES, NAMES)
def test_names_are_percent_encoded_but_for_spaces(workflow_id: str, run_id: str) -> None:
    keys = WorkflowKeys("ns", workflow_id)
    assert keys.prefix == f"{keys.tag}:{quote(workflow_id, safe=' ')}"
    assert keys.run(run_id) == f"{keys.prefix}:r:{quote(run_id, safe=' ')}"
