//! Black-box, crash and simulation tests and the rules of the architecture are in `tests/tests/`;
//! here is what tests of several rooms share: a Kubernetes API server.

#[expect(
    clippy::disallowed_methods,
    reason = "a server for tests: it runs tasks, reads the clock and its certificates"
)]
pub mod kube_api;
