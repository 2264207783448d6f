"""Example episodes of the scripted expert: through the live recorder, or headless."""
