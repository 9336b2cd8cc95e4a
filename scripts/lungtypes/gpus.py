"""One graphics card for one process, where a machine has several and no scheduler deals them out."""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
_held: dict[str, int] = {}  # open lock files of this process by card; the system drops the locks when it ends


def visible_cards(count: int) -> list[str]:
    """Names of the cards that this process sees, in torch's order: those of CUDA_VISIBLE_DEVICES, or their numbers."""
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named if len(named) == count else [str(number) for number in range(count)]


def take_card(cards: Sequence[str], *, folder: Path | None = None) -> int:
    """Position of a card in ``cards`` that no other process of this user holds; waits for one where all are held.

    The card is held until this process ends, however it ends. A second call gives the same card.

    folder : where the lock files lie; for all studies of a user on a machine the same, one below the system's /tmp.
    """
    for position, card in enumerate(cards):
        if card in _held:
            return position
    folder = folder or Path(tempfile.gettempdir()) / f"lungtypes-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    waiting = False
    while True:
        for position, card in enumerate(cards):
            if _hold(card, folder):
                log.info("graphics card %s of %d", card, len(cards))
                return position
        if not waiting:
            log.info("all %d graphics cards are held by other jobs; waiting for one", len(cards))
            waiting = True
        time.sleep(POLL_SECONDS)


def _hold(card: str, folder: Path) -> bool:
    file = os.open(folder / f"{card.replace('/', '_')}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return False
    _held[card] = file
    return True
