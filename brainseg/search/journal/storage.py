"""The file of Optuna's study: opened, and locked for each line, by the one driver of its run.

Whoever looks at the study with Optuna, as optuna-dashboard does, may append to the file too. So the
lock is the link that Optuna makes; but where the holder of a link died, Optuna's own lock waits for
ever if the link points nowhere, as it does once a run was moved, or if the run's path is relative.
"""

import logging
import os
from pathlib import Path

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from brainseg.records.locks import removed_if_abandoned

log = logging.getLogger(__name__)


class JournalLock(JournalFileSymlinkLock):
    """Optuna's lock of a journal, which gets past what a dead process left in bounded time."""

    def __init__(self, journal: Path) -> None:
        super().__init__(str(journal))
        self.journal, self.link = journal, Path(self._lock_file)

    def acquire(self) -> bool:
        while True:
            try:
                os.symlink(self.journal.name, self.link)  # whole wherever the folder is moved
                return True
            except FileExistsError:
                if removed_if_abandoned(self.link):
                    log.warning("removed %s, the lock of a process that died", self.link)

    def release(self) -> None:
        self.link.unlink(missing_ok=True)


def open_journal(path: Path) -> JournalStorage:
    """The storage in a file, which is made if it is missing; ``path`` may be relative."""
    path = path.absolute()
    return JournalStorage(JournalFileBackend(str(path), JournalLock(path)))
