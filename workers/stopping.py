"""Ending when asked to: the first signal breaks off, and what is cleaned up then is broken off by none."""

from __future__ import annotations

import signal
from typing import NoReturn


def heed_signals() -> None:
    """Let the first signal that asks us to end break the run off, and nothing break off the cleaning up after it."""
    # SIGINT is named too: a shell script starts what runs in the background with that one ignored.
    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # else it was started to outlive its terminal
        signals.append(signal.SIGHUP)

    def interrupt(*_signal: object) -> NoReturn:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in signals:
        signal.signal(number, interrupt)
