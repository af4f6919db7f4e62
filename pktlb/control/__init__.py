"""The control socket: what people and programs ask a running balancer, and what it answers."""
