"""Stub; replaced by the plugin."""
