"""From IPVS and keepalived to pktlb's configuration file.

    saved rules ──────────────────────► saved ──────┐
    keepalived.conf ─► source ─► tree ─► keepalived ┴─► Draft ─► output (TOML)
                                                        └─► notes: what could not be carried over

A `Draft` holds services in the keys of the configuration file. `output` turns them into a `Config`
by the functions that read a file.
"""
