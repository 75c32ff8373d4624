"""
What the machine can do: the same durable work by the shortest program there is for it.

Each module is one such program. It knows no service's code, only the tables, and runs in a process of its own.
"""
