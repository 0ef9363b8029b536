"""Runs one server for as long as the tests' process lives, then ends it and removes its folder.

Reads standard input until its end, which comes when the tests close it, or when their process dies of anything.
Usage: python guard.py USER SIGNAL FOLDER COMMAND… (USER empty for the caller's own).
"""

from __future__ import annotations

import os
import pwd
import select
import shutil
import signal
import subprocess
import sys


def main() -> int:
    user, stop_signal, folder, *command = sys.argv[1:]
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    parent = os.getppid()
    identity = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd="/", preexec_fn=_default_signals, **identity)
    while server.poll() is None and os.getppid() == parent:
        if select.select([0], [], [], 0.5)[0] and not os.read(0, 1):
            break
    if server.poll() is not None:
        return 1  # it ended by itself: the tests read its log, then remove the folder
    server.send_signal(getattr(signal, f"SIG{stop_signal}"))
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    shutil.rmtree(folder, ignore_errors=True)
    return 0


def _default_signals() -> None:
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_DFL)


if __name__ == "__main__":
    sys.exit(main())
