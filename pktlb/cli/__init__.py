"""The command line: one module a command.

A module has `add_command(commands)`, which adds the parser of its command and sets as its default
`command` the function that does it: that one takes the parsed options, and ends by returning or
with a `PktlbError`. `pktlb.cli.main` has the table of them, and imports only the one that was
named. So a module loads nothing but argparse before its function is called: `pktlb COMMAND --help`
has to be quick. What commands over the control socket share is in `asking` (which balancer, which
answer) and `display` (tables, units, colours).
"""
