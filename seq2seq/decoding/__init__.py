"""Search and translation: text in, text out."""
