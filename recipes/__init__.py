"""The recipes that come with the tool: NAME.toml holds the settings, NAME.py fetches the corpus."""
