"""The control socket: what people and programs ask a running balancer, and what it answers.

    operator  a protocol of what the daemon does for requests, and the values of its answers
    edits     edits of a configuration: a service or backend added, changed, removed
    views     the values as JSON, whose keys stay
    routes    the requests of each resource; server: the socket, its bounds and its life
    peers     the process at the other end, and its rights
    client    the other end of the socket, for commands: standard library only

The daemon imports the server, commands import the client. Neither imports the other, so that a
command does not load aiohttp.
"""
