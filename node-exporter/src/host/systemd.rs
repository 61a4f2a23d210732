//! systemd: units and their states, over D-Bus.

use std::collections::BTreeMap;

use super::dbus::{Connection, Object, Value};
use crate::sheet::{Sheet, flag};
use crate::{CollectError, Options, Source};

const STATES: [&str; 5] = ["active", "activating", "deactivating", "inactive", "failed"];
const MANAGER: Object<'_> = Object {
    service: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
};
/// The first version with `SystemState` and `LastTriggerUSec`.
const VERSION_STATE: f64 = 212.0;
const MICROS: f64 = 1e6;

/// A unit that is loaded and asked for.
struct Unit {
    name: String,
    state: String,
    path: String,
}

impl Unit {
    fn object(&self) -> Object<'_> {
        Object {
            service: MANAGER.service,
            path: &self.path,
        }
    }

    /// What follows the last point: `service`.
    fn kind(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or_default()
    }
}

/// A property of a unit; the interface is `Service`, `Timer` and so on.
fn property(
    connection: &mut Connection,
    object: Object<'_>,
    interface: &str,
    name: &str,
) -> Option<Value> {
    let interface = format!("org.freedesktop.systemd1.{interface}");
    // Older versions do not have every property.
    connection.property(object, &interface, name).ok()
}

pub(crate) fn collect(
    _: &Source,
    options: &Options,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    let fault = |error| CollectError::system("D-Bus", error);
    let (socket, on_bus) = match options.systemd_private {
        true => (&options.systemd_socket, false),
        false => (&options.dbus_socket, true),
    };
    let mut connection = Connection::open(socket, on_bus).map_err(fault)?;
    let version = about(&mut connection, sheet);
    let units = "org.freedesktop.systemd1.Manager";
    let units = connection
        .call(MANAGER, units, "ListUnits", &[])
        .map_err(fault)?;
    let units = wanted(units.first().map_or(&[], Value::list), options, sheet);
    for unit in &units {
        state(&mut connection, unit, options, sheet);
        match unit.kind() {
            "timer" if version >= VERSION_STATE => timer(&mut connection, unit, sheet),
            "socket" => socket_of(&mut connection, unit, sheet),
            _ => {}
        }
        if options.systemd_tasks && unit.kind() == "service" {
            tasks(&mut connection, unit, sheet);
        }
        if options.systemd_start_times {
            start(&mut connection, unit, sheet);
        }
    }
    if version >= VERSION_STATE {
        let interface = "org.freedesktop.systemd1.Manager";
        let state = connection
            .property(MANAGER, interface, "SystemState")
            .map_err(fault)?;
        sheet.gauge(
            "node_systemd_system_running",
            "Whether the system is operational (see 'systemctl is-system-running')",
            &[],
            flag(state.text() == Some("running")),
        );
    }
    Ok(())
}

/// Version and virtualization; gives the version's number.
fn about(connection: &mut Connection, sheet: &mut Sheet) -> f64 {
    let version = property(connection, MANAGER, "Manager", "Version");
    let text = version.as_ref().and_then(Value::text).unwrap_or_default();
    let number = version_number(text);
    let label = if number.is_some() { text } else { "" };
    sheet.gauge(
        "node_systemd_version",
        "Detected systemd version",
        &[("version", label)],
        number.unwrap_or_default(),
    );
    let kind = property(connection, MANAGER, "Manager", "Virtualization");
    let kind = match kind.as_ref().map(Value::text) {
        None => "unknown",
        // Nothing is said of bare metal.
        Some(None | Some("")) => "none",
        Some(Some(kind)) => kind,
    };
    sheet.gauge(
        "node_systemd_virtualization_info",
        "Detected virtualization technology",
        &[("virtualization_type", kind)],
        1.0,
    );
    number.unwrap_or_default()
}

/// The first number of three or more digits: `systemd 252.39-1` is 252.39.
fn version_number(text: &str) -> Option<f64> {
    let mut rest = text;
    loop {
        let (_, from) = rest.split_at(rest.find(|c: char| c.is_ascii_digit())?);
        let end = from
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(from.len());
        let (digits, after) = from.split_at(end);
        if digits.len() >= 3 {
            let part = after.strip_prefix('.').unwrap_or_default();
            let end = part
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(part.len());
            return format!("{digits}.{}0", &part[..end]).parse().ok();
        }
        rest = after;
    }
}

