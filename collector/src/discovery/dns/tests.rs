//! Names asked of a server of our own.

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::super::poll::tests::{discovery, lines};
use super::*;
use crate::config::Discovery;

/// A record with a pointer to the name of the question.
fn record(kind: u16, data: &[u8]) -> Vec<u8> {
    let mut out = vec![0xc0, 12];
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
    out.extend_from_slice(&(data.len() as u16).to_be_bytes());
    out.extend_from_slice(data);
    out
}

/// The answer to a question.
fn answer(question: &[u8], code: u8, cut: bool, records: &[Vec<u8>]) -> Vec<u8> {
    let mut out = question.to_vec();
    out[2] = 0x81 | if cut { 2 } else { 0 };
    out[3] = 0x80 | code;
    out[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    records
        .iter()
        .for_each(|record| out.extend_from_slice(record));
    out
}

fn answer_to(question: &[u8], over_tcp: bool) -> Vec<u8> {
    let asks = |name: &[u8]| question[12..].starts_with(name);
    let target = b"\x04host\x07example\0";
    if asks(b"\x04_srv\x07example\0") {
        let data = [&[0, 1, 0, 2, 0x1f, 0x90][..], target].concat();
        return answer(question, 0, false, &[record(33, &data)]);
    }
    if asks(b"\x04mail\x07example\0") {
        let data = [&[0, 10][..], target].concat();
        return answer(question, 0, false, &[record(15, &data)]);
    }
    if asks(b"\x03web\x07example\0") {
        let alias = record(5, target);
        let all = [alias, record(1, &[10, 0, 0, 1]), record(1, &[10, 0, 0, 2])];
        return answer(question, 0, false, &all);
    }
    if asks(b"\x03six\x07example\0") {
        let data = [[0; 15].as_slice(), &[1]].concat();
        return answer(question, 0, false, &[record(28, &data)]);
    }
    if asks(b"\x04long\0") {
        let all = [record(1, &[10, 0, 0, 3])];
        return match over_tcp {
            true => answer(question, 0, false, &all),
            false => answer(question, 0, true, &[]),
        };
    }
    answer(
        question,
        if asks(b"\x06broken\0") { 2 } else { 3 },
        false,
        &[],
    )
}

async fn server() -> (Resolver, JoinSet<()>) {
    // The same port for both, as it must be.
    let (listener, socket) = loop {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        if let Ok(socket) = UdpSocket::bind(address).await {
            break (listener, socket);
        }
    };
    let address = listener.local_addr().expect("an address");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut bytes = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut bytes).await {
            let answer = answer_to(&bytes[..length], false);
            socket.send_to(&answer, from).await.expect("sent");
        }
    });
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let length = stream.read_u16().await.expect("a length");
            let mut bytes = vec![0; usize::from(length)];
            stream.read_exact(&mut bytes).await.expect("a question");
            let answer = answer_to(&bytes, true);
            stream.write_u16(answer.len() as u16).await.expect("sent");
            stream.write_all(&answer).await.expect("sent");
        }
    });
    let resolver = Resolver {
        servers: vec![address],
        search: vec!["example".to_owned()],
        dots: 1,
    };
    (resolver, tasks)
}

async fn check(resolver: &Resolver, entry: &str, expect: Result<&[&str], &str>) {
    let Discovery::Dns(settings) = discovery(&format!("dns_sd_configs: [{entry}]")) else {
        panic!("{entry}");
    };
    match (ask(&settings, resolver).await, expect) {
        (Ok(groups), Ok(expect)) => assert_eq!(lines(&groups), expect, "{entry}"),
        (Err(fault), Err(expect)) => assert!(fault.contains(expect), "{entry}: {fault}"),
        (got, _) => panic!("{entry}: {got:?}"),
    }
}

#[tokio::test]
async fn records_become_targets() {
    let (resolver, _tasks) = server().await;
    check(
        &resolver,
        "{names: [_srv.example]}",
        Ok(&[
            r#"{__address__="host.example:8080", __meta_dns_name="_srv.example", __meta_dns_srv_record_port="8080", __meta_dns_srv_record_target="host.example."}"#,
        ]),
    )
    .await;
    check(
        &resolver,
        "{names: [mail], type: MX, port: 25}",
        Ok(&[
            r#"{__address__="host.example:25", __meta_dns_mx_record_target="host.example.", __meta_dns_name="mail"}"#,
        ]),
    )
    .await;
    check(
        &resolver,
        "{names: [web.example.], type: a, port: 80}",
        Ok(&[
            r#"{__address__="10.0.0.1:80", __meta_dns_name="web.example."}"#,
            r#"{__address__="10.0.0.2:80", __meta_dns_name="web.example."}"#,
        ]),
    )
    .await;
    check(
        &resolver,
        "{names: [six], type: AAAA, port: 80}",
        Ok(&[r#"{__address__="[::1]:80", __meta_dns_name="six"}"#]),
    )
    .await;
    let long = r#"{__address__="10.0.0.3:1", __meta_dns_name="long."}"#;
    check(&resolver, "{names: [long.], type: A, port: 1}", Ok(&[long])).await;
    check(&resolver, "{names: [none]}", Ok(&[])).await;
    check(&resolver, "{names: [broken.]}", Err("code 2")).await;
}

#[test]
fn the_systems_file() {
    let text =
        "# x\nnameserver 10.0.0.1 ; y\nnameserver ::1\nsearch a.b c\noptions timeout:1 ndots:2\n";
    let resolver = Resolver::read(text);
    assert_eq!(resolver.servers.len(), 2);
    assert_eq!(resolver.names("x"), ["x.a.b.", "x.c.", "x."]);
    assert_eq!(
        resolver.names("x.y.z"),
        ["x.y.z.", "x.y.z.a.b.", "x.y.z.c."]
    );
    assert_eq!(resolver.names("x."), ["x."]);
}
