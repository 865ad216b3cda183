"""The kinds of tests by name.

Belongs here: the names, which whoever reads an incident needs without the statistics. Does not belong here: the tests
(`evidence.py`).
"""

from __future__ import annotations

from typing import Literal

Kind = Literal["far tail", "near tail", "shift", "slow drift", "drift", "together", "volume", "complaints"]
