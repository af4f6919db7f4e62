"""What pktlb does to the machine, and undoes: addresses, neighbours, the guard, and no packets."""
