//! How the hosts of these tests are configured.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use conclave_tests::host::Setup;
use conclave_tests::local_model;
use conclave_tests::nats::NatsServer;
use conclave_tests::ray::RayPlace;
use conclave_tests::stub_server::StubServer;
use tempfile::TempDir;

/// The real model, whose servers the host starts.
pub(crate) const TINY: &str = "tiny";

/// The model that the stub serves, at an endpoint by hand.
pub(crate) const STUB: &str = "stub";

/// What is written into a file of settings.
#[derive(Debug, Default)]
pub(crate) struct Configuration(String);

impl Configuration {
    /// With a NATS server; requests choose their execution by their role.
    pub(crate) fn nats(mut self, nats: &NatsServer) -> Self {
        self.table(&format!("[events]\nnats_url = \"{}\"", nats.url()));
        for (role, execution) in [("pool", "pool"), ("batch", "job")] {
            self.table(&format!(
                "[[routing]]\nrole = \"{role}\"\nexecution = \"{execution}\""
            ));
        }
        self
    }

    /// With a cluster, whose executor has so many actors; further settings of the executor follow.
    pub(crate) fn cluster(self, name: &str, ray: &RayPlace, actors: u32, more: &str) -> Self {
        let python = ray.python().to_str().unwrap();
        self.cluster_of(python, name, ray, actors, more)
    }

    /// With a cluster whose executor cannot start.
    pub(crate) fn broken_cluster(self, name: &str, ray: &RayPlace) -> Self {
        self.cluster_of("/nonexistent", name, ray, 1, "")
    }

    fn cluster_of(
        mut self,
        python: &str,
        name: &str,
        ray: &RayPlace,
        actors: u32,
        more: &str,
    ) -> Self {
        let address = ray.url();
        self.table(&format!(
            "[[clusters]]\nname = \"{name}\"\naddress = \"{address}\"\n\
             [clusters.executor]\nactors = {actors}\nactor_cpus = 0.1\npython = \"{python}\"\n\
             install_needs = false\n{more}"
        ));
        self
    }

    /// With the real model, on ports of its own.
    pub(crate) async fn tiny(mut self, replicas: u16, most: u16) -> Self {
        let port = local_model::free_ports(most).unwrap();
        let entrypoint = local_model::entrypoint(TINY).await.unwrap();
        self.table(&format!(
            "[models.{TINY}]\nentrypoint = \"{entrypoint}\"\nport = {port}\n\
             endpoint = \"http://127.0.0.1:{{port}}\"\ncpus = 0.1\n\
             replicas_min = {replicas}\nreplicas_max = {most}"
        ));
        self
    }

    /// With the stub's model.
    pub(crate) fn stub(mut self, stub: &StubServer) -> Self {
        self.table(&format!(
            "[models.{STUB}]\nendpoints = [\"{}\"]",
            stub.url()
        ));
        self
    }

    /// With another table.
    pub(crate) fn with(mut self, table: &str) -> Self {
        self.table(table);
        self
    }

    fn table(&mut self, table: &str) {
        writeln!(self.0, "{table}").unwrap();
    }

    /// A host that reads it.
    pub(crate) fn write(self) -> Written {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("conclave.toml");
        fs::write(&path, self.0).unwrap();
        Written {
            setup: Setup::bare().unwrap().arg("--config").arg(text(path)),
            _dir: dir,
        }
    }
}

/// A host whose settings are written.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) setup: Setup,
    _dir: TempDir,
}

fn text(path: PathBuf) -> String {
    path.into_os_string().into_string().unwrap()
}
