//! OTLP logs as Loki takes them: a few resource attributes become index labels, everything else
//! structured metadata, the body the line.
//!
//! Invariants: one stream per resource; `service_name` and `detected_level` are what the sender
//! says, what is missing of them the store finds, if it is told to; names are of the old label
//! alphabet; the line is the body's text unchanged, also where it is not UTF-8; the metadata made
//! for one request takes at most `decompressed_bytes_max` bytes, however many records share large
//! resource attributes.

use obs_model::labels::{Labels, LabelsBuilder};
use obs_model::limits::Limits;
use obs_model::logs::{LogBatch, LogRecord, LogStream};
use obs_model::spans::{Attribute, AttributeValue};
use obs_model::time::Timestamp;

use super::attributes::{self, check_label, check_labels, hex_id, to_text};
use super::metrics::name::label_name;
use super::proto::logs as proto;
use super::proto::values::{AnyValue, Value};
use super::{Decoded, Rejects, Room, from_json, from_protobuf, repair, shape, timestamp};
use crate::error::WireError;

/// Resource attributes that become index labels, as Loki's `default_resource_attributes_as_index_labels`.
pub const INDEX_ATTRIBUTES: [&str; 18] = [
    "service.name",
    "service.namespace",
    "service.instance.id",
    "deployment.environment",
    "deployment.environment.name",
    "cloud.region",
    "cloud.availability_zone",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.pod.name",
    "k8s.container.name",
    "container.name",
    "k8s.replicaset.name",
    "k8s.deployment.name",
    "k8s.statefulset.name",
    "k8s.daemonset.name",
    "k8s.cronjob.name",
    "k8s.job.name",
];

/// Reads `ExportLogsServiceRequest` or `LogsData`. A record without any time has the time zero:
/// see [`stamp`]. Texts that are not UTF-8 are told, and cost nothing: lines keep their bytes, in
/// attributes such bytes become U+FFFD.
pub fn decode_protobuf(body: &[u8], limits: &Limits) -> Result<Decoded<LogBatch>, WireError> {
    let read = |body: &[u8]| from_protobuf("OTLP logs", body, &shape::LOGS, limits);
    let error = match read(body) {
        Ok(data) => return Ok(convert(data, limits, Rejects::default())),
        Err(error) => error,
    };
    let (mended, count) = repair::logs(body).ok_or(error)?;
    let mut rejects = Rejects::default();
    rejects.fault(format!(
        "{count} texts are not UTF-8: lines are kept as they are, in attributes the bytes are replaced"
    ));
    Ok(convert(read(&mended)?, limits, rejects))
}

/// Reads the same in OTLP/JSON.
pub fn decode_json(body: &[u8], limits: &Limits) -> Result<Decoded<LogBatch>, WireError> {
    let data = from_json("OTLP logs in JSON", body, limits)?;
    Ok(convert(data, limits, Rejects::default()))
}

/// Gives records that came without any time the time of their arrival.
pub fn stamp(batch: &mut LogBatch, now: Timestamp) {
    for record in batch.streams.iter_mut().flat_map(|s| &mut s.records) {
        if record.time == Timestamp::default() {
            record.time = now;
        }
    }
}

fn convert(data: proto::LogsData, limits: &Limits, mut rejects: Rejects) -> Decoded<LogBatch> {
    let mut room = Room::new(limits);
    let mut batch = LogBatch::default();
    for from in data.resource_logs {
        let count = from.scope_logs.iter().map(|s| s.log_records.len()).sum();
        let resource = from.resource.unwrap_or_default();
        let split = attributes::from_proto(resource.attributes, limits)
            .and_then(|list| split_resource(&list, limits));
        let (labels, mut base) = match split {
            Ok(split) => split,
            Err(reason) => {
                rejects.add(count, format!("resource: {reason}"));
                continue;
            }
        };
        set_number(
            &mut base,
            "resource_dropped_attributes_count",
            resource.dropped_attributes_count,
        );
        let mut into = Taken {
            records: Vec::with_capacity(count),
            rejects: &mut rejects,
            room: &mut room,
        };
        for scope_logs in from.scope_logs {
            add_scope(scope_logs, &base, limits, &mut into);
        }
        let records = into.records;
        if !records.is_empty() {
            batch.streams.push(LogStream { labels, records });
        }
    }
    rejects.into_decoded(batch)
}

/// Index labels and the metadata that all records of the resource share.
fn split_resource(list: &[Attribute], limits: &Limits) -> Result<(Labels, LabelsBuilder), String> {
    let mut labels = LabelsBuilder::default();
    let mut metadata = LabelsBuilder::default();
    for attribute in list {
        if INDEX_ATTRIBUTES.contains(&attribute.key.as_str()) {
            flatten(&mut labels, "", attribute, limits)?;
        } else {
            flatten(&mut metadata, "", attribute, limits)?;
        }
    }
    check_labels(&labels, limits, "labels_max", limits.labels_max)?;
    Ok((labels.build(), metadata))
}

