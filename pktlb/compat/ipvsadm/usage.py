"""The text of `ipvsadm --help`, in a module of its own so that it is quick."""

from typing import Final

USAGE: Final = """\
usage: pktlb ipvsadm [--name NAME] COMMAND [SERVICE] [options]

ipvsadm's command lines for a running pktlb. A link named `ipvsadm` to pktlb does the same,
and links named `ipvsadm-save` and `ipvsadm-restore` do what -S and -R do.

  -A, -E SERVICE [-s SCHED] [-b FLAGS] [-p [S]] [-M MASK] [-o]   add, edit a service
  -D SERVICE                                                    delete it
  -a, -e SERVICE -r ADDR[:PORT] [-g|-i|-m] [-w N] [-x N] [-y N]  add, edit a server
  -d SERVICE -r ADDR[:PORT]                                     delete it
  -C                              delete all services
  -L, -l [SERVICE] [options]      list: -n, -c, --stats, --rate, --thresholds, --timeout,
                                  --exact, --sort, --nosort
  -S [-n], -R                     save to standard output, restore from standard input
  -Z                              set the counters to zero
  --set TCP TCPFIN UDP            set timeouts, 0 leaves one as it is

SERVICE is -t or -u ADDR:PORT. NAME is the balancer's, among several; PKTLB_SOCKET names its socket.
docs/migrating.md says what differs from IPVS.
"""
