"""The pages of the detail screen."""
