"""``rdbench bench``: how fast this machine trains, against a plain PyTorch loop, and what follows from it.

Start with ``bench``, which runs the contenders in turns; ``plain`` is the loop they are held against.
"""
