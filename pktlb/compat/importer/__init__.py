"""From IPVS and keepalived to pktlb's configuration file."""
