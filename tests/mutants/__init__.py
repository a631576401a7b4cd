"""`make mutants`: are wrong programs found by the tests that need no root?"""
