//! A stub of an OpenAI-compatible model server, for end-to-end tests and benchmarks.
//!
//! It serves `POST /v1/chat/completions`, streamed or not, `GET /v1/models` and `GET /health`. What
//! it does with a request is said by the request's model name, in the words of [`Behaviour`], or by
//! a script for that name. The control endpoints mirror the methods of [`StubServer`]:
//!
//! - `GET /_stub/requests`: `{"requests": […], "unrecorded": n}`, see [`Recorded`];
//! - `POST /_stub/reset`;
//! - `POST /_stub/hold`, `POST /_stub/release` and `POST /_stub/release?count=N`;
//! - `POST /_stub/script` with `{"model": "m", "behaviours": ["status:500", "answer:42"]}`.

mod answer;
mod behaviour;
mod body;
mod chat;
mod gate;
mod plan;
mod record;
mod service;
mod writer;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub use behaviour::{Behaviour, Endless, NoBehaviour};
pub use record::{Recorded, State};
use service::Stub;

/// A running stub; it and its connections end when it is dropped.
#[derive(Debug)]
pub struct StubServer {
    address: SocketAddr,
    stub: Arc<Stub>,
    accepting: JoinSet<Infallible>,
}

impl StubServer {
    /// Starts on a free port of the loopback address.
    ///
    /// # Errors
    /// When there is none.
    pub async fn start() -> io::Result<Self> {
        Self::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts on this address.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let stub = Arc::new(Stub::default());
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&stub)));
        Ok(Self {
            address,
            stub,
            accepting,
        })
    }

    /// Serves until the process ends.
    pub async fn serve(mut self) {
        self.accepting.join_next().await;
    }

    /// The base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request since the start or the last reset, in the order in which they came.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.stub.records.all().requests
    }

    /// Waits until the requests satisfy the condition.
    pub async fn until(&self, condition: impl FnMut(&[Recorded]) -> bool) {
        self.stub.records.until(condition).await;
    }

    /// Forgets requests, counters and scripts, and releases what is held.
    pub fn reset(&self) {
        self.stub.reset();
    }

    /// Holds every generation that comes from now on before its first byte. It counts as running.
    pub fn hold(&self) {
        self.stub.gate.hold();
    }

    /// Lets everything go on that is held, and holds nothing more.
    pub fn release(&self) {
        self.stub.release();
    }

    /// Lets this many of the held generations go on, in the order in which they came; where fewer
    /// are held, later ones pass instead.
    pub fn release_next(&self, count: usize) {
        self.stub.gate.release_next(count);
    }

    /// Makes the n-th request of this model from now on follow the n-th behaviour; the last one
    /// stays.
    pub fn script(&self, model: &str, behaviours: Vec<Behaviour>) {
        self.stub.script(model, behaviours);
    }
}

async fn accept(listener: TcpListener, stub: Arc<Stub>) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // An error concerns the one connection that did not come about.
                if let Ok((stream, _)) = accepted {
                    connections.spawn(connection(stream, Arc::clone(&stub)));
                }
            }
            Some(_) = connections.join_next() => (),
        }
    }
}

async fn connection(stream: TcpStream, stub: Arc<Stub>) {
    // Without it each piece of a stream waits for the last one's acknowledgement; a failure is slow
    // and nothing else.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let stub = Arc::clone(&stub);
        async move { Ok::<_, Infallible>(stub.answer(request).await) }
    });
    // A client that goes away in the middle is an error here, and recorded as an abort.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

#[cfg(test)]
mod tests;
