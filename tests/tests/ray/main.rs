//! The host's way to a Ray cluster, on a real head: one for all that is asked of it, since it takes ten
//! seconds to start.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::path::Path;
use std::process::Command;

use conclave::ray::{Ray, Settings};
use conclave_core::cluster::{Cluster as _, Error, JobStatus};
use conclave_core::testkit::cluster_contract::{self, Subject, spec};
use conclave_tests::patience::within;
use conclave_tests::ray::{RayHead, RayPlace};

/// What an entrypoint of the contract can be: commands of the shell, since Ray runs it by one.
fn subject(python: &Path) -> Subject {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("words.txt"), "from the package\n").unwrap();
    let mut zip = Command::new(python);
    zip.args(["-m", "zipfile", "-c", "package.zip", "words.txt"])
        .current_dir(dir.path());
    assert!(zip.status().unwrap().success());
    Subject {
        lasts: "sleep 600".to_owned(),
        fails: "echo first words; echo last words; exit 3".to_owned(),
        reads: "grep package words.txt".to_owned(),
        package: std::fs::read(dir.path().join("package.zip")).unwrap(),
    }
}

#[tokio::test]
async fn a_ray_head_keeps_the_contract_and_may_come_and_go() {
    let head = RayHead::new().await.unwrap();
    let cluster = Ray::new(head.settings().unwrap()).unwrap();
    let version = cluster.version().await.unwrap();
    assert!(version.starts_with("2."), "{version}");
    let subject = subject(head.place().python());
    cluster_contract::check(&cluster, &subject).await;

    let lasts = spec("of-the-first-head", &subject.lasts);
    cluster.submit(&lasts).await.unwrap();
    let place = head.stop().await.unwrap();
    let impatient = Settings {
        tries_max: 1,
        ..Settings::new(place.url().parse().unwrap())
    };
    let impatient = Ray::new(impatient).unwrap();
    let error = impatient.jobs().await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");

    // A head without storage of its own has forgotten everything.
    let _head = place.start().await.unwrap();
    assert!(cluster.jobs().await.unwrap().is_empty());
    cluster.submit(&lasts).await.unwrap();
    let running = async {
        loop {
            let jobs = cluster.jobs().await.unwrap();
            match jobs.iter().find(|job| job.status == JobStatus::Running) {
                Some(job) => return job.submission_id.clone(),
                None => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            }
        }
    };
    let running = within("a job that runs", running).await.unwrap();
    assert_eq!(running, lasts.submission_id);
}

#[tokio::test]
async fn a_head_with_tokens_lets_in_who_shows_the_right_one() {
    let token = "0123456789abcdef0123456789abcdef";
    let place = RayPlace::new().unwrap();
    let place = place
        .env("RAY_AUTH_MODE", "token")
        .env("RAY_AUTH_TOKEN", token);
    let head = place.start().await.unwrap();
    let version = async |shown: Option<&str>| {
        let settings = Settings {
            token: shown.map(conclave::ray::Token::new),
            ..head.settings().unwrap()
        };
        Ray::new(settings).unwrap().version().await
    };
    for wrong in [None, Some("another-token-of-the-same-length")] {
        let error = version(wrong).await.unwrap_err();
        assert!(matches!(error, Error::Denied { .. }), "{error:?}");
        assert!(!error.is_retryable());
    }
    assert!(version(Some(token)).await.is_ok());
}
