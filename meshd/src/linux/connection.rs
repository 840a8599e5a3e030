//! One netlink connection: requests with an answer in bounded time. Knows nothing of what it carries.

use std::io;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::sys::AsyncSocket;

/// How long the kernel may take to answer. It answers in microseconds unless an answer was lost.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How often a listing is repeated because the kernel says it changed underway.
const LISTING_ATTEMPTS: usize = 4;

/// Why netlink could not be used or the host's state not be read.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No connection.
    #[error("cannot open a netlink connection: {0}")]
    Open(#[source] io::Error),
    /// A listing failed.
    #[error("cannot read the host's {what}: {source}")]
    Read {
        /// What was to be read.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl NetlinkError {
    /// For `map_err`.
    pub(super) fn reading(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Read { what, source }
    }
}

/// An open connection; its task ends with the last handle.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    handle: rtnetlink::Handle,
    port: u32,
}

impl Connection {
    /// Opens a connection in the network namespace of the calling thread. Needs a tokio runtime.
    pub(super) fn open() -> io::Result<Self> {
        let (mut connection, handle, _unsolicited) = rtnetlink::new_connection()?;
        connection.set_forward_done(true);
        let socket = connection.socket_mut().socket_mut();
        let port = socket.bind_auto()?.port_number();
        // With it the kernel filters listings by table. Without it (before Linux 4.20) they are
        // longer, and the filter on our side does the same.
        if let Err(error) = socket.set_netlink_get_strict_chk(true) {
            tracing::debug!(%error, "netlink without strict checking");
        }
        tokio::spawn(connection);
        Ok(Self { handle, port })
    }

    /// The port by which the kernel marks notifications of changes that this connection made.
    pub(super) const fn port(&self) -> u32 {
        self.port
    }

    /// Lists everything that `message` selects.
    pub(super) async fn list(
        &self,
        message: RouteNetlinkMessage,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut attempt = 1;
        loop {
            let answer = self
                .request(message.clone(), NLM_F_REQUEST | NLM_F_DUMP)
                .await?;
            if !answer.interrupted || attempt == LISTING_ATTEMPTS {
                return Ok(answer.messages);
            }
            attempt += 1;
        }
    }

    /// Asks for one thing.
    pub(super) async fn get(
        &self,
        message: RouteNetlinkMessage,
    ) -> io::Result<Option<RouteNetlinkMessage>> {
        let answer = self.request(message, NLM_F_REQUEST).await?;
        Ok(answer.messages.into_iter().next())
    }

    /// Changes something; `flags` are of the `NLM_F_CREATE` kind.
    pub(super) async fn change(&self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.request(message, NLM_F_REQUEST | NLM_F_ACK | flags)
            .await
            .map(|_| ())
    }

    async fn request(&self, message: RouteNetlinkMessage, flags: u16) -> io::Result<Answer> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = flags;
        let answers =
            self.handle.clone().request(request).map_err(|_| {
                io::Error::new(io::ErrorKind::BrokenPipe, "netlink connection closed")
            })?;
        tokio::time::timeout(ANSWER_WITHIN, collect(answers))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer from the kernel"))?
    }
}

struct Answer {
    messages: Vec<RouteNetlinkMessage>,
    interrupted: bool,
}

async fn collect(
    answers: impl Stream<Item = NetlinkMessage<RouteNetlinkMessage>>,
) -> io::Result<Answer> {
    let mut collected = Answer {
        messages: Vec::new(),
        interrupted: false,
    };
    let mut answers = std::pin::pin!(answers);
    while let Some(answer) = answers.next().await {
        collected.interrupted |= answer.header.flags & NLM_F_DUMP_INTR != 0;
        match answer.payload {
            NetlinkPayload::InnerMessage(message) => collected.messages.push(message),
            NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
            NetlinkPayload::Done(done) if done.code < 0 => {
                return Err(io::Error::from_raw_os_error(-done.code));
            }
            NetlinkPayload::Overrun(_) => {
                return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
            }
            _ => {}
        }
    }
    Ok(collected)
}
