"""The tests of pktlb, the builders of packets and the slow twins they compare with."""
