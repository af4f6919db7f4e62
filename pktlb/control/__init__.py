"""The control socket: what people and programs ask a running balancer, and what it answers.

    operator  what the daemon lets them do (a protocol), and the values that go to and fro
    changes   edits of a configuration: a service or backend added, changed, removed
    views     those values as JSON, with keys that stay
    routes    the requests of each resource; server: the socket, its bounds and its life
    peers     who is at the other end, and what they may
    client    the other end, for commands: stdlib only

The daemon imports the server, commands import the client; neither is imported by the other, so
that a command does not load aiohttp.
"""
