"""The live status view: model, terminal view, web page."""
