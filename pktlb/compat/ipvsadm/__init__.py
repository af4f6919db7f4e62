"""The command lines of ipvsadm, for scripts and monitoring that were written for it.

    syntax ─► Command ─► actions ─► the control API                    (commands that change)
                         table   ◄─ the control API ─► listing, save   (commands that show)

`words` translates names of IPVS into names of pktlb and back; `program` is the whole command. The
importer reads saved rules by the same `syntax` and `words`.
"""
