//! `meshctl ui`: the live topology for a browser on this machine. Serves one page and its content, to who
//! knows the random word in the address, and only under a name of this machine: a page of another site
//! that has its name resolve to 127.0.0.1 gets nothing. It cannot change anything.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::Session;
use super::topology::{Page, content, fetch, page};
use crate::cli::ColorBy;
use crate::failure::Failure;
use crate::output;

/// What a request may be long.
const MAX_REQUEST_BYTES: u64 = 16 * 1024;
/// A client that is slower than that is not a browser on this machine.
const PATIENCE: Duration = Duration::from_secs(5);
/// Several pages share one answer of the daemon.
const FRESH: Duration = Duration::from_millis(500);

/// The server and what it remembers.
#[derive(Debug)]
struct Ui<'a> {
    session: &'a Session,
    address: SocketAddr,
    token: String,
    last: Option<(Instant, String)>,
}

/// An answer: status line, type, body.
type Answer = (&'static str, &'static str, String);

pub(super) fn run(session: &Session, listen: SocketAddr) -> Result<(), Failure> {
    if !listen.ip().is_loopback() {
        return Err(Failure::Usage(format!(
            "--listen {listen}: the view is for this machine only, choose a loopback address such as 127.0.0.1:8484; \
             from another machine use ssh -L"
        )));
    }
    // Says at once if there is no daemon.
    fetch(session)?;
    let bound = |error| Failure::Refused(format!("cannot listen on {listen}: {error}"));
    let listener = TcpListener::bind(listen).map_err(bound)?;
    let mut ui = Ui {
        session,
        address: listener.local_addr().map_err(bound)?,
        token: random_word()?,
        last: None,
    };
    output::data(&format!("http://{}/{}/\n", ui.address, ui.token))?;
    session.remark("note: open this address in a browser on this machine; Ctrl-C ends it");
    for stream in listener.incoming().flatten() {
        // A browser that hung up is the browser's matter.
        let _ = ui.serve(&stream);
    }
    Ok(())
}

/// 128 random bits in hex.
pub(super) fn random_word() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::Invalid(format!("no random numbers: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Ui<'_> {
    fn serve(&mut self, stream: &TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut lines = BufReader::new(stream.take(MAX_REQUEST_BYTES)).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        let mut host = None;
        for line in lines {
            let line = line?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("host")
            {
                host = Some(value.trim().to_owned());
            }
        }
        let (status, kind, body) = self.answer(&first, host.as_deref());
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}; charset=utf-8\r\ncontent-length: {}\r\n\
             cache-control: no-store\r\nx-content-type-options: nosniff\r\nx-frame-options: DENY\r\n\
             referrer-policy: no-referrer\r\ncross-origin-resource-policy: same-origin\r\nconnection: close\r\n\r\n",
            body.len()
        );
        let mut stream = stream;
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())
    }

    fn answer(&mut self, request: &str, host: Option<&str>) -> Answer {
        let plain = |status, text: &str| (status, "text/plain", format!("{text}\n"));
        let port = self.address.port();
        let own = [self.address.to_string(), format!("localhost:{port}")];
        if !host.is_some_and(|host| own.iter().any(|own| own == host)) {
            return plain("403 Forbidden", "this is not the address meshctl printed");
        }
        let mut words = request.split(' ');
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        if method != "GET" {
            return plain("405 Method Not Allowed", "there is nothing to change here");
        }
        let Some(rest) = target
            .strip_prefix('/')
            .and_then(|t| t.strip_prefix(&*self.token))
        else {
            return plain("404 Not Found", "use the address meshctl printed");
        };
        match rest {
            "/" => self
                .page()
                .map_or_else(failed, |page| ("200 OK", "text/html", page)),
            "/content" => self
                .content()
                .map_or_else(failed, |content| ("200 OK", "text/html", content)),
            _ => plain("404 Not Found", "use the address meshctl printed"),
        }
    }

    fn page(&self) -> Result<String, Failure> {
        let live = format!("/{}/content", self.token);
        Ok(page(
            &fetch(self.session)?,
            &Page {
                color: ColorBy::State,
                nonce: &random_word()?,
                live: Some(&live),
                source: "live",
            },
        ))
    }

    fn content(&mut self) -> Result<String, Failure> {
        if let Some((at, content)) = &self.last
            && at.elapsed() < FRESH
        {
            return Ok(content.clone());
        }
        let content = content(&fetch(self.session)?);
        self.last = Some((Instant::now(), content.clone()));
        Ok(content)
    }
}

fn failed(failure: Failure) -> Answer {
    ("502 Bad Gateway", "text/plain", format!("{failure}\n"))
}
