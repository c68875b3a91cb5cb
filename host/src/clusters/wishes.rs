//! What operators changed about clusters and models, in a file of the data directory.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use conclave_core::cluster::Source;
use conclave_core::fleet::{WishBook, Wishes};

const FILE: &str = "clusters.json";

/// The file.
#[derive(Debug)]
pub struct WishFile(PathBuf);

impl WishFile {
    /// The file of a data directory.
    #[must_use]
    pub fn of(data_dir: &Path) -> Self {
        Self(data_dir.join(FILE))
    }

    /// What it holds; nothing while it is not there.
    ///
    /// # Errors
    /// When it cannot be read, or holds something else.
    pub fn load(&self) -> io::Result<Wishes> {
        let text = match fs::read(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Wishes::default());
            }
            Err(error) => return Err(error),
        };
        serde_json::from_slice(&text).map_err(|error| {
            let told = format!(
                "`{}` is not what this host wrote: {error}; delete it to go back to what is configured",
                self.0.display()
            );
            io::Error::new(io::ErrorKind::InvalidData, told)
        })
    }
}

#[async_trait]
impl WishBook for WishFile {
    async fn save(&self, wishes: &Wishes) -> Result<(), Source> {
        let (path, text) = (self.0.clone(), serde_json::to_vec_pretty(wishes)?);
        tokio::task::spawn_blocking(move || replace(&path, &text)).await??;
        Ok(())
    }
}

/// Writes all of it or nothing, and durably.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("json.partial");
    let mut file = File::create(&partial)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use conclave_core::fleet::ClusterWish;
    use conclave_core::ids::ModelName;

    use super::*;

    #[tokio::test]
    async fn wishes_are_there_after_a_restart_and_a_file_of_others_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = WishFile::of(dir.path());
        assert_eq!(file.load().unwrap(), Wishes::default());
        let mut wishes = Wishes::default();
        wishes.replicas.insert(ModelName::new("Qwen/Qwen3-8B"), 3);
        wishes
            .clusters
            .insert("a100".to_owned(), ClusterWish::Drained);
        file.save(&wishes).await.unwrap();
        assert_eq!(WishFile::of(dir.path()).load().unwrap(), wishes);
        fs::write(dir.path().join(FILE), "{").unwrap();
        let error = file.load().unwrap_err().to_string();
        assert!(error.contains("delete it"), "{error}");
    }
}
