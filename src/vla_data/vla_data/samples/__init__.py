"""Time-aligned samples from bags, by the contract and exactly as the live node aligns."""
