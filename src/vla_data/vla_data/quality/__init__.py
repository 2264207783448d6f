"""How good an episode is: measured stream by stream, judged against the contract."""
