"""The commands of `fluxbatch ctl` that somebody sends a simulated run, drawn by a seed.

Owns their odds; knows nothing of what becomes of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

Command = tuple[float, str, str]
"""(seconds after the run's start, command, value)"""


def drawn_commands(
    random: Random, lanes: Sequence[str], limits: tuple[int, int], price: int, span_s: float
) -> list[Command]:
    """Pauses, lanes, caps in micro-dollars and *limits* (creates, slots), within *span_s*."""
    commands = list[Command]()
    for _ in range(random.choice((1, 2, 4, 8))):
        at_s = random.uniform(0, span_s)
        again_s = at_s + random.choice((0.1, 0.5, 20.0, 200.0))
        draw = random.random()
        if draw < 0.3:
            commands += [(at_s, "pause", ""), (again_s, "resume", "")]
        elif draw < 0.45:
            lane = random.choice((*lanes, "nobody"))
            commands += [(at_s, "lane", f"{lane} off"), (again_s, "lane", f"{lane} on")]
        elif draw < 0.7:
            commands.append((at_s, "budget", f"{price * random.randint(0, 8) / 1_000_000:.6f}"))
        elif draw < 0.8:
            commands.append((at_s, "limits.creates", str(random.randint(1, limits[0]))))
        elif draw < 0.9:
            commands.append((at_s, "limits.slots", str(random.randint(1, limits[1]))))
        elif draw < 0.95:
            commands.append((at_s, *random.choice((("show", ""), ("budget", "-1"), ("halt", "")))))
        else:
            commands.append((at_s, "stop", ""))
    return commands


def drawn_keys(
    random: Random, keys: Sequence[str], span_s: float
) -> tuple[frozenset[str], list[Command]]:
    """The keys that a run begins without, never all, and when it is given which."""
    withheld = random.sample(keys, random.randint(0, len(keys) - 1))
    late = [one for one in withheld if random.random() < 0.8]
    again = [random.choice(keys)] if random.random() < 0.3 else []
    soon_s = random.choice((0.0, 0.5, span_s, span_s))
    return frozenset(withheld), [(random.uniform(0, soon_s), "add-key", k) for k in late + again]
