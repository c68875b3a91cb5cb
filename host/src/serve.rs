//! The composition root: what a host is made of, and how its parts start and stop.

mod arrivals;
mod canaries;
mod error;
mod events;
mod measure;
mod open_files;
mod signals;
mod stop;
mod sweep;

use conclave_core::chain::Chain;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use conclave_core::account::ReadAccount;
use conclave_core::clock::Clock;
use conclave_core::follow::FollowDeliberation;
use conclave_core::inspect::InspectPlugins;
use conclave_core::listing::ListDeliberations;
use conclave_core::live::Live;
use conclave_core::observer::{Observer, Observers};
use conclave_core::plugin::Plugins as _;
use conclave_core::run::RunDeliberation;
use conclave_core::session::Ports;
use conclave_core::slots::InFlight;
use conclave_core::span::SessionSpans;
use conclave_core::submit::SubmitDeliberation;
use conclave_core::tasks::Tasks;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::arrivals::folder::Folder;
use crate::arrivals::oci::Oci;
use crate::clusters::{self, Clusters};
use crate::config::{Config, Loaded, Server};
use crate::grpc::Health;
use crate::http::{Phase, Readiness};
use crate::metrics::{MeteredInference, Metrics};
use crate::nats::Nats;
use crate::openai::OpenAi;
use crate::plugin_store::PluginStore;
use crate::sqlite::SqliteJournal;
use crate::tls::{Incoming, Protocol, Tls};
use crate::wasm::{Engine, EngineConfig, WasmRuntime};
use crate::{grpc, http, sqlite, telemetry};

use self::events::EventParts;
pub use error::Error;
pub use signals::{Signal, Signals};

/// How long tasks may take to end, and open calls.
///
/// With [`REST`] before it, the grace period of 20 s by default, the two seconds of the last spans, and the second that
/// `main` leaves to threads, this stays below the 30 s after which Kubernetes kills.
const DRAIN: Duration = Duration::from_secs(4);

/// Probes, scrapers and watchers of pages; each has a connection of its own.
const HTTP_CONNECTIONS_MAX: usize = 1_024;

/// How much of that the sessions may take that were told to pause.
const REST: Duration = Duration::from_secs(2);

/// How long the last records may take to the audit log's file.
const AUDIT_FLUSH: Duration = Duration::from_millis(500);

/// The sockets, bound before anything else: an address in use is told at once.
#[derive(Debug)]
pub struct Listeners {
    grpc: Listener,
    http: Listener,
}

#[derive(Debug)]
struct Listener {
    socket: TcpListener,
    /// With the port that was taken for port 0.
    addr: SocketAddr,
}

impl Listeners {
    /// Binds both.
    ///
    /// # Errors
    /// When an address is in use or not this machine's.
    pub async fn bind(server: &Server) -> Result<Self, Error> {
        open_files::raise();
        Ok(Self {
            grpc: bind("server.grpc_addr", server.grpc_addr).await?,
            http: bind("server.http_addr", server.http_addr).await?,
        })
    }
}

async fn bind(key: &'static str, addr: SocketAddr) -> Result<Listener, Error> {
    let failed = |source| Error::Bind { addr, key, source };
    let socket = TcpListener::bind(addr).await.map_err(failed)?;
    let addr = socket.local_addr().map_err(failed)?;
    Ok(Listener { socket, addr })
}

/// Opens the journal in the data directory.
///
/// # Errors
/// When it is in use, of a later build, or cannot be written.
pub fn open_journal(config: &Config, metrics: &Metrics) -> Result<Arc<SqliteJournal>, Error> {
    let commits = Arc::clone(&metrics.journal);
    let on_commit = Box::new(move |commit: &sqlite::Commit| commits.ended(commit));
    let telling = config.events.telling();
    let journal = SqliteJournal::open_with(config.journal_path(), telling, on_commit)?;
    Ok(Arc::new(journal))
}

/// Begins to connect to NATS, if events are published there; it is not waited for.
///
/// # Errors
/// When its settings cannot be used.
pub async fn start_nats(loaded: &Loaded) -> Result<Option<Arc<Nats>>, Error> {
    let Some(settings) = loaded.nats.clone() else {
        return Ok(None);
    };
    Ok(Some(Arc::new(Nats::start(settings).await?)))
}

