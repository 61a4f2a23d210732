//! node-exporter
