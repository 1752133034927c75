"""The error of a state that the rules cannot lead to."""


class Corrupt(Exception):
    """The state of a run contradicts the rules. Never caught to go on; the run halts."""
