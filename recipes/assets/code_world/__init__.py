"""A world of small Python tasks in MBPP's format: a description, asserts, a right solution and subtly wrong ones.

`family.py` says what a family of tasks is, the five files of families list them, `inputs.py` draws what the asserts
call the functions with, and `tasks.py` makes tasks of all that.
"""
