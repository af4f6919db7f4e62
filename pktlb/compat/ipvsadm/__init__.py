"""The command lines of ipvsadm, for scripts and monitoring that were written for it.

    syntax ─► Command ─► actions ─► the control API          (what changes)
                         table   ◄─ the control API ─► listing, save   (what is shown)

`words` translates the names of IPVS into those of pktlb and back; `program` is the whole command.
The importer reads saved rules through the same `syntax` and `words`.
"""
