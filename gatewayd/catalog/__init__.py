"""What the services offer: their own words and lists, read once for all who are told the same, and kept true."""
