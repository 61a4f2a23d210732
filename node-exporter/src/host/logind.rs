//! logind: sessions by seat and kind, over D-Bus.

use std::collections::BTreeMap;

use super::dbus::{Connection, Object, Value};
use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

const SERVICE: &str = "org.freedesktop.login1";
const SESSION: &str = "org.freedesktop.login1.Session";
const REMOTE: [&str; 2] = ["true", "false"];
const TYPES: [&str; 7] = [
    "other",
    "unspecified",
    "tty",
    "x11",
    "wayland",
    "mir",
    "web",
];
const CLASSES: [&str; 5] = ["other", "user", "greeter", "lock-screen", "background"];

pub(crate) fn collect(
    _: &Source,
    options: &Options,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    let fault = |error| CollectError::system("D-Bus", error);
    let mut connection = Connection::open(&options.dbus_socket, true).map_err(fault)?;
    let manager = Object {
        service: SERVICE,
        path: "/org/freedesktop/login1",
    };
    let mut list = |method: &str| {
        let answer = connection.call(manager, "org.freedesktop.login1.Manager", method, &[]);
        Ok::<_, CollectError>(answer.map_err(fault)?.into_iter().next())
    };
    let (seats, sessions) = (list("ListSeats")?, list("ListSessions")?);
    let text = |value: &Value, at: usize| {
        let text = value.list().get(at).and_then(Value::text);
        text.unwrap_or_default().to_owned()
    };
    let mut counts: BTreeMap<(String, &str, &str, &str), u32> = BTreeMap::new();
    for session in sessions.as_ref().map_or(&[][..], Value::list) {
        // id, user, name, seat, path
        let (seat, path) = (text(session, 3), text(session, 4));
        let object = Object {
            service: SERVICE,
            path: &path,
        };
        let mut property = |name: &str| connection.property(object, SESSION, name).ok();
        let remote = property("Remote").and_then(|value| value.number());
        let (kind, class) = (property("Type"), property("Class"));
        let kind = kind.as_ref().and_then(Value::text);
        let class = class.as_ref().and_then(Value::text);
        // Sessions end while we look.
        let (Some(remote), Some(kind), Some(class)) = (remote, kind, class) else {
            continue;
        };
        let remote = REMOTE[usize::from(remote == 0)];
        let key = (seat, remote, known(kind, &TYPES), known(class, &CLASSES));
        *counts.entry(key).or_default() += 1;
    }
    let seats = seats.as_ref().map_or(&[][..], Value::list).iter();
    let mut seats: Vec<String> = seats.map(|seat| text(seat, 0)).collect();
    // Sessions from elsewhere have no seat.
    seats.push(String::new());
    for seat in seats {
        for remote in REMOTE {
            for kind in TYPES {
                for class in CLASSES {
                    let count = counts.get(&(seat.clone(), remote, kind, class));
                    sheet.gauge(
                        "node_logind_sessions",
                        "Number of sessions registered in logind.",
                        &[
                            ("seat", &seat),
                            ("remote", remote),
                            ("type", kind),
                            ("class", class),
                        ],
                        count.copied().unwrap_or_default().into(),
                    );
                }
            }
        }
    }
    Ok(())
}

fn known(value: &str, known: &[&'static str]) -> &'static str {
    known.iter().find(|one| **one == value).unwrap_or(&known[0])
}

#[cfg(test)]
mod tests {
    use super::super::dbus::fake;
    use super::*;

    fn array(members: &[u8]) -> Vec<u8> {
        let length = u32::try_from(members.len()).unwrap();
        [&length.to_le_bytes()[..], &[0; 4], members].concat()
    }

    fn respond(call: &[String]) -> Option<(&'static str, Vec<u8>)> {
        let call: Vec<&str> = call.iter().map(String::as_str).collect();
        Some(match call[..] {
            [_, "Hello"] => ("s", fake::texts(&[":1.1"])),
            [_, "ListSeats"] => ("a(so)", array(&fake::texts(&["seat0", "/seat0"]))),
            [_, "ListSessions"] => {
                let mut session = fake::texts(&["1"]);
                session.resize(session.len().next_multiple_of(4), 0);
                session.extend(1000_u32.to_le_bytes());
                session.extend(fake::texts(&["me", "seat0", "/session/1"]));
                ("a(susso)", array(&session))
            }
            ["/session/1", "Get", _, "Remote"] => ("v", fake::variant_number(b'b', 0)),
            ["/session/1", "Get", _, "Type"] => ("v", fake::variant_text("tty")),
            ["/session/1", "Get", _, "Class"] => ("v", fake::variant_text("new-kind")),
            _ => return None,
        })
    }

    #[test]
    fn sessions_over_the_bus() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, thread) = fake::serve(folder.path(), respond);
        let flags = [("path.dbus-socket", socket.to_str().unwrap())];
        let options = Options::from_flags(flags).unwrap();
        let mut sheet = Sheet::default();
        collect(&Source::default(), &options, &mut sheet).unwrap();
        thread.join().unwrap();
        let all = sheet.into_families();
        assert_eq!(all[0].points.len(), 2 * 2 * 7 * 5);
        let one: Vec<_> = all[0].points.iter().filter(|p| p.value == 1.0).collect();
        assert_eq!(one.len(), 1);
        for (label, value) in [
            ("seat", "seat0"),
            ("remote", "false"),
            ("type", "tty"),
            ("class", "other"),
        ] {
            assert_eq!(one[0].labels.get(label), Some(value));
        }
    }
}
