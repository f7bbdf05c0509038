"""Who is calling (API keys, the key file, the gate of each route), and what was sealed for whom."""
