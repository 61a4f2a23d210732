//! tapestats: SCSI tapes, from `/sys/class/scsi_tape`.

use obs_model::metrics::MetricKind::{self, Counter, Gauge};

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

const FOLDER: &str = "sys/class/scsi_tape";
const NANO: f64 = 1e9;

/// File, name, type, what the kernel's unit divides by, help.
const FIELDS: [(&str, &str, MetricKind, f64, &str); 10] = [
    (
        "in_flight",
        "io_now",
        Gauge,
        1.0,
        "The number of I/Os currently outstanding to this device.",
    ),
    (
        "io_ns",
        "io_time_seconds_total",
        Counter,
        NANO,
        "The amount of time spent waiting for all I/O to complete (including read and write). This includes tape movement commands such as seeking between file or set marks and implicit tape movement such as when rewind on close tape devices are used.",
    ),
    (
        "other_cnt",
        "io_others_total",
        Counter,
        1.0,
        "The number of I/Os issued to the tape drive other than read or write commands. The time taken to complete these commands uses the following calculation io_time_seconds_total-read_time_seconds_total-write_time_seconds_total",
    ),
    (
        "read_byte_cnt",
        "read_bytes_total",
        Counter,
        1.0,
        "The number of bytes read from the tape drive.",
    ),
    (
        "read_cnt",
        "reads_completed_total",
        Counter,
        1.0,
        "The number of read requests issued to the tape drive.",
    ),
    (
        "read_ns",
        "read_time_seconds_total",
        Counter,
        NANO,
        "The amount of time spent waiting for read requests to complete.",
    ),
    (
        "resid_cnt",
        "residual_total",
        Counter,
        1.0,
        "The number of times during a read or write we found the residual amount to be non-zero. This should mean that a program is issuing a read larger thean the block size on tape. For write not all data made it to tape.",
    ),
    (
        "write_byte_cnt",
        "written_bytes_total",
        Counter,
        1.0,
        "The number of bytes written to the tape drive.",
    ),
    (
        "write_cnt",
        "writes_completed_total",
        Counter,
        1.0,
        "The number of write requests issued to the tape drive.",
    ),
    (
        "write_ns",
        "write_time_seconds_total",
        Counter,
        NANO,
        "The amount of time spent waiting for write requests to complete.",
    ),
];

pub(crate) fn collect(
    source: &Source,
    options: &Options,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    let entries = source.entries(FOLDER);
    for entry in entries.map_err(|fault| fault.absent_is_no_data("no tapes"))? {
        // `nst0` and `st0a` are other modes of the same tape.
        let number = entry.strip_prefix("st").filter(|number| !number.is_empty());
        let is_tape = number.is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()));
        if !is_tape || options.tapes.is_match(entry.as_bytes()) {
            continue;
        }
        for (file, name, kind, unit, help) in FIELDS {
            let value = source.number(&format!("{FOLDER}/{entry}/stats/{file}"))?;
            let name = format!("node_tape_{name}");
            sheet.put(kind, &name, help, &[("device", &entry)], value / unit);
        }
    }
    Ok(())
}
