//! What the tests share: configurations, issuers, certificates, and requests to pages.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use conclave_tests::client::{Client, reason};
use conclave_tests::command::{Ran, conclave};
use conclave_tests::host::{Host, Setup};
use conclave_tests::patience::within;
use conclave_tests::stub_server::StubServer;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::transport::Endpoint;
use tonic::{Code, Status};

/// A directory for files that a host reads.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A host on loopback with this configuration.
    pub(crate) fn setup(&self, stub: &StubServer, config: &str) -> Setup {
        let path = self.write("conclave.toml", config);
        let setup = Setup::asking(stub).unwrap();
        setup.arg("--config").arg(path.display().to_string())
    }
}

/// A fresh token with its entry in the configuration.
pub(crate) async fn token(name: &str, role: &str, tenant: &str) -> (String, String) {
    let args = ["token", "new", name, "--role", role, "--tenant", tenant];
    let made: Ran = conclave(&args).await.unwrap();
    assert_eq!(made.code, Some(0), "{made:?}");
    let (token, entry) = made.out.split_once('\n').unwrap();
    (token.to_owned(), entry.to_owned())
}

/// A host's address as a test reaches it, whatever it is bound to.
pub(crate) fn near(addr: SocketAddr) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], addr.port()))
}

pub(crate) async fn client(host: &Host, token: &str) -> Client {
    let endpoint = Endpoint::from_shared(format!("http://{}", near(host.grpc_addr())));
    let token = Some(token).filter(|token| !token.is_empty());
    Client::connect_to(endpoint.unwrap(), token).await.unwrap()
}

/// Code and reason of a refusal.
pub(crate) fn told<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.expect_err("it is refused");
    (status.code(), reason(&status))
}

pub(crate) fn unauthenticated(reason: &str) -> (Code, String) {
    (Code::Unauthenticated, reason.to_owned())
}

/// Somebody who signs tokens.
pub(crate) struct Issuer {
    key: EncodingKey,
    id: String,
    pub(crate) public_pem: String,
}

impl Issuer {
    pub(crate) fn new(id: &str) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        Self {
            key: EncodingKey::from_ec_der(pair.serialized_der()),
            id: id.to_owned(),
            public_pem: pair.public_key_pem(),
        }
    }

    /// What it publishes.
    pub(crate) fn jwks(&self) -> String {
        let mut jwk = Jwk::from_encoding_key(&self.key, Algorithm::ES256).unwrap();
        jwk.common.key_id = Some(self.id.clone());
        json!({ "keys": [jwk] }).to_string()
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.id.clone());
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }
}

/// The claims of a client of the tenant, with a change.
pub(crate) fn claims(tenant: &str, change: &[(&str, Value)]) -> Value {
    let mut claims = json!({
        "iss": "https://issuer.test", "aud": "conclave", "sub": "ann",
        "exp": jsonwebtoken::get_current_timestamp() + 600,
        "conclave_role": "client", "tenant": tenant,
    });
    for (name, value) in change {
        claims[*name] = value.clone();
    }
    claims
}

/// A page with the keys of an issuer.
pub(crate) struct KeyPage {
    addr: SocketAddr,
    state: Arc<Mutex<(String, usize)>>,
}

impl KeyPage {
    pub(crate) fn start(keys: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new((keys, 0)));
        let shown = Arc::clone(&state);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                let mut shown = shown.lock().unwrap();
                shown.1 += 1;
                let body = &shown.0;
                let length = body.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
            }
        });
        Self { addr, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/keys", self.addr)
    }

    pub(crate) fn show(&self, keys: String) {
        self.state.lock().unwrap().0 = keys;
    }

    /// How often it was asked for.
    pub(crate) fn asked(&self) -> usize {
        self.state.lock().unwrap().1
    }
}

/// Asks a page of the host: the status, and all that was answered.
pub(crate) async fn page(addr: SocketAddr, path: &str, token: &str) -> (u16, String) {
    let authorization = match token {
        "" => String::new(),
        token => format!("authorization: Bearer {token}\r\n"),
    };
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{authorization}\r\n");
    let asked = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    let answer = within("a page", asked).await.unwrap().unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

/// The lines of the audit log in a file.
pub(crate) fn audited(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}