/// Starts the plugin engine.
///
/// # Errors
/// When this machine cannot run it, or its cache cannot be used.
pub fn start_engine(config: EngineConfig, metrics: &Metrics) -> Result<Arc<Engine>, Error> {
    let compilations = Arc::clone(&metrics.compilations);
    let engine = Engine::start(config)?;
    Ok(Arc::new(engine.measured(Arc::new(move |work| {
        compilations.did(work);
    }))))
}

/// Opens the plugin store in the data directory; no plugin is loaded yet.
///
/// # Errors
/// When the store cannot be used.
pub fn open_plugins(loaded: &Loaded, engine: &Arc<Engine>) -> Result<Arc<PluginStore>, Error> {
    let dir = loaded.config.plugin_store_dir();
    let store = PluginStore::open(dir, Arc::clone(engine), loaded.plugin_rules())?;
    Ok(Arc::new(store))
}

/// A host whose parts fit together, and that takes no work yet.
#[derive(Debug)]
pub struct Host {
    config: Config,
    clock: Clock,
    tasks: Tasks,
    stop: CancellationToken,
    journal: Arc<SqliteJournal>,
    clusters: Arc<Clusters>,
    plugins: Arc<PluginStore>,
    import: Arc<Oci>,
    run: Arc<RunDeliberation>,
    submit: Arc<SubmitDeliberation>,
    follow: FollowDeliberation,
    events: EventParts,
    readiness: Readiness,
    access: Arc<Access>,
    tls: Option<Tls>,
    metrics: Arc<Metrics>,
}

impl Host {
    /// Puts the parts together.
    ///
    /// # Errors
    /// When the adapter of model servers or of a cluster cannot be made, or callers cannot be checked.
    pub async fn compose(
        loaded: Loaded,
        journal: Arc<SqliteJournal>,
        engine: Arc<Engine>,
        plugins: Arc<PluginStore>,
        nats: Option<Arc<Nats>>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        let Loaded {
            config,
            api_keys,
            access,
            oci,
            clusters,
            nats: nats_settings,
            ..
        } = loaded;
        let stop = CancellationToken::new();
        let access = Arc::new(Access::new(access)?);
        let tls = config.tls().map(Tls::load).transpose()?;
        let clock = Clock::system();
        let tasks = Tasks::default();
        let openai = config.openai(api_keys);
        let direct = Arc::new(OpenAi::new(openai.clone())?);
        let settings = clusters::Settings {
            config: &config,
            clusters,
            nats: nats_settings.as_ref(),
            openai: &openai,
        };
        let clusters = Clusters::compose(
            settings,
            direct,
            nats.as_deref(),
            clock.clone(),
            &tasks,
            &stop,
        );
        let clusters = Arc::new(clusters.await?);
        let events = EventParts::compose(&journal, nats, config.events.telling());
        let live = Live::default();
        let in_flight = InFlight::new(config.inference.in_flight_max);
        let asked = Arc::clone(&journal);
        let nats = events.nats.clone();
        let watched = Arc::clone(&clusters);
        let readiness = Readiness::new(
            move || {
                let journal = Arc::clone(&asked);
                async move { journal.healthy().await }
            },
            move || {
                let mut told = nats
                    .as_ref()
                    .map_or_else(Vec::new, |nats| nats.impairments());
                told.extend(watched.impairments());
                told
            },
        );
        let parts = measure::Parts {
            live: &live,
            in_flight: &in_flight,
            journal: &journal,
            engine: &engine,
            readiness: &readiness,
            events: &events,
        };
        measure::measure(&metrics, &config, &parts);
        let dispatcher = clusters.dispatcher(&tasks);
        clusters.measure(&metrics, &dispatcher.savings());
        let inference = MeteredInference::new(dispatcher, Arc::clone(&metrics.generations));
        let import = Arc::new(Oci::new(oci)?);
        let calls = Arc::clone(&metrics.plugins);
        let runtime = WasmRuntime::new(engine, plugins.clone());
        let mut observers: Vec<Arc<dyn Observer>> =
            vec![metrics.deliberations.clone(), plugins.observer()];
        observers.extend(events.observers());
        let ports = Ports {
            journal: journal.clone(),
            inference: Arc::new(inference),
            runtime: Arc::new(runtime.measured(Arc::new(move |call| calls.ended(call)))),
            clock: clock.clone(),
            tasks: tasks.clone(),
            observers: Observers::new(observers),
            spans: SessionSpans::new(telemetry::spans::session),
            retry: config.retry(),
            in_flight,
        };
        let run = RunDeliberation::new(ports, live.clone(), config.limits.deliberations_max);
        let submit = SubmitDeliberation::new(
            journal.clone(),
            plugins.clone(),
            run.clone(),
            clock.clone(),
            config.terms(),
        )
        .bounded_by(clusters.clone());
        let follow = FollowDeliberation::new(journal.clone(), journal.clone(), live);
        Ok(Self {
            config,
            clock,
            tasks,
            stop,
            journal,
            clusters,
            plugins,
            import,
            run,
            submit: Arc::new(submit),
            follow,
            events,
            readiness,
            access,
            tls,
            metrics,
        })
    }

