//! runit: the services that `runsv` keeps up, by the status files that it writes.
//!
//! A status has 20 bytes: when it changed last (TAI64N), the process (little-endian), whether it
//! is paused, what is wanted, whether it was told to end, and the state.

use crate::sheet::{Sheet, flag};
use crate::{CollectError, Options, Source};

const STATUS_BYTES: usize = 20;
/// The first second of 1970 in TAI64, with the ten seconds that TAI was ahead by then.
const TAI_1970: i64 = (1 << 62) + 10;

/// What a status file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Status {
    /// 0 down, 1 up, 2 its end is seen to.
    state: u8,
    wanted: bool,
    /// Seconds since 1970.
    changed: i64,
}

pub(crate) fn collect(
    source: &Source,
    options: &Options,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    let folder = format!("file/{}", options.runit_services.trim_end_matches('/'));
    for service in source.entries(&folder)? {
        let place = format!("{folder}/{service}/supervise");
        // What is no service, or nobody keeps up, is passed over.
        let Some(status) = source.bytes(&format!("{place}/status")).and_then(read) else {
            continue;
        };
        let labels = [("service", service.as_str()), ("supervisor", "runit")];
        let mut gauge = |name: &str, help: &str, value: f64| {
            sheet.gauge(&format!("node_service_{name}"), help, &labels, value);
        };
        let normal = !source.exists(&format!("{place}/down"));
        gauge("state", "State of runit service.", f64::from(status.state));
        gauge(
            "desired_state",
            "Desired state of runit service.",
            flag(status.wanted),
        );
        gauge(
            "normal_state",
            "Normal state of runit service.",
            flag(normal),
        );
        gauge(
            "state_last_change_timestamp_seconds",
            "Unix timestamp of the last runit service state change.",
            status.changed as f64,
        );
    }
    Ok(())
}

fn read(bytes: Vec<u8>) -> Option<Status> {
    let status: [u8; STATUS_BYTES] = bytes.get(..STATUS_BYTES)?.try_into().ok()?;
    let seconds = i64::from_be_bytes(status[..8].try_into().ok()?);
    Some(Status {
        state: status[19],
        wanted: status[17] == b'u',
        changed: seconds.saturating_sub(TAI_1970),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn status(seconds: i64, wanted: u8, state: u8) -> Vec<u8> {
        let mut bytes = (TAI_1970 + seconds).to_be_bytes().to_vec();
        bytes.extend([0, 0, 0, 1, 7, 0, 0, 0, 0, wanted, 0, state]);
        bytes
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "services in a folder for the test"
    )]
    fn services_are_told() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, bytes) in [
            ("up", status(1_700_000_000, b'u', 1)),
            ("down", status(1_600_000_000, b'd', 0)),
            ("odd", vec![1, 2, 3]),
        ] {
            let place = folder.path().join(name).join("supervise");
            std::fs::create_dir_all(&place).expect("made");
            std::fs::write(place.join("status"), bytes).expect("written");
        }
        std::fs::write(folder.path().join("file"), "").expect("written");
        let path = folder.path().to_string_lossy();
        let options = Options::from_flags([("collector.runit.servicedir", &*path)]);
        let source = Source::new("/proc", "/sys", "/");
        let mut sheet = Sheet::default();
        collect(&source, &options.expect("flags"), &mut sheet).expect("collected");
        let found: Vec<String> = sheet
            .into_families()
            .iter()
            .flat_map(|f| {
                f.points
                    .iter()
                    .map(|p| format!("{}{} {}", f.name, p.labels, p.value))
            })
            .collect();
        let line = |name: &str, service: &str, value: &str| {
            format!("node_service_{name}{{service=\"{service}\", supervisor=\"runit\"}} {value}")
        };
        let mut expect = Vec::new();
        for (name, down, up) in [
            ("desired_state", "0", "1"),
            ("normal_state", "1", "1"),
            ("state", "0", "1"),
            (
                "state_last_change_timestamp_seconds",
                "1600000000",
                "1700000000",
            ),
        ] {
            expect.extend([line(name, "down", down), line(name, "up", up)]);
        }
        assert_eq!(found, expect);
        let gone = Options::from_flags([("collector.runit.servicedir", "/nowhere/at/all")]);
        let told = collect(&source, &gone.expect("flags"), &mut Sheet::default());
        assert!(told.is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn arbitrary_statuses(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(read(bytes.clone()).is_some(), bytes.len() >= STATUS_BYTES);
        }
    }
}
