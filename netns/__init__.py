"""Laboratories: small networks of Linux network namespaces in which pktlb is shown and tested."""
