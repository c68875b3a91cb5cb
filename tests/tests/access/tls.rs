//! Encrypted connections, and clients that show certificates.

use std::process::Command;

use conclave_tests::client::Client;
use conclave_tests::command::conclave_with;
use conclave_tests::draft::vote;
use conclave_tests::host::{Host, bare_command};
use conclave_tests::patience::within;
use conclave_tests::python::Venv;
use conclave_tests::stub_server::StubServer;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use tonic::Code;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::support::{Files, client, near, token, told, unauthenticated};

/// An authority of a test's own.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, as PEM.
struct Pair {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        // A name of its own: a certificate whose issuer is named as its subject counts as self-signed.
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "authority of a test");
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// For these DNS names and addresses, and this URI if there is one.
    fn issue(&self, names: &[&str], uri: Option<&str>) -> Pair {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.use_authority_key_identifier_extension = true;
        let uri = uri.map(|uri| SanType::URI(uri.try_into().unwrap()));
        params.subject_alt_names.extend(uri);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// Gives a host its certificate.
    fn equip(&self, files: &Files) -> String {
        let pair = self.issue(&["localhost", "127.0.0.1"], None);
        let certificate = files.write("certificate.pem", &pair.certificate);
        let key = files.write("key.pem", &pair.key);
        files.write("ca.pem", &self.pem);
        format!(
            "access.mode = 'required'\ntls.certificate = '{}'\ntls.key = '{}'\n",
            certificate.display(),
            key.display()
        )
    }

    fn trusted(&self) -> ClientTlsConfig {
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.pem))
    }
}

fn endpoint(host: &Host, tls: ClientTlsConfig) -> Endpoint {
    let url = format!("https://localhost:{}", near(host.grpc_addr()).port());
    Endpoint::from_shared(url).unwrap().tls_config(tls).unwrap()
}

/// The status of a page, asked by somebody who trusts the authority in this file.
async fn encrypted_page(host: &Host, ca: &str, path: &str) -> String {
    const ASK: &str = "import ssl, sys, urllib.request, urllib.error
context = ssl.create_default_context(cafile=sys.argv[1])
try:
    print(urllib.request.urlopen(sys.argv[2], context=context, timeout=30).status)
except urllib.error.HTTPError as error:
    print(error.code)";
    let venv = tokio::task::spawn_blocking(Venv::ready).await.unwrap();
    let mut command: Command = bare_command(&venv.unwrap().program("python"));
    let url = format!("https://localhost:{}{path}", host.http_addr().port());
    command.args(["-c", ASK, ca, &url]);
    let ended = tokio::task::spawn_blocking(move || command.output());
    let output = within("a page", ended).await.unwrap().unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[tokio::test]
async fn both_servers_are_encrypted() {
    let stub = StubServer::start().await.unwrap();
    let files = Files::new();
    let authority = Authority::new();
    let (ann, of_ann) = token("ann", "client", "a").await;
    let config = format!("{}{of_ann}", authority.equip(&files));
    let host = files.setup(&stub, &config).start().await.unwrap();

    let trusting = endpoint(&host, authority.trusted());
    let as_ann = Client::connect_to(trusting, Some(&ann)).await.unwrap();
    as_ann.run(vote(&["answer:7"])).await.unwrap();
    let stranger = endpoint(&host, Authority::new().trusted());
    assert!(Client::connect_to(stranger, Some(&ann)).await.is_err());
    let plain = client(&host, &ann).await.get("d").await.unwrap_err();
    assert_ne!(
        plain.code(),
        Code::NotFound,
        "nothing is served in clear text"
    );

    let ca = files.path("ca.pem").display().to_string();
    assert_eq!(encrypted_page(&host, &ca, "/readyz").await, "200");
    assert_eq!(encrypted_page(&host, &ca, "/metrics").await, "401");

    let addr = format!("https://localhost:{}", host.grpc_addr().port());
    let run = [
        "run", "2+2?", "--agents", "1", "--model", "answer:4", "--addr", &addr,
    ];
    let trusting = [&run[..], &["--ca", &ca]].concat();
    let variables = [("CONCLAVE_TOKEN", ann.as_str())];
    let ran = conclave_with(&trusting, &variables).await.unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = conclave_with(&run, &variables).await.unwrap();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("--ca"), "{ran:?}");
}

