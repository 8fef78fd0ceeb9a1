"""Models for other engines and formats, verified, and models from elsewhere."""
