//! tracestore