/// Sets an attribute; the keys of maps are joined by underscores. Checks as it goes, so that long
/// keys with many children cannot pile up.
fn flatten(
    out: &mut LabelsBuilder,
    prefix: &str,
    attribute: &Attribute,
    limits: &Limits,
) -> Result<(), String> {
    let mut key = prefix.to_owned();
    if !prefix.is_empty() {
        key.push('_');
    }
    key.push_str(&attribute.key);
    if let AttributeValue::Map(pairs) = &attribute.value {
        check_label(&key, "", limits)?;
        return pairs
            .iter()
            .try_for_each(|pair| flatten(out, &key, pair, limits));
    }
    let (name, value) = (label_name(&key), to_text(&attribute.value));
    check_label(&name, &value, limits)?;
    set_text(out, &name, &value);
    if out.iter().count() > limits.metadata_max {
        let max = limits.metadata_max;
        return Err(format!("attributes exceed the limit metadata_max of {max}"));
    }
    Ok(())
}

fn set_number(out: &mut LabelsBuilder, name: &str, number: impl Into<i64>) {
    let number = number.into();
    if number != 0 {
        out.set(name, &number.to_string());
    }
}

/// Where the records of a resource go.
struct Taken<'a> {
    records: Vec<LogRecord>,
    rejects: &'a mut Rejects,
    room: &'a mut Room,
}

fn add_scope(
    from: proto::ScopeLogs,
    resource: &LabelsBuilder,
    limits: &Limits,
    into: &mut Taken<'_>,
) {
    let scope = from.scope.unwrap_or_default();
    let mut base = resource.clone();
    let flat = attributes::from_proto(scope.attributes, limits).and_then(|list| {
        list.iter()
            .try_for_each(|a| flatten(&mut base, "", a, limits))
    });
    if let Err(reason) = flat {
        into.rejects
            .add(from.log_records.len(), format!("scope: {reason}"));
        return;
    }
    set_text(&mut base, "scope_name", &scope.name);
    set_text(&mut base, "scope_version", &scope.version);
    set_number(
        &mut base,
        "scope_dropped_attributes_count",
        scope.dropped_attributes_count,
    );
    for from in from.log_records {
        let made = record(from, &base, limits).and_then(|record| {
            into.room
                .take(record.metadata.packed().len() + size_of::<LogRecord>())?;
            Ok(record)
        });
        match made {
            Ok(record) => into.records.push(record),
            Err(reason) => into.rejects.add(1, format!("log record: {reason}")),
        }
    }
}

fn record(
    from: proto::LogRecord,
    base: &LabelsBuilder,
    limits: &Limits,
) -> Result<LogRecord, String> {
    let observed = timestamp(from.observed_time_unix_nano)?;
    let mut time = timestamp(from.time_unix_nano)?;
    let mut metadata = base.clone();
    for attribute in &attributes::from_proto(from.attributes, limits)? {
        flatten(&mut metadata, "", attribute, limits)?;
    }
    if time == Timestamp::default() {
        time = observed;
    } else if observed != Timestamp::default() {
        metadata.set("observed_timestamp", &observed.nanos().to_string());
    }
    set_number(&mut metadata, "severity_number", from.severity_number);
    set_text(&mut metadata, "severity_text", &from.severity_text);
    set_number(
        &mut metadata,
        "dropped_attributes_count",
        from.dropped_attributes_count,
    );
    set_number(&mut metadata, "flags", from.flags);
    set_text(&mut metadata, "trace_id", &hex_id(&from.trace_id));
    set_text(&mut metadata, "span_id", &hex_id(&from.span_id));
    set_text(&mut metadata, "event_name", &from.event_name);
    check_labels(&metadata, limits, "metadata_max", limits.metadata_max)?;
    let line = line(from.body.unwrap_or_default(), limits)?;
    if line.len() > limits.line_bytes_max {
        let max = limits.line_bytes_max;
        return Err(format!(
            "a line of {} bytes exceeds the limit line_bytes_max of {max}",
            line.len()
        ));
    }
    Ok(LogRecord {
        time,
        line,
        metadata: metadata.build(),
    })
}

fn line(body: AnyValue, limits: &Limits) -> Result<Vec<u8>, String> {
    if let Some(Value::RawText(bytes)) = body.value {
        return Ok(bytes);
    }
    let body = attributes::value_from_proto(body, limits.depth_max)
        .map_err(|reason| format!("body {reason}"))?;
    Ok(match body {
        AttributeValue::String(text) => text.into_bytes(),
        other => to_text(&other).into_bytes(),
    })
}

/// Sets a text where there is one; unlike [`LabelsBuilder::set`] an empty text removes nothing.
fn set_text(out: &mut LabelsBuilder, name: &str, text: &str) {
    if !text.is_empty() {
        out.set(name, text);
    }
}

#[cfg(test)]
mod tests;
