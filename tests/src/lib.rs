//! Black-box, crash and simulation tests and the rules of the architecture; see `tests/tests/`.
