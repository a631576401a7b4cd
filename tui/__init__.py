"""The Textual app and the command line, and the one place where the parts are wired together."""
