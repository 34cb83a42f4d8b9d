"""Properties: whatever is generated, these hold."""