    fn incoming(&self, listener: Listener, protocol: Protocol) -> Result<Incoming, Error> {
        let Listener { socket, addr } = listener;
        let grpc = self.config.grpc();
        let connections_max = match protocol {
            Protocol::Grpc => grpc.connections_max,
            Protocol::Http => HTTP_CONNECTIONS_MAX,
        };
        let tls = self.tls.clone().map(|tls| (tls, protocol));
        Incoming::new(socket, connections_max, grpc.keepalive, tls)
            .map_err(|source| Error::Listen { addr, source })
    }

    /// Serves the health pages, loads the plugins, goes on with what the last run did not finish,
    /// serves gRPC, and says so in one line with the addresses.
    ///
    /// # Errors
    /// When the plugin folder or the journal cannot be read, or a plugin that the settings name is not there.
    pub async fn serve(mut self, listeners: Listeners) -> Result<Serving, Error> {
        let Listeners { grpc, http } = listeners;
        let (grpc_addr, http_addr) = (grpc.addr, http.addr);
        let stop = self.stop.clone();
        let pages = http::serve(
            self.incoming(http, Protocol::Http)?,
            Arc::clone(&self.access),
            self.readiness.clone(),
            self.events.page(&stop),
            Arc::clone(&self.metrics),
            stop.clone().cancelled_owned(),
        );
        self.tasks.spawn("http", async move {
            if let Err(error) = pages.await {
                tracing::error!(
                    error = %Chain(&error),
                    "the HTTP server failed"
                );
            }
        });
        let folder = self.load_plugins().await?;
        self.events.start(&self.tasks, &stop);
        canaries::start(&self.plugins, &self.access, &self.tasks, &stop);
        self.clusters.start(&self.tasks, &stop);
        self.recover(&stop).await?;
        let access = Arc::clone(&self.access);
        let (server, accepting) = grpc::server(self.services(), access, self.config.grpc()).await;
        let incoming = self.incoming(grpc, Protocol::Grpc)?;
        let stopped = stop.clone().cancelled_owned();
        self.tasks.spawn("grpc", async move {
            if let Err(error) = server.serve(incoming, stopped).await {
                tracing::error!(
                    error = %Chain(&error),
                    "the gRPC server failed"
                );
            }
        });
        accepting.set(true).await;
        self.readiness.enter(Phase::Serving);
        arrivals::watch(folder, &self.tasks, &stop);
        tracing::info!(
            target: telemetry::READY,
            %grpc_addr, %http_addr,
            data_dir = %self.config.server.data_dir.display(),
            "ready"
        );
        Ok(Serving {
            host: self,
            accepting,
            stop,
            grpc_addr,
            http_addr,
        })
    }

    /// Loads the built-in plugins and those of the operator's directory.
    async fn load_plugins(&self) -> Result<Option<Folder>, Error> {
        tracing::info!("loading plugins; those that this host has not seen are compiled first");
        self.plugins.load_built_in().await?;
        let plugins = &self.plugins;
        let folder = arrivals::take_in(&self.config, plugins.clone(), plugins.clone()).await?;
        self.plugins.warm().await;
        for named in self.config.named_plugins() {
            let found = self.plugins.resolve(named.kind, &named.choice).await;
            let key = named.key.clone();
            let plugin = found.map_err(|source| Error::NamedPlugin { key, source })?;
            let violations = named.violations(&plugin);
            // A schema that this build refuses was told when the registry was read: the host starts, for
            // who names another plugin, and for an operator who promotes another version.
            if !violations.is_empty() && !plugin.params.is_refused() {
                return Err(Error::NamedParams(violations));
            }
        }
        Ok(folder)
    }

