"""The reference plane: frames and times in, frames and reasons out.

It has no sockets, no clock and no netlink. It is the specification of the native plane.
"""
