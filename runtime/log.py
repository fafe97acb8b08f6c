"""Messages through Python's `logging`, as the logger "intaglio", with onnxruntime's severities.

Where a program has set up no logging, messages go to stderr in the form of onnxruntime's. Nothing is imported before
there is a message.
"""

from __future__ import annotations

VERBOSE, INFO, WARNING, ERROR, FATAL = range(5)

_default = WARNING


def set_default_logger_severity(severity: int) -> None:
    """The severity from which on messages are logged: 0 verbose ... 4 fatal. Raises RuntimeError for others."""
    global _default
    if not VERBOSE <= severity <= FATAL:
        raise RuntimeError("Invalid logging severity. 0:Verbose, 1:Info, 2:Warning, 3:Error, 4:Fatal")
    _default = severity


def set_default_logger_verbosity(verbosity: int) -> None:
    """Accepted; verbose messages have no levels here."""


def log(severity: int, text: str, *thresholds: int, name: str = "") -> None:
    """Logs a message unless the first of `thresholds` that is not negative (else the default) is above `severity`."""
    if severity < next((each for each in thresholds if each >= 0), _default):
        return
    import logging  # takes 5 ms, and hardly any session has something to say

    logger = logging.getLogger("intaglio")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s [%(levelname).1s:intaglio:%(session)s] %(message)s"))
        handler.addFilter(lambda record: not logging.getLogger().handlers)
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    logger.log(10 * (severity + 1), text, extra={"session": name})
