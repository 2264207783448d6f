"""Episodes into the formats of others."""
