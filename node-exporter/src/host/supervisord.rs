//! supervisord: the processes that supervisord keeps up, asked for over its XML-RPC.
//!
//! Invariants: every wait has a deadline and the answer a bound; an answer of another form is a
//! fault, not a guess.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use obs_wire::xml::{self, Element};

use crate::sheet::{Sheet, flag};
use crate::{CollectError, Options, Source};

const TIMEOUT: Duration = Duration::from_secs(5);
/// Some 10,000 processes.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
const QUESTION: &str = "<?xml version=\"1.0\"?><methodCall>\
    <methodName>supervisor.getAllProcessInfo</methodName><params/></methodCall>";
/// The states in which a process runs: STARTING, RUNNING, STOPPING.
const RUNNING: [i64; 3] = [10, 20, 40];

/// A process as supervisord tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Process {
    name: String,
    group: String,
    start: i64,
    state: i64,
    exit_status: i64,
}

pub(crate) fn collect(
    _: &Source,
    options: &Options,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    let url = &options.supervisord_url;
    let fault = |error: std::io::Error| CollectError::system("asking supervisord", error);
    let answer = ask(url).map_err(fault)?;
    let processes = read(&answer).map_err(std::io::Error::other);
    for process in processes.map_err(fault)? {
        let labels = [
            ("group", process.group.as_str()),
            ("name", process.name.as_str()),
        ];
        let up = RUNNING.contains(&process.state);
        let (state, status) = (process.state as f64, process.exit_status as f64);
        sheet.gauge("node_supervisord_state", "Process State", &labels, state);
        let help = "Process Exit Status";
        sheet.gauge("node_supervisord_exit_status", help, &labels, status);
        sheet.gauge("node_supervisord_up", "Process Up", &labels, flag(up));
        if up {
            let name = "node_supervisord_start_time_seconds";
            sheet.counter(name, "Process start time", &labels, process.start as f64);
        }
    }
    Ok(())
}

/// The body of the answer.
fn ask(url: &str) -> std::io::Result<Vec<u8>> {
    let other = |text: &str| std::io::Error::other(text.to_owned());
    if let Some(path) = url.strip_prefix("unix://") {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        return exchange(stream, ("unix", "/RPC2", None));
    }
    let rest = url.strip_prefix("http://");
    let rest = rest.ok_or_else(|| other("expected an address with http:// or unix://"))?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let named = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let place = if named {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let mut last = other("the name has no address");
    for address in place.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                let path = if path.is_empty() { "/" } else { path };
                return exchange(stream, (host, path, user));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Asks with HTTP 1.0, whose answer ends with the connection.
fn exchange(
    mut stream: impl Read + Write,
    (host, path, user): (&str, &str, Option<&str>),
) -> std::io::Result<Vec<u8>> {
    let length = QUESTION.len();
    let authorization = user.map_or_else(String::new, |user| {
        format!("Authorization: Basic {}\r\n", base64(user.as_bytes()))
    });
    let head = format!(
        "POST {path} HTTP/1.0\r\nHost: {host}\r\nContent-Type: text/xml\r\n\
         Content-Length: {length}\r\n{authorization}\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(QUESTION.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX + 1).read_to_end(&mut answer)?;
    if answer.len() as u64 > ANSWER_BYTES_MAX {
        return Err(std::io::Error::other("an answer that is too large"));
    }
    body(answer).map_err(std::io::Error::other)
}

/// What stands behind the head of a good answer.
fn body(mut answer: Vec<u8>) -> Result<Vec<u8>, String> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.ok_or("expected an answer of HTTP")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut first = head.lines().next().unwrap_or("").splitn(3, ' ');
    match (first.next(), first.next()) {
        (Some(version), Some("200")) if version.starts_with("HTTP/1.") => {
            Ok(answer.split_off(end + 4))
        }
        (Some(version), Some(status)) if version.starts_with("HTTP/1.") => {
            Err(format!("HTTP status {status}"))
        }
        _ => Err("expected an answer of HTTP".to_owned()),
    }
}

/// What stands for bytes in the header of who asks.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let at = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let bits = (at(0) << 16) | (at(1) << 8) | at(2);
        for place in 0..4 {
            let sextet = ALPHABET[((bits >> (18 - 6 * place)) & 63) as usize];
            out.push(if place > three.len() {
                '='
            } else {
                char::from(sextet)
            });
        }
    }
    out
}

fn read(answer: &[u8]) -> Result<Vec<Process>, String> {
    let answer = xml::decode(answer).map_err(|error| error.to_string())?;
    if let Some(fault) = answer.child("fault") {
        let members = fault.child("value").map(members).unwrap_or_default();
        let text = members.iter().find(|(name, _)| *name == "faultString");
        return Err(text.map_or("", |(_, text)| *text).to_owned());
    }
    let mut list = Some(&answer);
    for name in ["params", "param", "value", "array", "data"] {
        list = list.and_then(|element| element.child(name));
    }
    let list = list.ok_or("expected a list of processes")?;
    list.children.iter().map(process).collect()
}

/// Names and texts of a structure.
fn members(value: &Element) -> Vec<(&str, &str)> {
    let all = value.child("struct").map_or(&[][..], |all| &all.children);
    let mut found = Vec::with_capacity(all.len());
    for member in all {
        if let (Some(name), Some(value)) = (member.child("name"), member.child("value")) {
            // A text may stand by itself.
            let text = value.children.first().unwrap_or(value);
            found.push((name.text.as_str(), text.text.as_str()));
        }
    }
    found
}

