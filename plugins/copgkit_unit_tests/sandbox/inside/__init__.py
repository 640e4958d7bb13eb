"""What runs inside the sandbox's own processes: the zygote, the lockdown, and the fixed loop that serves hostile code.

Standard library only, and nothing of the package above: a zygote imports this folder alone, by its path, in a Python
started with `-I -S`. `wire` and `framing` are also used by the supervisor at the other end of the pipe.
"""
