//! The streams of a cluster's work: made, and brought up to the settings.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy};

use super::names::Names;
use super::settings::ClusterSettings;

const RESULTS_FOR: Duration = Duration::from_secs(3_600);
const DEAD_FOR: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Makes what is missing.
///
/// # Errors
/// When NATS does not tell of a stream, or does not take one: nothing is changed of those behind it.
pub(super) async fn ensure(
    jetstream: &Context,
    names: &Names,
    settings: &ClusterSettings,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    for mut config in configs(names, settings) {
        // An operator may have given it more replicas.
        match jetstream.get_stream(&config.name).await {
            Ok(stream) => config.num_replicas = stream.cached_info().config.num_replicas,
            Err(error) if is_missing(&error) => (),
            // It may be there, with replicas that an update without them would take away.
            Err(error) => return Err(error.into()),
        }
        jetstream.create_or_update_stream(config).await?;
    }
    Ok(())
}

fn is_missing(error: &GetStreamError) -> bool {
    match error.kind() {
        GetStreamErrorKind::JetStream(error) => error.error_code() == ErrorCode::STREAM_NOT_FOUND,
        _ => false,
    }
}

fn configs(names: &Names, settings: &ClusterSettings) -> [Config; 3] {
    let work = Config {
        name: names.work_stream(),
        subjects: vec![names.all_work()],
        retention: RetentionPolicy::WorkQueue,
        max_messages: i64::from(settings.depth_max()),
        max_messages_per_subject: 1,
        discard: DiscardPolicy::New,
        discard_new_per_subject: true,
        ..Config::default()
    };
    let results = Config {
        name: names.results_stream(),
        subjects: vec![names.all_results()],
        max_messages_per_subject: 1,
        max_age: RESULTS_FOR,
        allow_direct: true,
        ..Config::default()
    };
    let dead = Config {
        name: names.dead_stream(),
        subjects: vec![names.all_dead()],
        max_age: DEAD_FOR,
        ..Config::default()
    };
    [work, results, dead]
}