#[tokio::test]
async fn a_client_certificate_is_asked_for_and_stands_for_its_bearer() {
    let stub = StubServer::start().await.unwrap();
    let files = Files::new();
    let authority = Authority::new();
    let config = format!(
        "{}tls.client_ca = '{}'
        [[access.certificates]]
        name = 'spiffe://test/planner'
        role = 'client'
        tenant = 'a'
        [[access.certificates]]
        name = 'viewer.test'
        role = 'viewer'
        tenant = 'a'\n",
        authority.equip(&files),
        files.path("ca.pem").display()
    );
    let host = files.setup(&stub, &config).start().await.unwrap();
    let with = |pair: &Pair| {
        let identity = Identity::from_pem(&pair.certificate, &pair.key);
        endpoint(&host, authority.trusted().identity(identity))
    };
    // With TLS 1.3 a client learns that it is refused with its first call.
    let refused = async |endpoint| match Client::connect_to(endpoint, None).await {
        Ok(client) => client.get("d").await.unwrap_err().code() != Code::NotFound,
        Err(_) => true,
    };
    assert!(refused(endpoint(&host, authority.trusted())).await);
    let forged = Authority::new().issue(&[], Some("spiffe://test/planner"));
    assert!(refused(with(&forged)).await);

    let planner = authority.issue(&[], Some("spiffe://test/planner"));
    let planner = Client::connect_to(with(&planner), None).await.unwrap();
    let created = planner.create(vote(&["answer:7"])).await.unwrap();
    let viewer = authority.issue(&["viewer.test"], None);
    let viewer = Client::connect_to(with(&viewer), None).await.unwrap();
    viewer.wait(&created.uid).await.unwrap();
    let forbidden = (Code::PermissionDenied, "ROLE_INSUFFICIENT".to_owned());
    assert_eq!(told(viewer.cancel(&created.uid, "").await), forbidden);
    let unnamed = authority.issue(&["other.test"], None);
    let unnamed = Client::connect_to(with(&unnamed), None).await.unwrap();
    assert_eq!(
        told(unnamed.get(&created.uid).await),
        unauthenticated("CERTIFICATE_UNKNOWN")
    );

    let ca = files.path("ca.pem").display().to_string();
    assert_eq!(
        encrypted_page(&host, &ca, "/healthz").await,
        "200",
        "probes have none"
    );
    assert_eq!(encrypted_page(&host, &ca, "/metrics").await, "401");
}

#[tokio::test]
async fn a_new_certificate_is_used_without_a_restart() {
    let stub = StubServer::start().await.unwrap();
    let files = Files::new();
    let (old, new) = (Authority::new(), Authority::new());
    let (ann, of_ann) = token("ann", "client", "a").await;
    let config = format!("{}{of_ann}", old.equip(&files));
    let host = files.setup(&stub, &config).start().await.unwrap();
    let before = Client::connect_to(endpoint(&host, old.trusted()), Some(&ann)).await;
    let before = before.unwrap();
    let created = before.create(vote(&["answer:7"])).await.unwrap();
    new.equip(&files);
    let connected = within("the new certificate", async {
        loop {
            let trusting = endpoint(&host, new.trusted());
            if let Ok(client) = Client::connect_to(trusting, Some(&ann)).await {
                return client;
            }
        }
    });
    connected.await.unwrap().get(&created.uid).await.unwrap();
    before.get(&created.uid).await.unwrap();

    files.write("key.pem", "broken");
    let trusting = endpoint(&host, new.trusted());
    Client::connect_to(trusting, Some(&ann)).await.unwrap();
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_named_at_the_start() {
    let stub = StubServer::start().await.unwrap();
    let files = Files::new();
    let (_, of_ann) = token("ann", "client", "a").await;
    let config = format!("{}{of_ann}", Authority::new().equip(&files));
    files.write("key.pem", &Authority::new().issue(&[], None).key);
    let setup = files.setup(&stub, &config);
    let (status, log) = setup.start_in_vain().await.unwrap();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(
        log.contains("`tls.certificate` and `tls.key` cannot be used together"),
        "{log}"
    );
}