/// Counts all units and takes those that are asked for.
fn wanted(units: &[Value], options: &Options, sheet: &mut Sheet) -> Vec<Unit> {
    let mut counts: BTreeMap<&str, u32> = STATES.map(|state| (state, 0)).into();
    let mut all = Vec::new();
    for unit in units {
        let text = |at: usize| {
            unit.list()
                .get(at)
                .and_then(Value::text)
                .unwrap_or_default()
        };
        // name, description, load state, active state, sub state, followed, path, …
        let (name, load, state, path) = (text(0), text(2), text(3), text(6));
        *counts.entry(state).or_default() += 1;
        if load == "loaded" && options.systemd_units.includes(name) {
            all.push(Unit {
                name: name.to_owned(),
                state: state.to_owned(),
                path: path.to_owned(),
            });
        }
    }
    for (state, count) in counts {
        let help = "Summary of systemd unit states";
        sheet.gauge(
            "node_systemd_units",
            help,
            &[("state", state)],
            f64::from(count),
        );
    }
    all
}

fn state(connection: &mut Connection, unit: &Unit, options: &Options, sheet: &mut Sheet) {
    let kind = match unit.kind() {
        "service" => property(connection, unit.object(), "Service", "Type"),
        "mount" => property(connection, unit.object(), "Mount", "Type"),
        _ => None,
    };
    let kind = kind.as_ref().and_then(Value::text).unwrap_or_default();
    for state in STATES {
        sheet.gauge(
            "node_systemd_unit_state",
            "Systemd unit",
            &[("name", &unit.name), ("state", state), ("type", kind)],
            flag(state == unit.state),
        );
    }
    if options.systemd_restarts && unit.kind() == "service" {
        let count = property(connection, unit.object(), "Service", "NRestarts");
        if let Some(count) = count.as_ref().and_then(Value::number) {
            sheet.counter(
                "node_systemd_service_restart_total",
                "Service unit count of Restart triggers",
                &[("name", &unit.name)],
                count as f64,
            );
        }
    }
}

fn timer(connection: &mut Connection, unit: &Unit, sheet: &mut Sheet) {
    let time = property(connection, unit.object(), "Timer", "LastTriggerUSec");
    if let Some(micros) = time.as_ref().and_then(Value::number) {
        sheet.gauge(
            "node_systemd_timer_last_trigger_seconds",
            "Seconds since epoch of last trigger.",
            &[("name", &unit.name)],
            micros as f64 / MICROS,
        );
    }
}

fn socket_of(connection: &mut Connection, unit: &Unit, sheet: &mut Sheet) {
    let labels = [("name", unit.name.as_str())];
    let mut number = |name: &str| property(connection, unit.object(), "Socket", name)?.number();
    let Some(accepted) = number("NAccepted") else {
        return;
    };
    sheet.counter(
        "node_systemd_socket_accepted_connections_total",
        "Total number of accepted socket connections",
        &labels,
        accepted as f64,
    );
    if let Some(current) = number("NConnections") {
        sheet.gauge(
            "node_systemd_socket_current_connections",
            "Current number of socket connections",
            &labels,
            current as f64,
        );
    }
    if let Some(refused) = number("NRefused") {
        // A gauge in node_exporter, whatever its name says.
        sheet.gauge(
            "node_systemd_socket_refused_connections_total",
            "Total number of refused socket connections",
            &labels,
            refused as f64,
        );
    }
}

fn tasks(connection: &mut Connection, unit: &Unit, sheet: &mut Sheet) {
    for (property_name, name, help) in [
        (
            "TasksCurrent",
            "unit_tasks_current",
            "Current number of tasks per Systemd unit",
        ),
        (
            "TasksMax",
            "unit_tasks_max",
            "Maximum number of tasks per Systemd unit",
        ),
    ] {
        let count = property(connection, unit.object(), "Service", property_name);
        let count = count.as_ref().and_then(Value::number);
        // The highest number stands for none.
        if let Some(count) = count.filter(|count| *count != u64::MAX) {
            let name = format!("node_systemd_{name}");
            sheet.gauge(&name, help, &[("name", &unit.name)], count as f64);
        }
    }
}

