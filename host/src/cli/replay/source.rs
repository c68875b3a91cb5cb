//! Where a record comes from: a host, a host's data directory, or an exported file.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use conclave_core::entry::{Accepted, Record};
use conclave_core::ids::{DeliberationId, Digest};

use super::super::args::ReplayArgs;
use super::super::client::Client;
use super::super::failure::Usage;
use super::super::progress::Progress;
use super::id_of;
use crate::config::Config;
use crate::plugin_store::ComponentFiles;
use crate::rehearsal::record;
use crate::sqlite::SqliteRecords;
use crate::wasm::{Engine, Solo};

pub(super) enum Source {
    Host {
        client: Box<Client>,
        id: DeliberationId,
    },
    Data {
        config: Box<Config>,
        id: DeliberationId,
    },
    File(PathBuf),
}

impl Source {
    pub(super) async fn of(args: &ReplayArgs) -> anyhow::Result<Self> {
        let id = args.id.as_deref().map(id_of);
        match (&args.record, id) {
            (Some(path), _) => Ok(Self::File(path.clone())),
            (None, None) => Err(Usage("name a deliberation, or a --record".to_owned()).into()),
            (None, Some(id)) => Ok(match &args.data_dir {
                Some(dir) => Self::of_data(dir, id)?,
                None => Self::Host {
                    client: Box::new(Client::connect(&args.connection).await?),
                    id,
                },
            }),
        }
    }

    fn of_data(dir: &Path, id: DeliberationId) -> anyhow::Result<Self> {
        let mut config = Box::new(Config::default());
        config.server.data_dir = dir.to_owned();
        let journal = config.journal_path();
        if !journal.is_file() {
            let text = format!("`{}` holds no journal", dir.display());
            return Err(Usage(text).into());
        }
        Ok(Self::Data { config, id })
    }

    pub(super) async fn records(&mut self, progress: &Progress) -> anyhow::Result<Vec<Record>> {
        match self {
            Self::Host { client, id } => {
                let file = client.record(id.as_str(), |bytes| progress.received(bytes));
                let file = file.await?;
                Ok(record::read(&file).context("the host sent no record")?)
            }
            Self::Data { config, id } => {
                let journal = SqliteRecords::at(config.journal_path());
                Ok(journal.read(id).await?)
            }
            Self::File(path) => {
                let shown = path.display();
                let file = std::fs::read(&*path)
                    .map_err(|error| Usage(format!("cannot read `{shown}`: {error}")))?;
                record::read(&file).with_context(|| format!("`{shown}` is no record"))
            }
        }
    }

    /// The strategy that it ran on.
    pub(super) async fn strategy(
        &mut self,
        accepted: &Accepted,
        engine: &Engine,
        progress: &Progress,
    ) -> anyhow::Result<Solo> {
        let strategy = &accepted.strategy;
        let bytes = self.component(&strategy.digest, progress).await;
        let bytes = bytes.with_context(|| format!("strategy {strategy}"))?;
        let solo = engine.solo(bytes.into()).await;
        solo.with_context(|| format!("the strategy {strategy} cannot be run"))
    }

    /// The scorer that it ran on, where it can be had: what was graded in the record needs none.
    pub(super) async fn scorer(
        &mut self,
        accepted: &Accepted,
        engine: &Engine,
        progress: &Progress,
    ) -> Option<Solo> {
        let bytes = self.component(&accepted.scorer.digest, progress).await;
        engine.solo(bytes.ok()?.into()).await.ok()
    }

    async fn component(&mut self, digest: &Digest, progress: &Progress) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Host { client, .. } => {
                let bytes = client.component(digest, |bytes| progress.received(bytes));
                Ok(bytes.await?)
            }
            Self::Data { config, .. } => {
                Ok(ComponentFiles::reading(config.plugin_store_dir()).get(digest)?)
            }
            Self::File(_) => {
                let text = "an exported record has no components: name one with --plugin";
                Err(Usage(text.to_owned()).into())
            }
        }
    }
}
