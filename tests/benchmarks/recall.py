"""How well recall finds what a question is about: ``python tests/benchmarks/recall.py DATA.jsonl [STORE_URL]``.

The data, which may also be named by CTXQUEUE_RECALL_DATA, is JSON Lines of two kinds:

    {"kind": "memory", "id", "conv", "session", "turn", "speaker", "at", "text"}
    {"kind": "query", "id", "conv", "category", "text", "relevant": [ids of memories]}

All memories go into one store by ``remember``; each query is a ``recall`` among those of its conversation, with default
settings. *worded*: the content is "8 May 2023 Caroline: text", with no more than the conversation as metadata. *told*:
the content is the bare text, and when, in which session, at which place and by whom it was said is told.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from ctxqueue import CallableEmbedder, StaticEmbedder, VectorMemoryManager, Weights

DEPTH = 20
PARTS = [field.name for field in msgspec.structs.fields(Weights) if field.name != "half_life"]
ALONE = dict.fromkeys(PARTS, 0.0)


def systems() -> dict[str, dict[str, Any]]:
    """What is measured: options of the manager by name."""
    mean = CallableEmbedder(StaticEmbedder().embed, name="wordllama-mean", dimension=256)
    return {
        "recall": {},
        "plain BM25": {"weights": Weights(**{**ALONE, "words": 1.0})},
        "plain cosine": {"weights": Weights(**{**ALONE, "cosine": 1.0}), "embedder": mean},
    }


def worded(row: dict[str, Any]) -> dict[str, Any]:
    at = datetime.fromisoformat(row["at"])
    return {"content": f"{at.day} {at:%B %Y} {row['speaker']}: {row['text']}", "metadata": {"conv": row["conv"]}}


def told(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "content": row["text"],
        "metadata": {"conv": row["conv"]},
        "at": datetime.fromisoformat(row["at"]).replace(tzinfo=UTC),
        "session": row["session"],
        "sequence": row["turn"],
        "speaker": row["speaker"],
    }


def scored(ranked: list[str], relevant: list[str]) -> dict[str, float]:
    """recall@5, recall@10, nDCG@10 and the reciprocal rank of one query."""
    wanted = set(relevant)
    hits = [memory in wanted for memory in ranked]
    ideal = sum(1 / math.log2(rank + 2) for rank in range(min(10, len(wanted))))
    gained = sum(hit / math.log2(rank + 2) for rank, hit in enumerate(hits[:10]))
    return {
        "R@5": sum(hits[:5]) / len(wanted),
        "R@10": sum(hits[:10]) / len(wanted),
        "nDCG@10": gained / ideal,
        "MRR": next((1 / (rank + 1) for rank, hit in enumerate(hits) if hit), 0.0),
    }


def measured(rows: list[dict[str, Any]], url: str, form: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The means over all queries and of each category, and the milliseconds of a recall."""
    groups: dict[str, list[dict[str, float]]] = defaultdict(list)
    with VectorMemoryManager(url, namespace=f"recall-{os.urandom(4).hex()}", **options) as memory:
        ids: dict[str, list[str]] = defaultdict(list)
        for row in rows:
            if row["kind"] == "memory":
                ids[memory.remember(memory_type="episodic", **form(row))].append(row["id"])
        spent = 0.0
        for row in rows:
            if row["kind"] == "query":
                begun = time.perf_counter()
                found = memory.recall(row["text"], limit=DEPTH, where={"conv": row["conv"]})
                spent += time.perf_counter() - begun
                ranked = [name for each in found for name in ids[each.memory.id]]
                score = scored(ranked, row["relevant"])
                groups["all"].append(score)
                groups[row["category"]].append(score)
    means = {
        group: {name: sum(score[name] for score in scores) / len(scores) for name in scores[0]}
        for group, scores in groups.items()
    }
    return {"means": means, "ms": 1_000 * spent / len(groups["all"])}


def main(arguments: list[str]) -> None:
    path = arguments[0] if arguments else os.environ.get("CTXQUEUE_RECALL_DATA")
    if not path:
        sys.exit(__doc__)
    rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    url = arguments[1] if len(arguments) > 1 else "memory://"
    for form in (worded, told):
        for name, options in systems().items():
            result = measured(rows, url, form, options)
            for group, means in result["means"].items():
                figures = "  ".join(f"{metric} {value:.3f}" for metric, value in means.items())
                print(f"{form.__name__:7} {name:13} {group:12} {figures}  {result['ms']:.1f} ms a recall")


if __name__ == "__main__":
    main(sys.argv[1:])
