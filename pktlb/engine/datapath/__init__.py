"""The reference engine: frames and times in, frames and reasons out.

No sockets, no clock, no netlink. It imports nothing of control, host or wire; it is the
specification that every other engine has to match.
"""
