//! How clusters, model servers and queues stand, as metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use conclave_core::fleet::{BreakerState, BreakerStatus, Fleet, ModelStatus};

use super::Clusters;
use crate::dispatch::Savings;
use crate::metrics::{Kind, Metrics, Reading};
use crate::pool::{ClusterView, Counts, Pool};

impl Clusters {
    /// Has it read at each scrape.
    pub fn measure(&self, metrics: &Metrics, savings: &Arc<Savings>) {
        self.nodes.measure(metrics);
        breakers(metrics, &self.fleet);
        models(metrics, &self.fleet);
        queues(metrics, self.pool.as_ref());
        counts(metrics, self.pool.as_ref());
        saved(metrics, savings);
    }
}

/// 0 while calls go through, 1 while one is tried, 2 while none is.
fn value(breaker: &BreakerStatus) -> f64 {
    match breaker.state {
        BreakerState::Closed => 0.0,
        BreakerState::HalfOpen => 1.0,
        BreakerState::Open => 2.0,
    }
}

fn breakers(metrics: &Metrics, fleet: &Arc<Fleet>) {
    let of = Arc::clone(fleet);
    metrics.read(Reading::by(
        "cluster",
        Kind::Gauge,
        "conclave_cluster_breaker",
        "Whether a cluster's dashboard answers: 0 it does (closed), 1 it is tried (half-open), 2 it does not (open)",
        move || {
            let clusters = of.status().clusters.into_iter();
            clusters.map(|one| (one.name, value(&one.breaker))).collect()
        },
    ));
    let of = Arc::clone(fleet);
    metrics.read(Reading::by(
        "server",
        Kind::Gauge,
        "conclave_server_breaker",
        "Whether a model server answers: 0 it does (closed), 1 it is tried (half-open), 2 it is left alone (open)",
        move || {
            let status = of.status();
            let replicas = status.models.iter().flat_map(|model| {
                let replicas = model.replicas.iter();
                let own = replicas.filter_map(|replica| replica.server.as_ref());
                own.chain(&model.endpoints)
            });
            // By scheme, host and port: clients choose the paths, and two models may share a server.
            let mut worst = BTreeMap::<String, f64>::new();
            for one in replicas.chain(&status.by_hand) {
                let origin = one.endpoint.origin().ascii_serialization();
                let of_origin = worst.entry(origin).or_default();
                *of_origin = of_origin.max(value(&one.breaker));
            }
            worst.into_iter().collect()
        },
    ));
    let of = Arc::clone(fleet);
    metrics.read(Reading::by(
        "cluster",
        Kind::Gauge,
        "conclave_cluster_in_flight",
        "Generations that this host has on a cluster",
        move || {
            let clusters = of.status().clusters.into_iter();
            clusters
                .map(|one| (one.name, one.outstanding as f64))
                .collect()
        },
    ));
}

fn models(metrics: &Metrics, fleet: &Arc<Fleet>) {
    type Read = fn(&ModelStatus) -> f64;
    let readings: [(&'static str, &'static str, Read); 4] = [
        (
            "conclave_model_replicas_wanted",
            "Replicas of a model that shall run",
            |model| f64::from(model.wanted),
        ),
        (
            "conclave_model_replicas_healthy",
            "Servers of a model that are healthy, those at endpoints by hand too",
            |model| {
                let own = model.replicas.iter().filter_map(|one| one.server.as_ref());
                let healthy = own.chain(&model.endpoints).filter(|one| one.is_healthy);
                healthy.count() as f64
            },
        ),
        (
            "conclave_model_waiting",
            "Generations that wait for a server of a model",
            |model| model.queued as f64,
        ),
        (
            "conclave_model_starts_failed",
            "Times that a replica's job failed since the start of the host, for the replicas that there are",
            |model| {
                let failures = model.replicas.iter().map(|one| one.job.failures);
                failures.sum::<u64>() as f64
            },
        ),
    ];
    for (name, help, read) in readings {
        let of = Arc::clone(fleet);
        metrics.read(Reading::by("model", Kind::Gauge, name, help, move || {
            let models = of.status().models.into_iter();
            models
                .map(|one| (one.name.as_str().to_owned(), read(&one)))
                .collect()
        }));
    }
}

