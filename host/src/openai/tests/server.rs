//! A server that does over TCP exactly what a test says.

use std::sync::Arc;
use std::time::Duration;

use conclave_core::endpoint::Endpoint;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// What the server does next with a connection; after the last step it reads the next request.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Send(String),
    Wait(Duration),
    /// Ends the connection in order.
    Close,
    /// Ends the connection with a reset.
    Reset,
    /// Waits until the client ends the connection.
    Hang,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Received {
    /// Counts connections from 1.
    pub(super) connection: usize,
    pub(super) head: String,
    pub(super) body: String,
}

impl Received {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) requests: Vec<Received>,
    /// Connections that hang at this moment.
    pub(super) hanging: usize,
    /// Hanging connections that the client ended.
    pub(super) closed: usize,
}

/// The server; it ends when it is dropped.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) endpoint: Endpoint,
    seen: watch::Sender<Seen>,
    _tasks: JoinSet<()>,
}

impl Server {
    /// Starts on a free port; `script` gets the number of the request, from 1, and the request.
    pub(super) async fn start<F>(script: F) -> Self
    where
        F: Fn(usize, &Received) -> Vec<Step> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = watch::Sender::new(Seen::default());
        let script: Arc<F> = Arc::new(script);
        let mut tasks = JoinSet::new();
        tasks.spawn({
            let seen = seen.clone();
            async move {
                let mut connections = JoinSet::new();
                for connection in 1.. {
                    let (stream, _) = listener.accept().await.unwrap();
                    connections.spawn(serve(stream, connection, Arc::clone(&script), seen.clone()));
                }
            }
        });
        Self {
            endpoint: Endpoint::parse(&format!("http://{address}")).unwrap(),
            seen,
            _tasks: tasks,
        }
    }

    /// Starts a server that does the same with every request.
    pub(super) async fn always(steps: Vec<Step>) -> Self {
        Self::start(move |_, _| steps.clone()).await
    }

    pub(super) fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    pub(super) fn watch(&self) -> watch::Receiver<Seen> {
        self.seen.subscribe()
    }

    /// Waits until the server has seen what the test waits for.
    pub(super) async fn until(&self, condition: impl FnMut(&Seen) -> bool) {
        let mut seen = self.seen.subscribe();
        let waited = timeout(Duration::from_secs(20), seen.wait_for(condition)).await;
        assert!(waited.is_ok(), "it never came: {:?}", self.seen());
    }
}

async fn serve<F>(
    mut stream: TcpStream,
    connection: usize,
    script: Arc<F>,
    seen: watch::Sender<Seen>,
) where
    F: Fn(usize, &Received) -> Vec<Step>,
{
    while let Some((head, body)) = read_request(&mut stream).await {
        let received = Received {
            connection,
            head,
            body,
        };
        let mut number = 0;
        seen.send_modify(|seen| {
            seen.requests.push(received.clone());
            number = seen.requests.len();
        });
        for step in script(number, &received) {
            match step {
                Step::Send(text) => {
                    if stream.write_all(text.as_bytes()).await.is_err() {
                        return;
                    }
                }
                Step::Wait(time) => sleep(time).await,
                Step::Close => return,
                Step::Reset => {
                    stream.set_zero_linger().unwrap();
                    return;
                }
                Step::Hang => {
                    seen.send_modify(|seen| seen.hanging += 1);
                    while stream.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {}
                    seen.send_modify(|seen| {
                        seen.hanging -= 1;
                        seen.closed += 1;
                    });
                    return;
                }
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lower = head.to_ascii_lowercase();
            let length: usize = match lower.split_once("content-length: ") {
                Some((_, length)) => length.lines().next()?.parse().ok()?,
                None => 0,
            };
            if body.len() >= length {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// A whole response with its length.
pub(super) fn response(status: u16, headers: &str, body: &str) -> Step {
    let length = body.len();
    Step::Send(format!(
        "HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n{body}"
    ))
}

/// The head of a stream.
pub(super) fn stream_head() -> Step {
    Step::Send(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
         transfer-encoding: chunked\r\n\r\n"
            .to_owned(),
    )
}

/// A piece of a stream.
pub(super) fn piece(text: &str) -> Step {
    Step::Send(format!("{:x}\r\n{text}\r\n", text.len()))
}

/// The regular end of a stream.
pub(super) fn stream_end() -> Step {
    Step::Send("0\r\n\r\n".to_owned())
}

/// An event with a token.
pub(super) fn token(text: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
}

/// What follows the tokens in a good stream.
pub(super) const ENDING: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
    data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}\n\n\
    data: [DONE]\n\n";

/// A good stream of two tokens, `4` and `2`.
pub(super) fn good_answer() -> Vec<Step> {
    vec![
        stream_head(),
        piece(&token("4")),
        piece(&format!("{}{ENDING}", token("2"))),
        stream_end(),
    ]
}
