//! A control server that answers from a list, on a socket in a directory of its own. A request that is
//! not in the list gets no answer: the connection is closed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// A healthy status.
pub(crate) const STATUS: &str = concat!(
    r#"{"version":1,"daemon_version":"9.9.9","node":"fra-1","#,
    r#""id":"0101010101010101010101010101010101010101010101010101010101010101","#,
    r#""cluster":"c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1","#,
    r#""zone":"fra","backend":"userspace","backend_reason":"as configured","interface":"mesh0","#,
    r#""listen_port":51840,"mtu":1420,"mesh_address":"fd00::1","#,
    r#""public_key":"ERERERERERERERERERERERERERERERERERERERERERE=","candidates":[],"discovery":[],"#,
    r#""members":2,"peers_up":2,"peers_down":0,"problems":[]}"#,
);

/// The server; its socket goes away with it. Its thread ends with the test process.
#[derive(Debug)]
pub(crate) struct FakeDaemon {
    _dir: tempfile::TempDir,
    socket: PathBuf,
    seen: Arc<Mutex<Vec<String>>>,
}

impl FakeDaemon {
    /// Answers `(method and target, status, body)`.
    pub(crate) fn start(answers: &[(&str, u16, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("meshd.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let answers: Vec<(String, u16, String)> = answers
            .iter()
            .map(|(request, status, body)| ((*request).to_owned(), *status, (*body).to_owned()))
            .collect();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(&stream.unwrap(), &answers, &log);
            }
        });
        Self {
            _dir: dir,
            socket,
            seen,
        }
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Methods and targets asked so far.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn answer(stream: &UnixStream, answers: &[(String, u16, String)], log: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream).lines();
    let Some(Ok(first)) = lines.next() else {
        return;
    };
    for line in lines {
        if line.is_ok_and(|line| line.is_empty()) {
            break;
        }
    }
    let request = first.trim_end_matches(" HTTP/1.1").to_owned();
    log.lock().unwrap().push(request.clone());
    let Some((_, status, body)) = answers.iter().find(|(known, _, _)| *known == request) else {
        return;
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    // A client that hung up is the client's matter.
    let _ = (&*stream).write_all((head + body).as_bytes());
}