fn process(value: &Element) -> Result<Process, String> {
    let mut found = Process::default();
    for (name, text) in members(value) {
        let number = || {
            let number = text.parse::<i64>();
            number.map_err(|_| format!("{name} is {text:?}, expected a number"))
        };
        match name {
            "name" => text.clone_into(&mut found.name),
            "group" => text.clone_into(&mut found.group),
            "start" => found.start = number()?,
            "state" => found.state = number()?,
            "exitstatus" => found.exit_status = number()?,
            _ => {}
        }
    }
    match found.name.is_empty() {
        true => Err("expected a process with a name".to_owned()),
        false => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufRead;
    use std::net::TcpListener;

    use proptest::prelude::*;

    use super::*;

    fn process(name: &str, state: i64, start: i64, status: i64) -> String {
        let member = |name: &str, value: String| {
            format!("<member><name>{name}</name><value>{value}</value></member>")
        };
        let int = |number: i64| format!("<int>{number}</int>");
        let members = [
            member("name", format!("<string>{name}</string>")),
            member("group", "g &amp; co".to_owned()),
            member("start", int(start)),
            member("state", int(state)),
            member("exitstatus", int(status)),
            member("pid", int(7)),
        ];
        format!("<value><struct>{}</struct></value>", members.concat())
    }

    fn answer(processes: &[String]) -> String {
        let list = processes.concat();
        format!(
            "<?xml version='1.0'?><methodResponse><params><param><value><array><data>{list}\
             </data></array></value></param></params></methodResponse>"
        )
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a server for the test")]
    fn processes_are_told() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let served = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("somebody asks");
            let mut reader = std::io::BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                reader.read_line(&mut head).expect("a head");
            }
            let mut question = vec![0; QUESTION.len()];
            reader.read_exact(&mut question).expect("a question");
            let body = answer(&[
                process("web", 20, 1_700_000_000, 0),
                process("job", 100, 5, 3),
            ]);
            let text = format!("HTTP/1.0 200 OK\r\nServer: x\r\n\r\n{body}");
            reader.get_mut().write_all(text.as_bytes()).expect("told");
            head
        });
        let url = format!("http://u:p@{address}/RPC2");
        let options = Options::from_flags([("collector.supervisord.url", url.as_str())]);
        let source = Source::new("/proc", "/sys", "/");
        let mut sheet = Sheet::default();
        collect(&source, &options.expect("flags"), &mut sheet).expect("collected");
        let head = served.join().expect("served");
        assert!(head.starts_with("POST /RPC2 HTTP/1.0\r\n"), "{head}");
        assert!(head.contains("Authorization: Basic dTpw\r\n"), "{head}");
        let found: Vec<String> = sheet
            .into_families()
            .iter()
            .flat_map(|f| {
                f.points
                    .iter()
                    .map(|p| format!("{}{} {}", f.name, p.labels, p.value))
            })
            .collect();
        let line = |name: &str, process: &str, value: &str| {
            format!("node_supervisord_{name}{{group=\"g & co\", name=\"{process}\"}} {value}")
        };
        let expect = [
            line("exit_status", "web", "0"),
            line("exit_status", "job", "3"),
            line("start_time_seconds", "web", "1700000000"),
            line("state", "web", "20"),
            line("state", "job", "100"),
            line("up", "web", "1"),
            line("up", "job", "0"),
        ];
        let sorted = |mut all: Vec<String>| {
            all.sort();
            all
        };
        assert_eq!(sorted(found), sorted(expect.to_vec()));
    }

    #[test]
    fn other_answers_are_faults() {
        let check = |answer: &str, expect: &str| {
            let told = body(answer.as_bytes().to_vec()).and_then(|body| read(&body).map(drop));
            let told = told.expect_err(answer);
            assert!(told.contains(expect), "{told}");
        };
        check("no", "expected an answer of HTTP");
        check("HTTP/1.0 401 No\r\n\r\n", "HTTP status 401");
        check(
            "HTTP/1.0 200 OK\r\n\r\n<a/>",
            "expected a list of processes",
        );
        let fault = "<methodResponse><fault><value><struct><member><name>faultString</name>\
                     <value><string>UNKNOWN_METHOD</string></value></member></struct></value></fault></methodResponse>";
        check(&format!("HTTP/1.0 200 OK\r\n\r\n{fault}"), "UNKNOWN_METHOD");
        assert!(ask("https://h/RPC2").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn arbitrary_answers(text in "(<value>|<struct>|</struct>|<member>|<name>|</[a-z]{1,6}>|[a-z ]{0,9}|HTTP/1.0 200 OK\r\n\r\n){0,20}") {
            if let Ok(body) = body(text.clone().into_bytes()) {
                prop_assert!(read(&body).map_or(0, |all| all.len()) <= text.len());
            }
        }

        #[test]
        fn credentials_have_the_length_of_base64(bytes in proptest::collection::vec(any::<u8>(), 0..30)) {
            prop_assert_eq!(base64(&bytes).len(), bytes.len().div_ceil(3) * 4);
        }
    }
}
