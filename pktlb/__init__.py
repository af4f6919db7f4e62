"""pktlb: a packet-level load balancer for Linux gateways."""

__version__ = "0.1.0"