    /// Goes on with what the last run did not finish, and removes plugins that nothing needs.
    async fn recover(&self, stop: &CancellationToken) -> Result<(), Error> {
        let unfinished = self.run.unfinished().await?;
        // What another build wrote may need any component.
        if let Some(pinned) = unfinished.pinned() {
            let pinned = BTreeSet::from_iter(pinned);
            sweep::sweep(&self.plugins, &pinned).await;
            sweep::start(&self.plugins, self.run.live(), &self.tasks, stop);
        }
        if !unfinished.is_empty() {
            tracing::info!(
                count = unfinished.len(),
                "resuming deliberations of the last run"
            );
        }
        let claims = unfinished.claims();
        self.run.resume(unfinished).await;
        if let Some(claims) = claims {
            self.clusters.clear(claims, &self.tasks, stop);
        }
        Ok(())
    }

    fn services(&self) -> grpc::Host {
        let journal = Arc::clone(&self.journal);
        let has_server = self.config.has_model_server();
        let clusters = Arc::clone(&self.clusters);
        let (nats, outbox) = (self.events.nats.clone(), self.events.outbox.clone());
        let policy = self.config.terms().policy;
        grpc::Host {
            calls: self.metrics.calls.clone(),
            submit: Arc::clone(&self.submit),
            follow: self.follow.clone(),
            list: ListDeliberations::new(self.journal.clone(), self.journal.clone()),
            accounts: ReadAccount::new(self.journal.clone()),
            plugins: InspectPlugins::new(
                self.plugins.clone(),
                self.plugins.clone(),
                policy.strategy_default,
                policy.scorer_default,
            ),
            registry: self.plugins.clone(),
            import: self.import.clone(),
            live: self.run.live().clone(),
            tasks: self.tasks.clone(),
            component_bytes_max: self.config.plugins.limits.component_bytes_max,
            components: self.plugins.clone(),
            clock: self.clock.clone(),
            clusters: self.clusters.clone(),
            health: Arc::new(move || {
                let journal = Arc::clone(&journal);
                let told = nats.as_ref().is_none_or(|nats| nats.is_connected())
                    && !outbox.as_ref().is_some_and(|outbox| outbox.is_impaired())
                    && clusters.impairments().is_empty();
                Box::pin(async move {
                    match (has_server && journal.healthy().await, told) {
                        (true, true) => Health::Healthy,
                        (true, false) => Health::Degraded,
                        (false, _) => Health::Unhealthy,
                    }
                })
            }),
        }
    }
}

/// A host that takes work.
#[derive(Debug)]
pub struct Serving {
    host: Host,
    accepting: grpc::Readiness,
    stop: CancellationToken,
    grpc_addr: SocketAddr,
    http_addr: SocketAddr,
}

impl Serving {
    /// Where gRPC listens.
    #[must_use]
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc_addr
    }

    /// Where health and metrics are.
    #[must_use]
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Takes no more work, lets what runs finish within the grace period, pauses the rest, and ends
    /// every task. Calls that only read are answered until the rest is paused.
    pub async fn shut_down(self) {
        let Host {
            config,
            run,
            tasks,
            readiness,
            access,
            ..
        } = self.host;
        readiness.enter(Phase::Stopping);
        self.accepting.set(false).await;
        let paused = stop::end_or_pause(run.live(), config.shutdown_grace()).await;
        stop::rested(run.live(), REST).await;
        self.stop.cancel();
        if !tasks.drained(DRAIN).await {
            tracing::warn!("some tasks did not end; the journal holds what is durable");
        }
        if let Some(audit) = access.audit() {
            // What is not in the file by then is in the log.
            let _ = tokio::time::timeout(AUDIT_FLUSH, audit.flush()).await;
        }
        tracing::info!(paused, "stopped");
    }
}
