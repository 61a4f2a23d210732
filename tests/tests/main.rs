//! The tests that see obs from outside: rules of the house, the running binary, simulation.

mod architecture;
mod simulation;
