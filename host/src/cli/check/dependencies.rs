//! What a host depends on, tested from outside: each is fine, or degrades the host, or keeps it from
//! serving, and then there is a remedy.

use std::error::Error as _;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use conclave_core::endpoint::Endpoint;
use futures::future::join_all;
use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use url::Url;

use super::super::terminal::{clean, one_line};
use super::clusters;
use crate::config::{Config, Loaded};
use crate::openai::{ModelsError, OpenAi};

/// Below this the journal of a busy host may fill the disk within a day.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// How long NATS may take to greet.
const NATS_TIMEOUT: Duration = Duration::from_secs(5);
/// A greeting is one line of some hundred bytes; clusters list their members in it.
const NATS_GREETING_BYTES_MAX: u64 = 64 << 10;
/// Models of a server that are named where the wanted one is missing.
const MODELS_TOLD_MAX: usize = 5;

/// How a dependency is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Ok,
    /// The host could serve, but not all.
    Degraded,
    /// The host could not serve.
    Refused,
}

/// What was found about one dependency.
#[derive(Debug, Serialize)]
pub(super) struct Dependency {
    pub(super) name: String,
    pub(super) state: State,
    /// What was found; unless all is well, with what follows from it and what to do.
    pub(super) detail: String,
}

impl Dependency {
    pub(super) fn new(name: impl Into<String>, state: State, detail: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            state,
            detail: detail.into(),
        }
    }
}

/// Tests all of them.
pub(super) async fn test(loaded: &Loaded) -> Vec<Dependency> {
    let config = &loaded.config;
    let mut found = vec![data_dir(&config.server.data_dir)];
    for (key, addr) in [
        ("server.grpc_addr", config.server.grpc_addr),
        ("server.http_addr", config.server.http_addr),
    ] {
        found.push(port(key, addr).await);
    }
    found.extend(model_servers(loaded).await);
    found.extend(clusters::test(&loaded.clusters).await);
    if let Some(url) = nats_url(config) {
        found.push(nats(&url).await);
    }
    found
}

/// `events.nats_url`, where this build has it and it is set.
fn nats_url(config: &Config) -> Option<String> {
    let settings = serde_json::to_value(config).ok()?;
    let url = settings.pointer("/events/nats_url")?.as_str()?;
    Some(url.to_owned()).filter(|url| !url.is_empty())
}

fn data_dir(dir: &Path) -> Dependency {
    let name = format!("data directory `{}`", dir.display());
    let existing = match writable(dir) {
        Ok(existing) => existing,
        Err(error) => {
            let remedy = "make it writable and make room, or set `server.data_dir` to another one";
            let detail = format!("the {name} is not writable: {error}; {remedy}");
            return Dependency::new(name, State::Refused, detail);
        }
    };
    match rustix::fs::statvfs(&existing) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let shown = format!("writable, {} MiB free", free >> 20);
            if free >= FREE_BYTES_MIN {
                return Dependency::new(name, State::Ok, shown);
            }
            let detail = format!(
                "{shown}: the host stops accepting when the disk is full; make room, or set \
                 `server.data_dir` to a larger disk"
            );
            Dependency::new(name, State::Degraded, detail)
        }
        Err(error) => {
            let detail = format!("writable; how much is free cannot be told: {error}");
            Dependency::new(name, State::Ok, detail)
        }
    }
}

/// Writes a file in the directory, or in the nearest one above it that exists, which it returns.
fn writable(dir: &Path) -> io::Result<std::path::PathBuf> {
    let absolute = std::path::absolute(dir)?;
    let existing = absolute.ancestors().find(|dir| dir.exists());
    let existing = existing.unwrap_or(&absolute).to_owned();
    let probe = existing.join(format!(".conclave-check-{}", std::process::id()));
    let mut file = std::fs::File::create_new(&probe)?;
    // A page that reaches the disk: a full one lets files be made, and no more.
    let written = file.write_all(&[0; 4_096]).and_then(|()| file.sync_all());
    std::fs::remove_file(&probe)?;
    written.map(|()| existing)
}