/// Described, and without a sample while there is no queue.
fn queues(metrics: &Metrics, pool: Option<&Arc<Pool>>) {
    type Read = fn(&ClusterView) -> f64;
    let readings: [(&'static str, &'static str, Read); 3] = [
        (
            "conclave_pool_depth",
            "Generations that are queued or running in a cluster's queue, of all hosts",
            |view| view.depth as f64,
        ),
        (
            "conclave_pool_actors",
            "Actors of a cluster's executors that were heard lately",
            |view| view.actors.len() as f64,
        ),
        (
            "conclave_pool_slots",
            "Generations that these actors run at once",
            |view| view.actors.iter().map(|actor| f64::from(actor.slots)).sum(),
        ),
    ];
    for (name, help, read) in readings {
        let of = pool.cloned();
        metrics.read(Reading::by("cluster", Kind::Gauge, name, help, move || {
            let views = of.iter().flat_map(|pool| pool.view());
            views.map(|one| (one.cluster.clone(), read(&one))).collect()
        }));
    }
}

fn counts(metrics: &Metrics, pool: Option<&Arc<Pool>>) {
    type Read = fn(&Counts) -> &AtomicU64;
    let readings: [(&'static str, &'static str, Read); 11] = [
        (
            "conclave_pool_published",
            "Generations that were queued for executors",
            |counts| &counts.published,
        ),
        (
            "conclave_pool_adopted",
            "Generations of the host's last run that were found again, queued, running or ended",
            |counts| &counts.adopted,
        ),
        (
            "conclave_pool_results",
            "Results of executors that a generation waited for",
            |counts| &counts.results,
        ),
        (
            "conclave_pool_duplicates",
            "Results of executors that no generation waited for any more",
            |counts| &counts.duplicates,
        ),
        (
            "conclave_pool_redeliveries",
            "Generations that came to another executor, because the first was not heard any more",
            |counts| &counts.redeliveries,
        ),
        (
            "conclave_pool_dead",
            "Generations that went to the dead letters",
            |counts| &counts.dead,
        ),
        (
            "conclave_pool_cancelled",
            "Generations that were cancelled on a cluster",
            |counts| &counts.cancelled,
        ),
        (
            "conclave_pool_lost",
            "Generations that were lost with their cluster, and may be tried elsewhere",
            |counts| &counts.lost,
        ),
        (
            "conclave_pool_found",
            "Results whose message was missed, and that were found in their stream",
            |counts| &counts.found,
        ),
        (
            "conclave_pool_cancels_lost",
            "Orders to cancel that could not be carried out: the generations ran to their end or deadline",
            |counts| &counts.cancels_lost,
        ),
        (
            "conclave_pool_progress_lost",
            "Pieces of progress that came faster than they were taken",
            |counts| &counts.progress_lost,
        ),
    ];
    for (name, help, read) in readings {
        let of = pool.cloned();
        metrics.read(Reading::by(
            "cluster",
            Kind::Counter,
            name,
            help,
            move || {
                let counts = of.iter().flat_map(|pool| pool.counts());
                counts
                    .map(|(cluster, counts)| {
                        let count = read(counts).load(Ordering::Relaxed);
                        (cluster.to_owned(), count as f64)
                    })
                    .collect()
            },
        ));
    }
}

/// What several answers to one request save, and cost.
fn saved(metrics: &Metrics, savings: &Arc<Savings>) {
    let of = Arc::clone(savings);
    metrics.read(Reading::one(
        Kind::Counter,
        "conclave_requests_saved",
        "Requests to model servers that were not made, because one was answered several times",
        move || Some(of.requests.load(Ordering::Relaxed) as f64),
    ));
    let of = Arc::clone(savings);
    metrics.read(Reading::one(
        Kind::Counter,
        "conclave_prompt_tokens_saved",
        "Tokens of prompts that were not sent again for that",
        move || Some(of.prompt_tokens.load(Ordering::Relaxed) as f64),
    ));
    let of = Arc::clone(savings);
    metrics.read(Reading::one(
        Kind::Counter,
        "conclave_tokens_unread",
        "Tokens of answers that were given up while others to the same request were waited for",
        move || Some(of.tokens_unread.load(Ordering::Relaxed) as f64),
    ));
}
