"""A bound on the ICMP errors that one receiver is sent (RFC 1812, 4.3.2.8; RFC 4443, 2.4 (f)).

Without it, a flood with a forged source address would be reflected to that address. Receivers whose
hashes are equal share a bucket; the key of the hash is secret, so a sender cannot use up the bucket
of a chosen receiver. Each bucket is the generic cell rate algorithm (ITU-T I.371, annex A) in whole
milliseconds.
"""

from typing import Final

from pktlb.engine.datapath.siphash import siphash

BUCKETS: Final = 4096
INTERVAL_MS: Final = 50
"In the long run one error per interval and receiver: 20 a second."
BURST: Final = 40
"Errors at once after a silence, as for a client that opens many connections at the same time."


class Limiter:
    """Counts the errors that receivers are sent."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._due = [0] * BUCKETS
        "By bucket, in ms: when it would be empty again at the allowed rate."

    def allows(self, receiver: bytes, now: float) -> bool:
        """Whether one more error may be sent to an address (packed) at `now` (seconds). If so,
        it is counted."""
        now_ms = round(now * 1000)
        bucket = siphash(self._secret, receiver) % BUCKETS
        ahead = self._due[bucket] - now_ms
        if not 0 <= ahead <= BURST * INTERVAL_MS:
            ahead = 0  # empty long since, or the clock was set anew
        if ahead > (BURST - 1) * INTERVAL_MS:
            return False
        self._due[bucket] = now_ms + ahead + INTERVAL_MS
        return True
