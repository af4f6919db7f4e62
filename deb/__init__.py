"""Makes the Debian package and the manual; no part of either."""
