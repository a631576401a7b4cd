"""`make soak`: does the dashboard stay as small and as fast as it began?"""
