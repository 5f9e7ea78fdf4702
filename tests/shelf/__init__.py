"""The shelves: broken generators that checks must reject, and good ones that they must pass."""
