"""A bound on the ICMP errors that one receiver is sent (RFC 1812, 4.3.2.8; RFC 4443, 2.4 (f)).

A flood with a forged source would otherwise be reflected to whom it names. Receivers share a bucket
where their hashes do, under a secret key, so nobody can aim at another's; each bucket is the
generic cell rate algorithm (ITU-T I.371, annex A) in whole milliseconds.
"""

from typing import Final

from pktlb.engine.datapath.siphash import siphash

BUCKETS: Final = 4096
INTERVAL_MS: Final = 50
"20 errors a second and receiver in the long run."
BURST: Final = 40
"So many at once after a silence: a client that opens many connections at the same time."


class Limiter:
    """What each bucket still allows."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._due = [0] * BUCKETS
        "Milliseconds: when a bucket that went on at the allowed rate would be empty again."

    def allows(self, receiver: bytes, now: float) -> bool:
        """Whether one more may be sent to an address now; then it is counted."""
        now_ms = round(now * 1000)
        bucket = siphash(self._secret, receiver) % BUCKETS
        ahead = self._due[bucket] - now_ms
        if not 0 <= ahead <= BURST * INTERVAL_MS:
            ahead = 0  # long over, or the clock was set anew
        if ahead > (BURST - 1) * INTERVAL_MS:
            return False
        self._due[bucket] = now_ms + ahead + INTERVAL_MS
        return True
