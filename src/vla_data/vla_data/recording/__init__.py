"""Writing episodes: the file, the bounded queue before it, and the account of what was lost."""
