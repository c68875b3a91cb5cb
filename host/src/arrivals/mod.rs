//! How plugins arrive that nobody uploads: as files of a folder, and from OCI registries.

pub mod folder;
pub mod oci;