async fn port(key: &str, addr: SocketAddr) -> Dependency {
    let name = format!("{key} {addr}");
    match TcpListener::bind(addr).await {
        Ok(_) => Dependency::new(name, State::Ok, "free"),
        Err(error) => {
            let detail = format!(
                "cannot listen on {addr}: {error}; if this very host runs already, all is well, else \
                 end what listens there, or set `{key}` to another address"
            );
            Dependency::new(name, State::Refused, detail)
        }
    }
}

async fn model_servers(loaded: &Loaded) -> Vec<Dependency> {
    let inference = &loaded.config.inference;
    let openai = match OpenAi::new(loaded.config.openai(loaded.api_keys.clone())) {
        Ok(openai) => openai,
        Err(error) => {
            let error = anyhow::Error::new(error);
            let detail = format!("cannot call model servers: {error:#}");
            return vec![Dependency::new("model servers", State::Refused, detail)];
        }
    };
    let default = inference.endpoint.iter().map(|endpoint| {
        let keys = "`inference.endpoint`";
        model_server(&openai, endpoint, inference.model.as_deref(), keys)
    });
    let listed = inference.allowed_endpoints.iter().filter(|listed| {
        let default = inference.endpoint.as_ref();
        default.is_none_or(|default| default.origin() != listed.origin())
    });
    let listed = listed.map(|endpoint| {
        let keys = "`inference.allowed_endpoints`";
        model_server(&openai, endpoint, None, keys)
    });
    let all: Vec<_> = default.chain(listed).collect();
    join_all(all).await
}

/// `keys` is where the endpoint stands.
async fn model_server(
    openai: &OpenAi,
    endpoint: &Endpoint,
    model: Option<&str>,
    keys: &str,
) -> Dependency {
    let name = format!("model server {endpoint}");
    let models = match openai.models(endpoint).await {
        Ok(models) => models,
        Err(error) => {
            let detail = unanswered(&error, keys);
            return Dependency::new(name, State::Degraded, detail);
        }
    };
    let count = match models.len() {
        1 => "1 model".to_owned(),
        count => format!("{count} models"),
    };
    match model {
        None => Dependency::new(name, State::Ok, format!("serves {count}")),
        Some(model) if models.iter().any(|served| served == model) => {
            let detail = format!("serves {count}, `{model}` among them");
            Dependency::new(name, State::Ok, detail)
        }
        Some(model) => {
            let served = models.iter().take(MODELS_TOLD_MAX);
            let served: Vec<_> = served
                .map(|one| format!("`{}`", one_line(one, 80)))
                .collect();
            let detail = format!(
                "serves no model `{model}`, but {}: requests that name no model will fail; set \
                 `inference.model` to one that it serves, or load that one",
                if served.is_empty() {
                    "none".to_owned()
                } else {
                    served.join(", ")
                }
            );
            Dependency::new(name, State::Degraded, detail)
        }
    }
}

fn unanswered(error: &ModelsError, keys: &str) -> String {
    let remedy = match error {
        ModelsError::Status(401 | 403) => {
            "name the file that holds its key in `[[inference.keys]]`".to_owned()
        }
        _ => format!("start it, or change {keys}"),
    };
    // The deepest cause says most, as `connection refused` does.
    let mut cause = error.source();
    while let Some(deeper) = cause.and_then(std::error::Error::source) {
        cause = Some(deeper);
    }
    let cause = cause.map_or_else(String::new, |cause| format!(" ({cause})"));
    format!(
        "{error}{}: deliberations on it will fail until it answers; {remedy}",
        clean(&cause)
    )
}

