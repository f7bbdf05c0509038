"""What is so: the routing table, and what can be decided from it. No I/O, no Trio; time is an argument."""
