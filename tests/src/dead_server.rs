//! A model server that is down.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// An address at which connections are refused: its port is bound, so that nobody else gets it, and
/// nobody listens. The port is free when this is dropped.
#[derive(Debug)]
pub struct DeadServer {
    address: SocketAddr,
    _bound: TcpSocket,
}

impl DeadServer {
    /// Takes a free port of the loopback address.
    ///
    /// # Errors
    /// When there is none.
    pub fn bind() -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        Ok(Self {
            address: socket.local_addr()?,
            _bound: socket,
        })
    }

    /// The base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}
