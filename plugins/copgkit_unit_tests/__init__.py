"""Rewards from unit tests: a completion's code is run, isolated, against the tests of its prompt."""
