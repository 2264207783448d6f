"""The recorder: a thin lifecycle node over vla_data.recording."""
