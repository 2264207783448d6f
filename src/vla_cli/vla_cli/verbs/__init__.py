"""One module for each verb of the vla command."""
