//! Client of the control socket: one HTTP/1.1 request over a Unix connection, JSON back.

use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use mesh_proto::control::ControlError;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::failure::Failure;

/// Longer than the daemon takes to give up on an answer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The topology of a thousand nodes is about 60 MiB.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// Asks one daemon.
#[derive(Debug)]
pub(crate) struct Client {
    socket: PathBuf,
}

impl Client {
    pub(crate) const fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// `GET` of a document.
    pub(crate) fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, Failure> {
        self.call(Method::GET, target)
    }

    /// `POST` without a body.
    pub(crate) fn post<T: DeserializeOwned>(&self, target: &str) -> Result<T, Failure> {
        self.call(Method::POST, target)
    }

    fn call<T: DeserializeOwned>(&self, method: Method, target: &str) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Failure::file("start the runtime for", &self.socket))?;
        let (status, body) = runtime
            .block_on(async {
                tokio::time::timeout(TIMEOUT, exchange(&self.socket, method, target)).await
            })
            .map_err(|_| {
                let why = format!("waited {} s", TIMEOUT.as_secs());
                Failure::no_answer(&self.socket, &why)
            })??;
        if status.is_success() {
            return serde_json::from_slice(&body)
                .map_err(|error| Failure::Protocol(error.to_string()));
        }
        let message = serde_json::from_slice::<ControlError>(&body).map_or_else(
            |_| format!("meshd answered with status {status}"),
            |error| error.error,
        );
        Err(match status {
            StatusCode::GATEWAY_TIMEOUT => Failure::no_answer(&self.socket, &message),
            _ => Failure::Refused(message),
        })
    }
}

async fn exchange(
    socket: &Path,
    method: Method,
    target: &str,
) -> Result<(StatusCode, Vec<u8>), Failure> {
    let lost = |error: hyper::Error| Failure::no_answer(socket, &error.to_string());
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|error| Failure::connect(socket, &error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(lost)?;
    // Its errors reach the request as well.
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header("host", "meshd")
        .body(String::new())
        .map_err(|error| Failure::Usage(format!("cannot ask for {target}: {error}")))?;
    let response = sender.send_request(request).await.map_err(lost)?;
    let status = response.status();
    Ok((status, read(socket, response).await?))
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
