//! A dashboard on a free port, whose answers a test scripts.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::super::Address;

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// Method, path and query.
    pub(super) what: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Call {
    pub(super) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }
}

/// What the dashboard does with it.
#[derive(Debug)]
pub(super) enum Reply {
    Answer(u16, String),
    /// Nothing, for as long as the client waits.
    Silence,
}

pub(super) fn ok(text: impl Into<String>) -> Reply {
    Reply::Answer(200, text.into())
}

/// The dashboard; it ends when it is dropped.
#[derive(Debug)]
pub(super) struct Fake {
    address: Address,
    calls: Arc<Mutex<Vec<Call>>>,
    _server: JoinSet<()>,
}

impl Fake {
    /// `script` gets the number of the call, from 1, and the call.
    pub(super) async fn start<F>(script: F) -> Self
    where
        F: Fn(usize, &Call) -> Reply + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let script = Arc::new(script);
        let seen = Arc::clone(&calls);
        let router = Router::new().fallback(move |request: Request| {
            let (script, seen) = (Arc::clone(&script), Arc::clone(&seen));
            async move { answer(request, &*script, &seen).await }
        });
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address: address.parse().unwrap(),
            calls,
            _server: server,
        }
    }

    pub(super) fn address(&self) -> Address {
        self.address.clone()
    }

    /// All calls so far.
    pub(super) fn calls(&self) -> Vec<Call> {
        lock(&self.calls).clone()
    }

    /// What was called so far.
    pub(super) fn asked(&self) -> Vec<String> {
        self.calls().into_iter().map(|call| call.what).collect()
    }
}

async fn answer<F>(request: Request, script: &F, seen: &Mutex<Vec<Call>>) -> Response
where
    F: Fn(usize, &Call) -> Reply,
{
    let (head, body) = request.into_parts();
    let call = Call {
        what: format!("{} {}", head.method, head.uri),
        headers: head.headers,
        body: to_bytes(body, usize::MAX).await.unwrap(),
    };
    let reply = {
        let mut seen = lock(seen);
        seen.push(call.clone());
        script(seen.len(), &call)
    };
    match reply {
        Reply::Answer(status, text) => {
            let status = StatusCode::from_u16(status).unwrap();
            (status, text).into_response()
        }
        Reply::Silence => std::future::pending().await,
    }
}

fn lock(calls: &Mutex<Vec<Call>>) -> std::sync::MutexGuard<'_, Vec<Call>> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}
