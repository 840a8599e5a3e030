//! Making the HTTP client of a session. A new session has a new client: nothing of an old network is
//! left in a connection pool.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response, Url};

use super::error::RequestError;
use super::session::Session;

/// Long enough for the second SYN, which follows the first after a second.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(2500);
/// A connection that got no acknowledgement for this long is dead: several retransmissions, or three
/// keep-alives, and a watcher learns of changes late for no longer.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(4);
/// Between keep-alives on a silent stream, about 100 bytes a second.
const TCP_KEEPALIVE: Duration = Duration::from_secs(1);
const POOL_IDLE: Duration = Duration::from_secs(30);

/// Connects to `url` at one of `addresses`. The response of `/v1/info` tells which.
pub(super) async fn connect(
    url: &Url,
    host: &str,
    addresses: Vec<SocketAddr>,
    ca: Option<Vec<u8>>,
) -> Result<(Session, Response), RequestError> {
    let (secure, name) = (url.scheme() == "https", host.to_owned());
    // Reads the system's certificates from disk.
    let built = tokio::task::spawn_blocking(move || build(secure, &name, &addresses, ca)).await;
    let client = match built {
        Ok(Ok(client)) => client,
        Ok(Err(error)) => return Err(RequestError::transport(url, &error)),
        Err(error) => return Err(RequestError::malformed(url, error.to_string())),
    };
    Session::begin(client, url.clone()).await
}

fn build(
    secure: bool,
    host: &str,
    addresses: &[SocketAddr],
    ca: Option<Vec<u8>>,
) -> Result<Client, reqwest::Error> {
    let mut builder = Client::builder()
        .user_agent(concat!("meshd/", env!("CARGO_PKG_VERSION")))
        // Watch streams behind a proxy from the environment would stall; signed paths cannot follow.
        .no_proxy()
        .redirect(Policy::none())
        // The stream and the short requests each have a connection: one that dies takes one along.
        .http1_only()
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_user_timeout(TCP_USER_TIMEOUT)
        .tcp_keepalive(TCP_KEEPALIVE)
        .tcp_keepalive_interval(TCP_KEEPALIVE)
        .pool_idle_timeout(POOL_IDLE)
        .resolve_to_addrs(host, addresses);
    match ca {
        Some(pem) => builder = builder.tls_certs_only(Certificate::from_pem_bundle(&pem)?),
        // A host without any system certificates can still talk plain HTTP.
        None if !secure => builder = builder.tls_certs_only([]),
        None => {}
    }
    builder.build()
}
