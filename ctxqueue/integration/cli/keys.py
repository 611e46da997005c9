"""Another key for what is encrypted: ``rotate-keys``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ctxqueue.integration.cli.arguments import json_option
from ctxqueue.integration.cli.commands import command
from ctxqueue.integration.cli.output import one_out, plain, say

if TYPE_CHECKING:
    from ctxqueue.integration.install import ContextQueue

PASSES = 10
"""At most: who writes meanwhile with a keyring of before brings new work for ever."""


@command("rotate-keys", example="celery -A proj ctx rotate-keys")
@json_option
def rotate_keys(queue: ContextQueue, *, as_json: bool) -> None:
    """Encrypt what stands in the store with the newest key, until a pass finds nothing to do.

    Ends with status 1 if something does not open, or is in clear where it may not be: it is left as it is.
    """
    for _ in range(PASSES):
        report = queue.manager.rotate_keys()
        if as_json:
            one_out(plain(report), as_json=True)
        else:
            say(
                f"{report.values} values and {report.memories} memories in {report.workflows} workflows are under the"
                f" newest key now; {report.left} go on under an older one until they end, {report.refused} were refused"
            )
        if not report.values and not report.memories:
            break
    sys.exit(int(report.refused > 0))


COMMANDS = {"rotate-keys": rotate_keys}
