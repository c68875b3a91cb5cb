//! A real registry on this machine.

use std::collections::BTreeMap;

use conclave::arrivals::oci::{Credentials, Oci, Password, SIGNATURE_ANNOTATION, Settings};
use conclave_core::chain::Chain;
use conclave_core::registry::{Fetch as _, FetchError};
use conclave_tests::client::pb::deliberation::State;
use conclave_tests::command::client_of;
use conclave_tests::components::{component, component_of_version};
use conclave_tests::draft::vote;
use conclave_tests::host::Setup;
use conclave_tests::oci_registry::{OciRegistry, PASSWORD, USER};
use conclave_tests::stub_server::StubServer;

/// What a host is told that may import `plugins/*` from there.
fn settings(registry: &OciRegistry) -> Settings {
    Settings {
        allowed: vec![format!("{}/plugins", registry.addr()).parse().unwrap()],
        insecure: vec![registry.addr().parse().unwrap()],
        ..Settings::default()
    }
}

fn told(error: &FetchError) -> String {
    Chain(error).to_string()
}

#[tokio::test]
async fn a_component_is_fetched_from_a_real_registry_by_its_digest() {
    let registry = OciRegistry::open().await.unwrap();
    let bytes = component("sample-vote").unwrap();
    // base64 of `by me`.
    let signature = (SIGNATURE_ANNOTATION.to_owned(), "YnkgbWU=".to_owned());
    let annotations = BTreeMap::from([signature]);
    let pushed = registry.push("plugins/vote:1.0", bytes, annotations);
    let reference = pushed.await.unwrap();
    let oci = Oci::new(settings(&registry)).unwrap();
    let fetched = oci.fetch(&reference).await.unwrap();
    assert_eq!(&*fetched.bytes, bytes);
    assert_eq!(fetched.signature.as_deref(), Some(&b"by me"[..]));
    assert_eq!(fetched.reference, reference);

    let tag = format!("{}/plugins/vote:1.0", registry.addr());
    let error = oci.fetch(&tag).await.unwrap_err();
    assert!(matches!(error, FetchError::Reference(_)));
    assert!(
        told(&error).contains(&format!("import `{reference}`")),
        "{error}"
    );

    let other = registry.push("other/vote:1.0", bytes, BTreeMap::new());
    let error = oci.fetch(&other.await.unwrap()).await.unwrap_err();
    assert!(matches!(error, FetchError::NotAllowed(_)), "{error}");

    let digest = reference.rsplit(':').next().unwrap();
    let wrong = reference.replace(digest, &"0".repeat(64));
    let error = oci.fetch(&wrong).await.unwrap_err();
    assert!(matches!(error, FetchError::NotFound(_)), "{error}");
    let missing = reference.replace("plugins/vote", "plugins/nobody");
    let error = oci.fetch(&missing).await.unwrap_err();
    assert!(matches!(error, FetchError::NotFound(_)), "{error}");

    let small = Settings {
        bytes_max: 1_000,
        ..settings(&registry)
    };
    let error = Oci::new(small)
        .unwrap()
        .fetch(&reference)
        .await
        .unwrap_err();
    assert!(
        matches!(error, FetchError::TooLarge { bytes_max: 1_000 }),
        "{error}"
    );

    drop(registry);
    let error = oci.fetch(&reference).await.unwrap_err();
    assert!(matches!(error, FetchError::Unavailable(_)));
    assert!(
        told(&error).contains("it cannot be reached"),
        "{}",
        told(&error)
    );
}

#[tokio::test]
async fn a_registry_that_asks_is_told_who_the_host_is() {
    let registry = OciRegistry::closed().await.unwrap();
    let bytes = component("agreement").unwrap();
    let pushed = registry.push("plugins/agreement:1.0", bytes, BTreeMap::new());
    let reference = pushed.await.unwrap();
    let anonymous = Oci::new(settings(&registry)).unwrap();
    let error = anonymous.fetch(&reference).await.unwrap_err();
    assert!(matches!(error, FetchError::NotAllowed(_)), "{error}");
    assert!(
        told(&error).contains("[[plugins.oci.credentials]]"),
        "{error}"
    );
    let named = |password: &str| Settings {
        credentials: vec![Credentials {
            registry: registry.addr().parse().unwrap(),
            username: USER.to_owned(),
            password: Password::new(password),
        }],
        ..settings(&registry)
    };
    let wrong = Oci::new(named("wrong")).unwrap();
    let error = wrong.fetch(&reference).await.unwrap_err();
    assert!(matches!(error, FetchError::NotAllowed(_)), "{error}");
    let right = Oci::new(named(PASSWORD)).unwrap();
    let fetched = right.fetch(&reference).await.unwrap();
    assert_eq!(&*fetched.bytes, bytes);
    assert_eq!(fetched.signature, None);
}

#[tokio::test]
async fn a_component_of_a_registry_is_imported_by_a_running_host_and_serves() {
    let registry = OciRegistry::closed().await.unwrap();
    let bytes = component_of_version("sample-vote", "0.9.0").unwrap();
    let pushed = registry.push("plugins/vote:0.9.0", &bytes, BTreeMap::new());
    let reference = pushed.await.unwrap();
    let password = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(password.path(), PASSWORD).unwrap();
    let stub = StubServer::start().await.unwrap();
    let addr = registry.addr();
    let credentials = format!(
        "[{{registry = \"{addr}\", username = \"{USER}\", password_file = \"{}\"}}]",
        password.path().display()
    );
    let setup = Setup::asking(&stub)
        .unwrap()
        .set("plugins.oci.allowed", &format!("{addr}/plugins"))
        .set("plugins.oci.insecure", addr)
        .set("plugins.oci.credentials", &credentials);
    let host = setup.start().await.unwrap();
    let imported = client_of(&host, &["plugin", "import", &reference])
        .await
        .unwrap();
    assert_eq!(imported.code, Some(0), "{imported:?}");
    let mut asked = vote(&["answer:7", "answer:7"]);
    asked.strategy.get_or_insert_default().version = "0.9.0".to_owned();
    let done = host.client().await.unwrap().run(asked).await.unwrap();
    assert_eq!(done.state(), State::Completed, "{done:?}");
    let tag = format!("{addr}/plugins/vote:0.9.0");
    let refused = client_of(&host, &["plugin", "import", &tag]).await.unwrap();
    assert_ne!(refused.code, Some(0));
    assert!(refused.err.contains(&reference), "{refused:?}");
}
