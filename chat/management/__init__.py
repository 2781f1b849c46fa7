"""What the commands have in common."""


def counted(count: int, noun: str) -> str:
    """Return the count and its noun, which is in the plural but for one."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
