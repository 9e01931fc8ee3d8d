"""One process at a time trains in a run folder."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import IO

from seqgan_kit.errors import UserError

NAME = "lock"  # of the file, which stays; its content says who has locked it


class Lock:
    """The right to write into a run folder. The system takes it back when the process ends, however that happens.

    It is of POSIX's kind, `fcntl`, which the copies of a process, such as environments' workers, do not hold on to.
    """

    def __init__(self) -> None:
        self._file: IO[str] | None = None
        self._folder = Path()
        self.lacking = ""  # why the file system can't lock

    def take(self, folder: Path) -> None:
        """Raises UserError, which names the process, where another one has it; OSError where nothing can be written."""
        handle = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        file = os.fdopen(handle, "r+")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            with file:
                holder = file.read(200).strip() or "another process"
            raise UserError(
                f"{folder} is being trained by {holder}: wait for its end, or stop it, then: seqgan-kit resume {folder}"
            ) from None
        except OSError as error:  # network file systems without locks
            self.lacking = f"{error.strerror or error}"
        self._file, self._folder = file, folder
        if os.fstat(handle).st_nlink == 1:  # else it is another file, too
            file.truncate()
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()

    def told(self) -> str | None:
        """What the user must know where there are no locks."""
        if not self.lacking:
            return None
        return f"{self._folder} can't be locked ({self.lacking}): see to it that no other process resumes this run"

    def moved(self, folder: Path) -> str | None:
        """Where the locked folder is, if it is no longer at this path: "" where it was deleted; None where it is."""
        if self._file is None:
            return None
        try:
            if os.path.samestat(os.stat(folder / NAME), os.fstat(self._file.fileno())):
                return None
        except OSError:
            pass
        if not folder.is_dir() or os.fstat(self._file.fileno()).st_nlink:
            return self._now()
        return None  # only the file was deleted

    def _now(self) -> str:
        assert self._file is not None
        try:
            now = os.readlink(f"/proc/self/fd/{self._file.fileno()}")
        except OSError:
            return ""
        return "" if now.endswith("(deleted)") else str(Path(now).parent)

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
