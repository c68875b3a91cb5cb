//! A server under test, and an HTTP client of a few lines: version 1.0, so that an answer ends with
//! its connection and dropping one is going away.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Long enough for a machine that compiles beside the tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// The model, fetched as the README says.
static MODEL: LazyLock<String> = LazyLock::new(|| {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fetch-model.sh");
    let output = Command::new(script)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "fetch-model.sh failed");
    let stdout = String::from_utf8(output.stdout).unwrap();
    stdout.lines().last().unwrap().to_owned()
});

/// A running server; dropping it kills it.
pub(crate) struct Server {
    child: Child,
    address: String,
}

/// An answer to a request.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The status line and the headers.
    pub(crate) head: String,
    pub(crate) text: String,
}

impl Server {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_conclave-local-model"))
            .args(["--model", &MODEL])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let url = ready["listening"].as_str().unwrap();
        Self {
            child,
            address: url.strip_prefix("http://").unwrap().to_owned(),
        }
    }

    /// Sends a chat request and waits for the whole answer.
    pub(crate) fn ask(&self, request: &Value) -> Answer {
        self.request("POST", "/v1/chat/completions", &request.to_string())
    }

    /// Sends a chat request; dropping the connection is going away.
    pub(crate) fn send(&self, request: &Value) -> TcpStream {
        self.connect("POST", "/v1/chat/completions", &request.to_string())
    }

    /// Sends a streaming chat request; gives the data of its events.
    pub(crate) fn stream(&self, request: &Value) -> impl Iterator<Item = String> + use<> {
        let lines = BufReader::new(self.send(request)).lines();
        lines.filter_map(|line| Some(line.unwrap().strip_prefix("data: ")?.to_owned()))
    }

    pub(crate) fn request(&self, method: &str, path: &str, body: &str) -> Answer {
        let mut bytes = Vec::new();
        // A server that refuses a long body may close before it has read it all.
        self.connect(method, path, body)
            .read_to_end(&mut bytes)
            .ok();
        let answer = String::from_utf8(bytes).unwrap();
        let (head, text) = answer.split_once("\r\n\r\n").unwrap();
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_lowercase(),
            text: text.to_owned(),
        }
    }

    pub(crate) fn health(&self) -> Value {
        self.request("GET", "/health", "").json()
    }

    /// Asks for the health until it is as wished.
    pub(crate) fn wait_until(&self, wished: impl Fn(&Value) -> bool) {
        let start = Instant::now();
        loop {
            let health = self.health();
            if wished(&health) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "still {health}");
            thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        self.child.wait().unwrap()
    }

    fn connect(&self, method: &str, path: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\ncontent-length: {length}\r\n\r\n"
        )
        .unwrap();
        stream.write_all(body.as_bytes()).ok();
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

/// A chat request of one user message.
pub(crate) fn chat(prompt: &str, extra: Value) -> Value {
    let mut request = json!({
        "model": "smollm2-135m-instruct",
        "messages": [{ "role": "user", "content": prompt }],
    });
    let Value::Object(extra) = extra else {
        panic!("an object");
    };
    request.as_object_mut().unwrap().extend(extra);
    request
}

/// The text of a whole answer.
pub(crate) fn content(answer: &Value) -> String {
    answer["choices"][0]["message"]["content"]
        .as_str()
        .unwrap()
        .to_owned()
}
