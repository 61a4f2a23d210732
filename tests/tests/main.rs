//! The tests that see obs from outside: rules of the house, the running binary, simulation.

#![expect(
    clippy::disallowed_methods,
    reason = "these tests run processes: they need files, threads, the environment and the clock"
)]

mod agent;
mod architecture;
mod badinput;
mod blackbox;
mod cli;
mod crash;
mod damage;
mod hostile;
mod peer;
mod process;
mod relay;
mod rule_files;
mod s3;
mod send;
mod simulation;
