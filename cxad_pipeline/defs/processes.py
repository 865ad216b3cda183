"""Processes of this machine, by their number.

Belongs here: whether one is there, and how old it is. Does not belong here: runs (`lost_runs`).
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

_ELAPSED = re.compile(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)")  # [[days-]hours:]minutes:seconds
_ENDED = "ZXx"  # states of a process that has ended, and that its parent did not ask about


def process_age(pid: int) -> float | None:
    """Seconds since a process began; None where there is none, or where it has ended.

    Its age and not the moment of its beginning: a clock that is set, or a machine that sleeps, changes no age.
    """
    return _age_by_kernel(pid) if sys.platform == "linux" else age_by_ps(pid)


def _age_by_kernel(pid: int) -> float | None:
    """By proc_pid_stat(5), since an image may have no `ps`."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the name before may have blanks and brackets
    state, begun = fields[0], int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return None if state in _ENDED else time.clock_gettime(time.CLOCK_BOOTTIME) - begun


def age_by_ps(pid: int) -> float | None:
    """By the `ps` of POSIX, to the second."""
    command = ["ps", "-o", "stat=", "-o", "etime=", "-p", str(pid)]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    if not found or found[0][0] in _ENDED:
        return None
    match = _ELAPSED.fullmatch(found[1])
    if match is None:
        raise ValueError(f"ps says {found[1]!r} for the time since a process began")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