fn start(connection: &mut Connection, unit: &Unit, sheet: &mut Sheet) {
    let micros = if unit.state == "active" {
        let time = property(connection, unit.object(), "Unit", "ActiveEnterTimestamp");
        time.as_ref().and_then(Value::number)
    } else {
        Some(0)
    };
    if let Some(micros) = micros {
        sheet.gauge(
            "node_systemd_unit_start_time_seconds",
            "Start time of the unit since unix epoch in seconds.",
            &[("name", &unit.name)],
            micros as f64 / MICROS,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::dbus::fake;
    use super::*;

    const UNITS: [(&str, &str, &str); 4] = [
        ("ssh.service", "loaded", "active"),
        ("tmp.timer", "loaded", "failed"),
        ("gone.service", "not-found", "inactive"),
        ("a.slice", "loaded", "active"),
    ];

    fn list_units() -> Vec<u8> {
        let mut body = vec![0; 8];
        for (name, load, state) in UNITS {
            body.resize(body.len().next_multiple_of(8), 0);
            let path = format!("/unit/{name}");
            for text in [name, "about", load, state, "sub", "", &path] {
                body.resize(body.len().next_multiple_of(4), 0);
                body.extend(fake::texts(&[text]));
            }
            body.resize(body.len().next_multiple_of(4), 0);
            body.extend([0; 4]);
            body.extend(fake::texts(&["", "/"]));
        }
        let length = u32::try_from(body.len() - 8).unwrap();
        body[..4].copy_from_slice(&length.to_le_bytes());
        body
    }

    fn respond(call: &[String]) -> Option<(&'static str, Vec<u8>)> {
        let call: Vec<&str> = call.iter().map(String::as_str).collect();
        Some(match call[..] {
            [_, "Hello"] => ("s", fake::texts(&[":1.1"])),
            [_, "ListUnits"] => ("a(ssssssouso)", list_units()),
            [_, "Get", _, "Version"] => ("v", fake::variant_text("252.39-1~deb12u1")),
            [_, "Get", _, "SystemState"] => ("v", fake::variant_text("running")),
            ["/unit/ssh.service", "Get", _, "Type"] => ("v", fake::variant_text("notify")),
            ["/unit/ssh.service", "Get", _, "NRestarts"] => ("v", fake::variant_number(b'u', 3)),
            ["/unit/ssh.service", "Get", _, "TasksCurrent"] => ("v", fake::variant_number(b't', 5)),
            ["/unit/ssh.service", "Get", _, "TasksMax"] => {
                ("v", fake::variant_number(b't', u64::MAX))
            }
            [_, "Get", _, "LastTriggerUSec"] => ("v", fake::variant_number(b't', 1_500_000)),
            _ => return None,
        })
    }

    #[test]
    fn units_over_the_bus() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, thread) = fake::serve(folder.path(), respond);
        let flags = [
            ("collector.systemd.enable-task-metrics", "true"),
            ("collector.systemd.enable-restarts-metrics", "true"),
            ("path.dbus-socket", socket.to_str().unwrap()),
        ];
        let options = Options::from_flags(flags).unwrap();
        let mut sheet = Sheet::default();
        collect(&Source::default(), &options, &mut sheet).unwrap();
        thread.join().unwrap();
        let mut text = Vec::new();
        obs_wire::prometheus::text::encode(&sheet.into_families(), &mut text);
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        for line in [
            "node_systemd_service_restart_total{name=\"ssh.service\"} 3",
            "node_systemd_system_running 1",
            "node_systemd_timer_last_trigger_seconds{name=\"tmp.timer\"} 1.5",
            "node_systemd_unit_state{name=\"ssh.service\",state=\"active\",type=\"notify\"} 1",
            "node_systemd_unit_state{name=\"ssh.service\",state=\"failed\",type=\"notify\"} 0",
            "node_systemd_unit_state{name=\"tmp.timer\",state=\"failed\"} 1",
            "node_systemd_unit_tasks_current{name=\"ssh.service\"} 5",
            "node_systemd_units{state=\"active\"} 2",
            "node_systemd_units{state=\"inactive\"} 1",
            "node_systemd_version{version=\"252.39-1~deb12u1\"} 252.39",
            "node_systemd_virtualization_info{virtualization_type=\"unknown\"} 1",
        ] {
            assert!(lines.contains(&line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("gone.service") && !text.contains("a.slice"));
        assert!(!text.contains("tasks_max{"));
    }

    #[test]
    fn versions() {
        for (text, expect) in [
            ("systemd 252.39-1", Some(252.39)),
            ("v249", Some(249.0)),
            ("12.999", Some(999.0)),
            ("12", None),
            ("", None),
        ] {
            assert_eq!(version_number(text), expect, "{text}");
        }
    }
}
