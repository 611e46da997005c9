"""The counts of ended processes, added up.

In prometheus_client's multiprocess mode each process has files of its own, and their sum is what is shown. It takes
none away: a worker that renews its processes (``max_tasks_per_child``, or after a crash) would gather them without end,
and read them all each time it is asked. Removing them would make the sums fall.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import mark_process_dead

if TYPE_CHECKING:
    from collections.abc import Iterable

ENDED = "ended"
"""What stands in the place of the process id."""


def fold(folder: str) -> None:
    """Add the files of processes that have ended to one file of each kind, and remove them.

    To be called by one thread at a time, which also does the reading. The process ids are taken for this machine's: so
    does the library, whose files of two machines would have the same names.
    """
    for kind in ("counter", "histogram", "summary"):
        ended = [path for path in Path(folder).glob(f"{kind}_*.db") if _has_ended(_owner(path))]
        if ended:
            kept = Path(folder, f"{kind}_{ENDED}.db")
            _add_up([kept, *ended] if kept.exists() else ended, kept)
            for path in ended:
                path.unlink()
    for path in Path(folder).glob("gauge_live*_*.db"):
        if _has_ended(_owner(path)):
            mark_process_dead(int(_owner(path)), folder)  # type: ignore[no-untyped-call]  # the library leaves it out


def _owner(path: Path) -> str:
    return path.stem.rpartition("_")[2]


def _has_ended(owner: str) -> bool:
    if not owner.isdecimal():
        return False
    try:
        os.kill(int(owner), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it is somebody else's now: when that ends, it is added up
    return False


def _add_up(files: Iterable[Path], into: Path) -> None:
    sums: defaultdict[str, float] = defaultdict(float)
    for path in files:
        for key, value, _, _ in MmapedDict.read_all_values_from_file(path):  # type: ignore[no-untyped-call]
            sums[key] += value
    making = into.with_suffix(".new")
    making.unlink(missing_ok=True)
    made: Any = MmapedDict(making)  # type: ignore[no-untyped-call]
    for key, value in sums.items():
        made.write_value(key, value, 0.0)
    made.close()
    making.replace(into)
