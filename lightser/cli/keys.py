"""Keys that are pressed while a command runs, without waiting for them."""

import os
import sys
from types import TracebackType
from typing import Any


class Keys:
    """Reads keys as they are pressed, where standard input is a terminal; else there are none."""

    def __init__(self) -> None:
        self.is_live = sys.stdin is not None and sys.stdin.isatty()  # None: it is closed
        self._before: list[Any] = []

    def __enter__(self) -> "Keys":
        if self.is_live and sys.platform != "win32":
            import termios
            import tty

            self._before = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)  # each key at once and unseen; Ctrl-C stays what it is
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.is_live and sys.platform != "win32":
            import termios

            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)

    def pressed(self) -> str:
        """Return the key that was pressed since the last call, in lower case, or ""."""
        if not self.is_live:
            return ""
        if sys.platform == "win32":
            import msvcrt

            return msvcrt.getwch().lower() if msvcrt.kbhit() else ""
        import select

        if not select.select([sys.stdin], [], [], 0)[0]:
            return ""
        typed = os.read(sys.stdin.fileno(), 64).decode("utf-8", "ignore").lower()
        return "" if typed.startswith("\x1b[") else typed[:1]  # arrows and the like
