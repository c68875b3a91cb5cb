//! A real registry on this machine.

use std::collections::BTreeMap;

use conclave::arrivals::oci::{Credentials, Oci, Password, SIGNATURE_ANNOTATION, Settings};
use conclave_core::chain::Chain;
use conclave_core::registry::{Fetch as _, FetchError};
use conclave_tests::components::component;
use conclave_tests::oci_registry::{OciRegistry, PASSWORD, USER};

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
