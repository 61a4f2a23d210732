//! An address that stays: connections to it are passed on to a server that ends and starts again, at
//! another port each time.
//!
//! Invariant: the port is this process' for as long as it runs, so that nobody else can take it while
//! the server is away; whoever connects then is sent away.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// The address and who is behind it.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) address: String,
    server: Arc<Mutex<Option<String>>>,
}

impl Relay {
    /// A relay to nobody yet.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let server: Arc<Mutex<Option<String>>> = Arc::default();
        let behind = Arc::clone(&server);
        // Ends with the process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let to = behind
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                if let Some(to) = to {
                    std::thread::spawn(move || pass_on(&client, &to));
                }
            }
        });
        Self { address, server }
    }

    /// Passes on to this server from now on, or to nobody.
    pub(crate) fn to(&self, server: Option<String>) {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = server;
    }
}

/// Copies both ways until one side ends.
fn pass_on(client: &TcpStream, to: &str) -> Option<()> {
    let server = TcpStream::connect(to).ok()?;
    let (mut from, mut into) = (client.try_clone().ok()?, server.try_clone().ok()?);
    let there = std::thread::spawn(move || {
        // Either side may go first.
        drop(std::io::copy(&mut from, &mut into));
        drop(into.shutdown(Shutdown::Write));
    });
    let (mut from, mut into) = (server, client.try_clone().ok()?);
    drop(std::io::copy(&mut from, &mut into));
    // A server that is gone takes no more, and its client hears of it.
    drop(client.shutdown(Shutdown::Both));
    there.join().ok()
}
