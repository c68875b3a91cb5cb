use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    /// A certificate with its key.
    fn sound() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let files = Self { dir };
        files.write("certificate.pem", &certificate.pem());
        files.write("key.pem", &key.serialize_pem());
        files
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).unwrap();
    }

    fn settings(&self) -> Settings {
        Settings {
            certificate: self.dir.path().join("certificate.pem"),
            key: self.dir.path().join("key.pem"),
            client_ca: None,
        }
    }
}

#[test]
fn files_that_cannot_be_used_are_named_with_their_key() {
    let told = |change: &dyn Fn(&Files)| {
        let files = Files::sound();
        change(&files);
        let mut settings = files.settings();
        if files.dir.path().join("ca.pem").exists() {
            settings.client_ca = Some(files.dir.path().join("ca.pem"));
        }
        Tls::load(settings)
            .map(drop)
            .map_err(|error| error.to_string())
    };
    assert_eq!(told(&|_| ()), Ok(()));
    let other = KeyPair::generate().unwrap().serialize_pem();
    for (name, text, part) in [
        (
            "certificate.pem",
            "no PEM",
            "`tls.certificate`, has no certificate",
        ),
        (
            "certificate.pem",
            other.as_str(),
            "`tls.certificate`, has no certificate",
        ),
        ("key.pem", "", "`tls.key`, has no private key"),
        (
            "key.pem",
            other.as_str(),
            "`tls.certificate` and `tls.key` cannot be used together",
        ),
        ("ca.pem", "", "`tls.client_ca`, has no certificate"),
    ] {
        let error = told(&|files| files.write(name, text)).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
    let missing = told(&|files| std::fs::remove_file(files.settings().key).unwrap());
    assert!(missing.unwrap_err().contains("key.pem"));
}

async fn incoming(connections_max: usize, tls: bool) -> (Incoming, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let tls = tls.then(|| {
        (
            Tls::load(Files::sound().settings()).unwrap(),
            Protocol::Http,
        )
    });
    let keepalive = Duration::from_secs(30);
    let incoming = Incoming::new(listener, connections_max, keepalive, tls).unwrap();
    (incoming, addr)
}

#[tokio::test]
async fn connections_beyond_the_bound_are_closed_until_there_is_a_place() {
    let (mut incoming, addr) = incoming(1, false).await;
    let _first = speaking(addr).await;
    let accepted = incoming.accept().await;
    let mut second = speaking(addr).await;
    let mut byte = [0];
    let closed = tokio::select! {
        _ = incoming.accept() => unreachable!("there is no place"),
        closed = second.read(&mut byte) => closed,
    };
    // Closed, with or without a reset.
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    drop(accepted);
    let _fourth = speaking(addr).await;
    incoming.accept().await;
}

/// A connection whose client has begun to speak.
async fn speaking(addr: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(b"P").await.unwrap();
    stream
}

#[tokio::test]
async fn a_client_that_says_nothing_keeps_nobody_else_waiting() {
    let (mut incoming, addr) = incoming(8, true).await;
    let _silent = TcpStream::connect(addr).await.unwrap();
    let roots = rustls::RootCertStore::empty();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(addr).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let shaking = tokio::select! {
        _ = incoming.accept() => None,
        shaken = connector.connect(name, stream) => Some(shaken),
    };
    let error = shaking.expect("the client does not trust it").unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_gives_its_place_back() {
    for tls in [true, false] {
        let (mut incoming, addr) = incoming(1, tls).await;
        let mut silent = TcpStream::connect(addr).await.unwrap();
        let mut byte = [0];
        let closed = tokio::select! {
            _ = incoming.accept() => unreachable!("nobody speaks"),
            closed = silent.read(&mut byte) => closed,
        };
        assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
        assert_eq!(incoming.places.available_permits(), 1);
    }
}
