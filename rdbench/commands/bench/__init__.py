"""``rdbench bench``: how fast this machine trains, against a plain PyTorch loop. Start with ``bench``."""
