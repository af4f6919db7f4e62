"""`python -m pktlb` is the command `pktlb`."""

from pktlb.cli.main import main

raise SystemExit(main())
