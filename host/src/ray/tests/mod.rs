//! The adapter against a dashboard that answers what a test says.

mod calls;
mod dashboard;
mod jobs;
mod nodes;
pub(super) mod samples;
mod tls;

use std::time::Duration;

use conclave_core::cluster::{Cluster as _, JobSpec};
use conclave_core::retry::Retry;

use dashboard::{Call, Fake, Reply, ok};

use super::{Ray, Settings, Token};

/// Settings whose retries do not wait, and whose bounds a test never reaches by accident.
fn settings(fake: &Fake) -> Settings {
    Settings {
        retry: Retry {
            base: Duration::from_millis(1),
            cap: Duration::from_millis(1),
        },
        ..Settings::new(fake.address())
    }
}

fn ray(fake: &Fake) -> Ray {
    Ray::new(settings(fake)).unwrap()
}

fn spec() -> JobSpec {
    JobSpec {
        submission_id: "probe".to_owned(),
        entrypoint: "true".to_owned(),
        metadata: [("host".to_owned(), "h1".to_owned())].into(),
        ..JobSpec::default()
    }
}
