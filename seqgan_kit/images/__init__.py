"""The task images: text to image."""
