"""What tests of the control socket share: an operator without a balancer, and its server."""
