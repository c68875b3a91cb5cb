//! The host's own id, by which it finds its work again after a restart.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use ring::rand::{SecureRandom as _, SystemRandom};

const FILE: &str = "host-id";

/// 16 hexadecimal digits that no other host has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostId(String);

impl HostId {
    /// The id that the data directory holds; made at the first start, and the same ever after.
    ///
    /// # Errors
    /// When the directory cannot be read or written, or its file holds something else.
    pub fn of(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(text.trim()).ok_or_else(|| {
                let path = path.display();
                let told = format!("`{path}` holds no id of a host: 16 hexadecimal digits");
                io::Error::new(io::ErrorKind::InvalidData, told)
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let id = Self::generate()?;
                id.keep(data_dir, &path)?;
                Ok(id)
            }
            Err(error) => Err(error),
        }
    }

    /// An id for a host that keeps nothing.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn generate() -> io::Result<Self> {
        let mut bytes = [0; 8];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| io::Error::other("this machine has no random numbers"))?;
        Ok(Self(format!("{:016x}", u64::from_be_bytes(bytes))))
    }

    /// A number that no other host has.
    #[must_use]
    pub fn seed(&self) -> u64 {
        u64::from_str_radix(&self.0, 16).unwrap_or_default()
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == 16 && text.bytes().all(is_digit)).then(|| Self(text.to_owned()))
    }

    /// Writes it all at once: half an id would be another host's.
    fn keep(&self, data_dir: &Path, path: &Path) -> io::Result<()> {
        let partial = data_dir.join(format!("{FILE}.partial"));
        let mut file = fs::File::create(&partial)?;
        writeln!(file, "{self}")?;
        file.sync_all()?;
        fs::rename(&partial, path)?;
        fs::File::open(data_dir)?.sync_all()
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_keeps_its_id_and_no_two_have_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let id = HostId::of(dir.path()).unwrap();
        assert_eq!(id.as_str().len(), 16);
        assert_eq!(HostId::of(dir.path()).unwrap(), id);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(HostId::of(other.path()).unwrap(), id);
    }

    #[test]
    fn a_damaged_id_is_told_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "0123456789abcde\n").unwrap();
        let error = HostId::of(dir.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("16 hexadecimal"), "{error}");
    }
}
