//! The evaluator: computes a plan's tree from what its leaves read, over all steps at once.
//!
//! It never reads a store; tests and all languages call it with series in memory.
