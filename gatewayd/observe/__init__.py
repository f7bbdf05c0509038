"""What happened and what is: logs, counters, correlation ids, and the live nursery tree."""
