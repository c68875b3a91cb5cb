//! Accepts connections, and shakes hands with several at once.

use conclave_core::chain::Chain;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info;
use axum::serve::IncomingStream;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::{Connected, TcpIncoming};

use super::{Certificate, Peer, Protocol, Tls};

/// How long a client may take to shake hands: two round trips and a signature.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Handshakes at once. A client that never ends its own holds one of them, for the time above.
const HANDSHAKES_MAX: usize = 512;
/// How long to wait when the system has no more files to give.
const PAUSE: Duration = Duration::from_millis(100);

/// The connections to one address.
pub struct Incoming {
    tcp: TcpIncoming,
    addr: SocketAddr,
    tls: Option<(Tls, Protocol)>,
    pub(super) places: Arc<Semaphore>,
    /// Whether the last client found no place: it is told once.
    crowded: bool,
    handshakes: FuturesUnordered<BoxFuture<'static, Option<Connection>>>,
}

impl Incoming {
    /// Accepts at most `connections_max` connections at once; more are closed at once, so that their
    /// clients learn of it and try again.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn new(
        listener: TcpListener,
        connections_max: usize,
        keepalive: Duration,
        tls: Option<(Tls, Protocol)>,
    ) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        let tcp = TcpIncoming::from(listener)
            .with_nodelay(Some(true))
            .with_keepalive(Some(keepalive));
        Ok(Self {
            tcp,
            addr,
            tls,
            places: Arc::new(Semaphore::new(connections_max)),
            crowded: false,
            handshakes: FuturesUnordered::new(),
        })
    }

    /// The next connection that is ready. Dropping the future loses none.
    pub async fn accept(&mut self) -> Connection {
        loop {
            let accepted = tokio::select! {
                Some(shaken) = self.handshakes.next(), if !self.handshakes.is_empty() => {
                    match shaken {
                        Some(connection) => return connection,
                        None => continue,
                    }
                }
                Some(accepted) = self.tcp.next() => accepted,
            };
            match accepted {
                Ok(stream) => {
                    if let Some(connection) = self.begin(stream) {
                        return connection;
                    }
                }
                Err(error) => pause_after(self.addr, &error).await,
            }
        }
    }

    /// Gives a connection a place; one that needs no handshake is ready.
    fn begin(&mut self, stream: TcpStream) -> Option<Connection> {
        // Closed before it was accepted.
        let addr = stream.peer_addr().ok()?;
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        let shaking = self.tls.is_some() && self.handshakes.len() >= HANDSHAKES_MAX;
        let place = place.filter(|_| !shaking);
        let Some(place) = place else {
            if !self.crowded {
                tracing::warn!(addr = %self.addr, "there are as many connections as may be; more are closed");
            }
            self.crowded = true;
            return None;
        };
        self.crowded = false;
        let peer = Peer {
            addr,
            certificate: None,
        };
        let Some((tls, protocol)) = &self.tls else {
            // One that says nothing would hold its place for ever: nothing above has begun to wait.
            self.handshakes.push(Box::pin(async move {
                let spoken = tokio::time::timeout(HANDSHAKE_TIMEOUT, stream.peek(&mut [0])).await;
                matches!(spoken, Ok(Ok(1))).then_some(Connection {
                    stream: Stream::Plain(stream),
                    peer,
                    place,
                })
            }));
            return None;
        };
        let (tls, protocol) = (tls.clone(), *protocol);
        self.handshakes.push(Box::pin(async move {
            let acceptor = TlsAcceptor::from(tls.config(protocol).await);
            let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await;
            let refused = |why: &dyn fmt::Display| {
                tracing::debug!(peer = %addr, why = %why, "a client could not shake hands");
            };
            match shaken {
                Ok(Ok(stream)) => Some(Connection::of(stream, peer, place)),
                Ok(Err(error)) => {
                    refused(&error);
                    None
                }
                Err(late) => {
                    refused(&late);
                    None
                }
            }
        }));
        None
    }

    /// As a stream, which never ends.
    pub fn into_stream(self) -> impl futures::Stream<Item = io::Result<Connection>> {
        futures::stream::unfold(self, |mut incoming| async move {
            Some((Ok(incoming.accept().await), incoming))
        })
    }
}

/// An error may concern one client alone, or all: then the next attempt fails likewise.
async fn pause_after(addr: SocketAddr, error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    if matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    ) {
        return;
    }
    tracing::error!(
        %addr,
        error = %Chain(error),
        "no connection can be accepted now"
    );
    tokio::time::sleep(PAUSE).await;
}

impl axum::serve::Listener for Incoming {
    type Io = Connection;
    type Addr = Peer;

    async fn accept(&mut self) -> (Connection, Peer) {
        let connection = Self::accept(self).await;
        let peer = connection.peer.clone();
        (connection, peer)
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer {
            addr: self.addr,
            certificate: None,
        })
    }
}

impl connect_info::Connected<IncomingStream<'_, Incoming>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Incoming>) -> Self {
        stream.remote_addr().clone()
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("addr", &self.addr)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// A connection, with its place among those that may be.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    peer: Peer,
    #[expect(dead_code, reason = "dropping it gives the place back")]
    place: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    fn of(stream: TlsStream<TcpStream>, mut peer: Peer, place: OwnedSemaphorePermit) -> Self {
        let shown = stream.get_ref().1.peer_certificates();
        let own = shown.and_then(<[_]>::first);
        peer.certificate = own.map(|der| Arc::new(Certificate::of(der)));
        Self {
            stream: Stream::Tls(Box::new(stream)),
            peer,
            place,
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
