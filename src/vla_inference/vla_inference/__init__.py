"""The two inference nodes: vision-language features in the background, action chunks at 10 Hz."""
