//! Client of the control API: one HTTP/1.1 request over the Unix socket, or over TCP with a token; JSON
//! back.

use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::http::request::Builder;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use mesh_proto::control::ControlError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use zeroize::Zeroizing;

use crate::failure::Failure;

/// Longer than the daemon takes to give up on an answer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The topology of a thousand nodes is about 60 MiB.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// One event is a few hundred bytes.
const MAX_LINE_BYTES: usize = 1024 * 1024;

/// Asks one daemon.
#[derive(Debug)]
pub(crate) struct Client {
    /// The socket, or what messages call the remote daemon.
    place: PathBuf,
    remote: Option<Remote>,
}

/// A daemon over TCP.
struct Remote {
    address: SocketAddr,
    token: Zeroizing<String>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Client {
    pub(crate) const fn new(socket: PathBuf) -> Self {
        Self {
            place: socket,
            remote: None,
        }
    }

    /// The daemon with `remote.listen` at `address`; the token is the word in `token_file`.
    pub(crate) fn remote(address: SocketAddr, token_file: &Path) -> Result<Self, Failure> {
        let read = std::fs::read_to_string(token_file);
        let text = Zeroizing::new(read.map_err(Failure::file("read", token_file))?);
        Ok(Self {
            place: address.to_string().into(),
            remote: Some(Remote {
                address,
                token: Zeroizing::new(text.trim().to_owned()),
            }),
        })
    }

    /// `GET` of a document.
    pub(crate) fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, Failure> {
        self.call(Method::GET, target, String::new())
    }

    /// `POST` without a body.
    pub(crate) fn post<T: DeserializeOwned>(&self, target: &str) -> Result<T, Failure> {
        self.call(Method::POST, target, String::new())
    }

    /// `POST` of a document.
    pub(crate) fn post_document<T: DeserializeOwned>(
        &self,
        target: &str,
        document: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = serde_json::to_string(document);
        let body = body.map_err(|error| Failure::Protocol(error.to_string()))?;
        self.call(Method::POST, target, body)
    }

    /// `GET` of lines without end: each goes to `line` as it comes. Returns when the daemon ends
    /// them, or `line` says false: nobody wants more.
    pub(crate) fn follow(
        &self,
        target: &str,
        mut line: impl FnMut(&str) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        self.runtime()?.block_on(async {
            let response = self.open(Method::GET, target, String::new()).await?;
            let status = response.status();
            if !status.is_success() {
                let body = read(&self.place, response).await?;
                return Err(self.refusal(status, &body));
            }
            let mut waiting = Vec::new();
            let mut body = pin!(response.into_body());
            while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
                let frame =
                    frame.map_err(|error| Failure::no_answer(&self.place, &error.to_string()))?;
                waiting.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                while let Some(end) = waiting.iter().position(|byte| *byte == b'\n') {
                    let rest = waiting.split_off(end + 1);
                    if !line(String::from_utf8_lossy(&waiting).trim_end())? {
                        return Ok(());
                    }
                    waiting = rest;
                }
                if waiting.len() > MAX_LINE_BYTES {
                    return Err(Failure::Protocol("a line is too long".to_owned()));
                }
            }
            Ok(())
        })
    }

    fn runtime(&self) -> Result<tokio::runtime::Runtime, Failure> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Failure::file("start the runtime for", &self.place))
    }

    fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: String,
    ) -> Result<T, Failure> {
        let (status, body) = self
            .runtime()?
            .block_on(async {
                tokio::time::timeout(TIMEOUT, self.exchange(method, target, body)).await
            })
            .map_err(|_| {
                let why = format!("waited {} s", TIMEOUT.as_secs());
                Failure::no_answer(&self.place, &why)
            })??;
        if status.is_success() {
            return serde_json::from_slice(&body)
                .map_err(|error| Failure::Protocol(error.to_string()));
        }
        Err(self.refusal(status, &body))
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> Failure {
        let message = serde_json::from_slice::<ControlError>(body).map_or_else(
            |_| format!("meshd answered with status {status}"),
            |error| error.error,
        );
        match status {
            StatusCode::GATEWAY_TIMEOUT => Failure::no_answer(&self.place, &message),
            _ => Failure::Refused(message),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        target: &str,
        body: String,
    ) -> Result<(StatusCode, Vec<u8>), Failure> {
        let response = self.open(method, target, body).await?;
        let status = response.status();
        Ok((status, read(&self.place, response).await?))
    }

    async fn open(
        &self,
        method: Method,
        target: &str,
        body: String,
    ) -> Result<Response<Incoming>, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", "meshd");
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let Some(remote) = &self.remote else {
            let connected = UnixStream::connect(&self.place).await;
            let stream = connected.map_err(|error| Failure::connect(&self.place, &error))?;
            return self.send(stream, request, body).await;
        };
        let connected = TcpStream::connect(remote.address).await;
        let stream = connected.map_err(|error| Failure::connect_remote(remote.address, &error))?;
        let token = format!("Bearer {}", *remote.token);
        self.send(stream, request.header("authorization", token), body)
            .await
    }

    async fn send(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: Builder,
        body: String,
    ) -> Result<Response<Incoming>, Failure> {
        let lost = |error: hyper::Error| Failure::no_answer(&self.place, &error.to_string());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(lost)?;
        // Its errors reach the request as well.
        tokio::spawn(connection);
        let request = request
            .body(body)
            .map_err(|error| Failure::Usage(format!("cannot ask for this: {error}")))?;
        sender.send_request(request).await.map_err(lost)
    }
}

async fn read(socket: &Path, response: Response<Incoming>) -> Result<Vec<u8>, Failure> {
    let mut body = pin!(response.into_body());
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame = frame.map_err(|error| Failure::no_answer(socket, &error.to_string()))?;
        if let Some(data) = frame.data_ref() {
            if bytes.len() + data.len() > MAX_ANSWER_BYTES {
                return Err(Failure::Protocol("the answer is too large".to_owned()));
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes)
}

/// Percent-encodes one segment of a path or one value of a query (RFC 3986 section 2.3).
pub(crate) fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_encoded() {
        assert_eq!(segment("fra-1~ab12.x_y"), "fra-1~ab12.x_y");
        assert_eq!(segment("a/b?c d\u{e4}"), "a%2Fb%3Fc%20d%C3%A4");
    }
}