/// Whether NATS greets: no more, since no account is needed for that.
async fn nats(url: &str) -> Dependency {
    // Its user and password are nobody's business.
    let shown = url.rsplit_once('@').map_or(url, |(_, host)| host);
    let name = format!("NATS {shown}");
    let greeted = timeout(NATS_TIMEOUT, nats_greeting(url)).await;
    let failed = match greeted {
        Ok(Ok(version)) => {
            let detail = format!("reachable, version {}", one_line(&version, 40));
            return Dependency::new(name, State::Ok, detail);
        }
        Ok(Err(error)) => format!("{error:#}"),
        Err(_) => format!("it does not greet within {} s", NATS_TIMEOUT.as_secs()),
    };
    let detail = format!(
        "{failed}: events are kept in the journal and published when it is back; start it, or change \
         `events.nats_url`"
    );
    Dependency::new(name, State::Degraded, detail)
}

/// The version in the line `INFO {…}` by which a server greets.
async fn nats_greeting(url: &str) -> anyhow::Result<String> {
    let with_scheme = match url.contains("://") {
        true => url.to_owned(),
        false => format!("nats://{url}"),
    };
    let url = Url::parse(&with_scheme).context("it is no URL")?;
    let Some(host) = url.host_str() else {
        bail!("the URL has no host");
    };
    let addr = (host.trim_matches(['[', ']']), url.port().unwrap_or(4222));
    let stream = TcpStream::connect(addr)
        .await
        .context("cannot be reached")?;
    let mut line = String::new();
    let mut greeting = BufReader::new(stream.take(NATS_GREETING_BYTES_MAX));
    greeting
        .read_line(&mut line)
        .await
        .context("the connection broke")?;
    let info = line.strip_prefix("INFO ");
    ensure!(info.is_some(), "what listens there is no NATS server");
    let info: serde_json::Value = serde_json::from_str(info.unwrap_or_default().trim())
        .context("its greeting is not understood")?;
    Ok(info["version"].as_str().unwrap_or("unknown").to_owned())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// Greets each connection with this text.
    async fn greeter(greeting: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        conclave_core::tasks::Tasks::default().spawn("greeter", async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(greeting.as_bytes()).await;
            }
        });
        addr
    }

    #[test]
    fn a_directory_that_is_not_there_yet_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let data = data_dir(&dir.path().join("not/made/yet"));
        assert_ne!(data.state, State::Refused, "{data:?}");
        assert!(data.detail.contains("MiB free"), "{data:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let nowhere = data_dir(Path::new("/proc/conclave"));
        assert_eq!(nowhere.state, State::Refused);
        assert!(nowhere.detail.contains("`server.data_dir`"), "{nowhere:?}");
    }

    #[tokio::test]
    async fn a_port_in_use_is_refused_with_its_key() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = taken.local_addr().unwrap();
        let found = port("server.grpc_addr", addr).await;
        assert_eq!(found.state, State::Refused);
        assert!(found.detail.contains("set `server.grpc_addr`"), "{found:?}");
        drop(taken);
        assert_eq!(port("server.grpc_addr", addr).await.state, State::Ok);
    }

    #[tokio::test]
    async fn nats_is_known_by_its_greeting() {
        let addr = greeter("INFO {\"server_id\":\"x\",\"version\":\"2.10.1\"} \r\n").await;
        for url in [format!("nats://user:secret@{addr}"), addr.to_string()] {
            let found = nats(&url).await;
            assert_eq!(
                (found.state, found.detail.as_str()),
                (State::Ok, "reachable, version 2.10.1")
            );
            assert_eq!(
                found.name,
                format!("NATS {}", url.rsplit('@').next().unwrap())
            );
        }
        let other = greeter("SSH-2.0-x\r\n").await;
        let found = nats(&format!("nats://{other}")).await;
        assert_eq!(found.state, State::Degraded);
        assert!(
            found
                .detail
                .starts_with("what listens there is no NATS server: events"),
            "{found:?}"
        );
        let nobody = nats("nats://127.0.0.1:1").await;
        assert!(nobody.detail.contains("cannot be reached"), "{nobody:?}");
    }
}
