"""Seeds derived from words, so that random streams do not depend on the order in which they are used."""

import hashlib
import os


def derive_seed(*words: int | str) -> int:
    """A 31-bit seed from any words, the same on every machine.

    >>> derive_seed(0, "rollout", 7) == derive_seed(0, "rollout", 7)
    True
    """
    digest = hashlib.blake2b(repr(words).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") & 0x7FFF_FFFF


def run_seed() -> int:
    """The run's seed, where ``seed_everything`` leaves it."""
    return int(os.environ.get("PL_GLOBAL_SEED", "0"))
