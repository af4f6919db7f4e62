"""The command lines of ipvsadm, for scripts and monitoring that were written for it."""
