"""Reads an sbatch line, split into words: of a scheduler that keeps its lines, and of a real one."""


def option(line, name):
    """What stands behind ``name`` in an sbatch line, or after its ``=``."""
    for word, following in zip(line, [*line[1:], ""], strict=True):
        if word == name:
            return following
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return None
